"""Runs killed at random moments and continued: are their images those of a run that nobody disturbed?

    python tests/kill_runs.py --runs 50

Every run works in a folder of its own, is killed with SIGKILL up to four times, each time at a random moment, and is
then left to end. Exit status 1 if one of them differs, lost an image or made one twice.
"""

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

RESULTS = ("losses.csv", "detections.json", "layouts.json")
WORDS = ["layout=plain", "layout.count=6", "steps=15", "batch_size=2", "logger=none", "trainer.accelerator=cpu"]


def begin(out_dir: Path) -> int:
    """The process number of a fresh run; forked, so that it need not import anything."""
    child = os.fork()
    if child:
        return child
    from detinv.cli import main

    words = ["invert", *WORDS, f"out_dir={out_dir}", "checkpoint_every_n_seconds=0"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        status = main(words)
    os._exit(status)


def differences(out_dir: Path, whole: Path) -> list[str]:
    """What is not as in the folder of the undisturbed run."""
    found = []
    names = {path.name for folder in (whole, out_dir) for path in (folder / "images").iterdir()}
    for name in (*(f"images/{name}" for name in sorted(names)), *RESULTS):
        files = [folder / name for folder in (out_dir, whole)]
        if not all(file.is_file() for file in files) or files[0].read_bytes() != files[1].read_bytes():
            found.append(name)
    records = [path for path in (out_dir / "progress").glob("*.json") if path.name != "source.json"]
    ids = [name for path in records for name in json.loads(path.read_text())["hashes"]]
    found += [f"{name} twice" for name in set(ids) if ids.count(name) > 1]
    return found + [f"left behind: {path.name}" for path in out_dir.rglob("*.ckpt")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    # All that a run imports, so that the moments are moments of the work.
    import detinv.commands.invert  # noqa: F401

    moments = random.Random(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="detinv-kills-"))
    started = time.monotonic()
    assert os.waitpid(begin(folder / "whole"), 0)[1] == 0
    duration = time.monotonic() - started
    bad = kills = 0
    for number in range(options.runs):
        out_dir = folder / f"run-{number}"
        planned, hits = moments.randint(1, 4), 0
        while hits < planned:
            child = begin(out_dir)
            # What is left to do becomes shorter from kill to kill.
            time.sleep(moments.uniform(0, duration / (1 + hits)))
            os.kill(child, signal.SIGKILL)
            if os.WIFSIGNALED(os.waitpid(child, 0)[1]):
                hits += 1
            elif hits:
                break
            else:
                # It was over before: begin anew.
                shutil.rmtree(out_dir)
        kills += hits
        status = os.waitstatus_to_exitcode(os.waitpid(begin(out_dir), 0)[1])
        wrong = [f"exit status {status}"] if status else differences(out_dir, folder / "whole")
        bad += bool(wrong)
        print(f"run {number}: {hits} kills, {'; '.join(wrong) or 'the same'}", flush=True)
        if not wrong:
            shutil.rmtree(out_dir)
    print(f"{options.runs - bad} of {options.runs} runs the same, {kills} kills")
    if not bad:
        shutil.rmtree(folder)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
