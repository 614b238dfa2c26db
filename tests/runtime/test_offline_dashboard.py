"""Runs that were kept offline, moved, and uploaded later: `wandb sync` brings all of them, whole."""

import gzip
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detinv.runtime.loggers import Dashboard, wandb_logger


class Service(BaseHTTPRequestHandler):
    """As much of W&B's server as an upload asks for."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._reply({})

    def do_PUT(self) -> None:
        self._body()
        self.server.uploaded.append(self.path.removeprefix("/put/"))
        self._reply({})

    def do_POST(self) -> None:
        told = json.loads(self._body() or b"{}") if "otel" not in self.path else self._body() and {}
        if not self.path.endswith("/graphql"):
            self.server.streamed.append((self.path, told))
            return self._reply({})
        asked, given = told["query"], told.get("variables") or {}
        if "upsertBucket" in asked:
            project = {"id": "p", "name": given["project"], "entity": {"id": "e", "name": "me"}}
            run = {"id": "b", "name": given["name"], "displayName": given.get("displayName"), "config": "{}"}
            return self._reply({"data": {"upsertBucket": {"bucket": run | {"project": project}, "inserted": True}}})
        if "createRunFiles" in asked:
            at = f"http://127.0.0.1:{self.server.server_address[1]}/put/{given['run']}/"
            files = [{"name": name, "uploadUrl": at + name} for name in given["files"]]
            return self._reply({"data": {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}})
        self._reply({"data": {"serverInfo": {"features": []}, "viewer": {"id": "u", "entity": "me", "flags": "{}"}}})

    def _body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def _reply(self, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def service() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        server.uploaded, server.streamed = [], []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_offline_runs_are_uploaded_whole_from_wherever_they_are_now(tmp_path: Path, service):
    for value in (1.0, 2.0):  # a run, and the same one again after an interruption
        logger = wandb_logger(tmp_path / "run", offline=True)
        board = Dashboard([logger])
        for step in range(3):
            board.log({"loss": value + step}, step)
        board.show("images", np.zeros((6, 9, 3), np.uint8), 3)
        logger.experiment.finish()
    (tmp_path / "run").rename(tmp_path / "m\u00f6ved there")
    folders = sorted((tmp_path / "m\u00f6ved there" / "wandb").glob("offline-run-*"))
    names = {folder.name.rpartition("-")[2] for folder in folders}
    assert len(names) == 2
    home = tmp_path / "home"
    home.mkdir()
    environment = os.environ | {"HOME": str(home), "WANDB_API_KEY": 40 * "a", "WANDB_MODE": "online"}
    environment["WANDB_BASE_URL"] = f"http://127.0.0.1:{service.server_address[1]}"
    ended = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", *map(str, folders)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    losses: dict[str, list[float]] = {name: [] for name in names}
    ends = {}
    for path, told in service.streamed:
        found = re.fullmatch(r"/files/me/detinv/(\w+)/file_stream", path)
        if found:
            rows = told.get("files", {}).get("wandb-history.jsonl", {}).get("content", [])
            losses[found[1]] += [json.loads(row)["loss"] for row in rows if "loss" in json.loads(row)]
            ends |= {found[1]: told["exitcode"]} if told.get("complete") else {}
    assert sorted(losses.values()) == [[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]]
    assert ends == dict.fromkeys(names, 0)
    for name in names:
        assert any(re.fullmatch(rf"{name}/media/images/\w+\.png", path) for path in service.uploaded)
