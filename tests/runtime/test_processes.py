"""Processes that share work: each item is computed once, all know the results in order, and they end together."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from detinv.errors import ConfigError
from detinv.runtime import processes
from detinv.runtime.processes import Processes, start_processes

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("items", [0, 1, 2, 7])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_work_is_shared_out_and_comes_back_in_order(count: int, items: int):
    computed: list[int] = []

    def compute(some: list[int]) -> list[str]:
        computed.extend(some)
        return [f"seen {item}" for item in some]

    class Team(Processes):
        """All processes, one after the other."""

        def gather(self, value):
            others = [compute(list(range(items))[rank :: self.count]) for rank in range(count) if rank != self.rank]
            return [*others[: self.rank], value, *others[self.rank :]]

    for rank in range(count):
        computed.clear()
        assert Team(rank, count).share(compute, list(range(items))) == [f"seen {item}" for item in range(items)]
        assert sorted(computed) == list(range(items))


@pytest.mark.parametrize("devices", [[2, 3], "2,3"])
@pytest.mark.parametrize("local_rank", [0, 1])
def test_each_process_runs_on_the_device_of_its_number(monkeypatch, local_rank: int, devices: object):
    """Four GPUs that are not there: Lightning chooses among them, and nothing is started."""
    from lightning_fabric import Fabric
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    # Lightning stores the number of this process here, and later tests would log as the second of two.
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("lightning_fabric.accelerators.cuda.num_cuda_devices", lambda: 4)
    monkeypatch.setattr("lightning_fabric.accelerators.cuda._check_cuda_matmul_precision", lambda device: None)
    connected = []
    # As where another process was started, which Lightning would watch.
    monkeypatch.setattr(Fabric, "launch", lambda self: self.strategy.launcher.procs.append("other"))
    monkeypatch.setattr(processes.Failures, "connect", lambda *args: connected.append(args))
    monkeypatch.setattr(processes, "_STARTED", [])
    monkeypatch.setenv("LOCAL_RANK", str(local_rank))
    monkeypatch.setenv("WORLD_SIZE", "2")
    team = start_processes({"devices": devices, "accelerator": "cuda"})
    assert team.device == [2, 3][local_rank]
    assert connected == [(local_rank, 2, ["other"])]
    assert team.trainer({"devices": devices, "accelerator": "cuda"})["devices"] == [team.device]


def test_one_device_of_many_starts_nothing():
    assert start_processes({"devices": [3]}) == Processes()
    assert Processes().trainer({"devices": [3]}) == {"devices": [3]}


def test_devices_that_do_not_exist_are_a_mistake_in_the_input():
    with pytest.raises(ConfigError, match="trainer.devices=-3"):
        start_processes({"devices": -3, "accelerator": "cpu"})


_PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path
from detinv.errors import ConfigError, ProcessError
from detinv.runtime.processes import start_processes

case, folder = sys.argv[1], Path(sys.argv[2])


def wrong():
    raise (ConfigError if case == "ours" else ValueError)("the reason")


with start_processes({"devices": 2, "accelerator": "cpu"}) as team:
    assert team.count == 2
    started = time.monotonic()
    note = {"rank": team.rank, "decided": team.decide(lambda: team.rank), "gathered": team.gather(team.rank)}
    try:
        if case in ("ours", "other"):
            team.decide(wrong)
        elif case == "second":
            team.share(lambda items: wrong() if team.rank == 1 else items, [0, 1])
        elif case == "between" and team.first:
            wrong()
        elif case == "killed" and not team.first:
            (folder / "1.json").write_text(json.dumps(note))
            os.kill(os.getpid(), signal.SIGKILL)
        note["after"] = team.gather("fine")
    except Exception as error:
        note["error"] = f"{type(error).__name__}: {error}"
        note["reported"] = getattr(error, "reported", None)
        raise
    finally:
        note["seconds"] = time.monotonic() - started
        (folder / f"{team.rank}.json").write_text(json.dumps(note))
    if team.first:
        # Longer than Lightning lets the first live once another has ended in failure.
        time.sleep(7 if case == "fine" else 0)
if case == "fine" and not team.first:
    sys.exit(1)
"""


def run_two(tmp_path: Path, case: str) -> tuple[subprocess.CompletedProcess, list[Mapping[str, Any]]]:
    """Two real processes, started as `detinv invert trainer.devices=2` starts them."""
    (tmp_path / "program.py").write_text(_PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "program.py", case, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    deadline = time.monotonic() + 30
    while not (tmp_path / "1.json").is_file():
        assert time.monotonic() < deadline, f"the second process does not end\n{done.stderr}"
        time.sleep(0.05)
    return done, [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("case", ["other", "second"])
def test_all_processes_end_with_the_reason(tmp_path: Path, case: str):
    done, notes = run_two(tmp_path, case)
    failed, other = notes if case == "other" else notes[::-1]
    assert done.returncode != 0
    assert notes[0]["decided"] == notes[1]["decided"] == 0
    assert notes[0]["gathered"] == notes[1]["gathered"] == [0, 1]
    assert failed["error"] == "ValueError: the reason"
    assert other["error"] == f"ProcessError: process {failed['rank']} failed: ValueError: the reason"
    assert other["reported"] == (other["rank"] != 0)
    assert other["seconds"] < 20
    assert "the reason" in done.stderr


@pytest.mark.slow
def test_the_first_process_survives_another_that_is_killed_and_says_so(tmp_path: Path):
    done, notes = run_two(tmp_path, "killed")
    assert "process 1 failed: it was killed (SIGKILL)" in notes[0]["error"]
    assert notes[0]["reported"] is False and notes[0]["seconds"] < 20
    # Not by Lightning's signal.
    assert done.returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize("case", ["ours", "between", "fine"])
def test_processes_end_together(tmp_path: Path, case: str):
    done, notes = run_two(tmp_path, case)
    if case == "fine":
        assert [note["after"] for note in notes] == [["fine", "fine"]] * 2
        assert done.returncode == 0, "the first process is not ended by the exit status of the second"
    else:
        kind = "ValueError: " if case == "between" else ""
        assert notes[1]["error"] == f"ProcessError: process 0 failed: {kind}the reason"
