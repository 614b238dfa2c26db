"""`detinv invert` killed, starved or cut off: what is finished stays, and the same command does the rest."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from detinv.cli import main
from detinv.errors import OutputError
from detinv.inversion import job
from detinv.inversion.preset import load_preset
from detinv.inversion.run import InversionInterrupted, invert
from tests.fakes import tiny_detector
from tests.forked import ForkedCommand
from tests.inversion.modules.test_inversion import LAYOUTS

WORDS = ("layout=plain", "layout.count=3", "steps=12", "batch_size=2", "trainer.accelerator=cpu", "logger=none")
BRIEF = ("steps=2", "layout.count=2")
ALWAYS = "checkpoint_every_n_seconds=0"
RESULTS = ("losses.csv", "detections.json", "layouts.json")


def run(out_dir: Path, *words: str) -> int:
    return main(["invert", *WORDS, f"out_dir={out_dir}", *words])


def start(out_dir: Path, *words: str) -> ForkedCommand:
    return ForkedCommand(["invert", *WORDS, f"out_dir={out_dir}", *words], out_dir.with_suffix(".errors"))


def start_two(out_dir: Path, *words: str) -> subprocess.CompletedProcess:
    """Run with two processes; Lightning starts the second by the command line of the first."""
    command = [sys.executable, "-m", "detinv", "invert", *WORDS, "trainer.devices=2", f"out_dir={out_dir}", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def pictures(out_dir: Path) -> dict[str, bytes]:
    return {path.name: Image.open(path).tobytes() for path in (out_dir / "images").glob("*.png")}


def metrics(out_dir: Path) -> dict:
    return json.loads((out_dir / "metrics.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    out_dir = tmp_path_factory.mktemp("runs") / "whole"
    assert run(out_dir) == 0
    return out_dir


@pytest.fixture(scope="module")
def brief(tmp_path_factory) -> Path:
    out_dir = tmp_path_factory.mktemp("runs") / "brief"
    assert run(out_dir, *BRIEF) == 0
    return out_dir


def same(out_dir: Path, whole: Path) -> None:
    assert pictures(out_dir) == pictures(whole)
    for name in RESULTS:
        assert (out_dir / name).read_bytes() == (whole / name).read_bytes(), name
    assert not list(out_dir.rglob("*.tmp"))
    assert not list(out_dir.rglob("*.ckpt"))


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path, whole: Path):
    """Killed with a checkpoint in the first batch, and again once the first batch is finished."""
    progress = tmp_path / "progress"
    for pattern in ("*.ckpt", "[!s]*.json"):
        process = start(tmp_path, ALWAYS)
        process.wait_until(lambda pattern=pattern: list(progress.glob(pattern)))
        process.send(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert run(tmp_path, ALWAYS) == 0
    same(tmp_path, whole)


def test_a_complete_folder_is_not_done_again(whole: Path, monkeypatch):
    kept = [*(whole / "images").iterdir(), *(whole / name for name in RESULTS)]
    before = [path.read_bytes() for path in kept]
    monkeypatch.setattr(job, "fit_batch", lambda *args: pytest.fail("nothing is left to invert"))
    assert run(whole) == 0
    assert [path.read_bytes() for path in kept] == before
    assert not [*whole.rglob("*.tmp"), *whole.rglob("*.ckpt")]


# That batches of any size do is quicker to see from Python, where memory does not suffice for larger ones.
@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_of_any_size_give_the_same_images(tmp_path: Path, whole: Path, batch_size: int):
    assert run(tmp_path, f"batch_size={batch_size}") == 0
    assert pictures(tmp_path) == pictures(whole)


@pytest.mark.slow
def test_two_processes_give_the_same_images(tmp_path: Path, whole: Path):
    process = start_two(tmp_path)
    assert process.returncode == 0, process.stderr
    assert pictures(tmp_path) == pictures(whole)
    assert (tmp_path / "detections.json").read_bytes() == (whole / "detections.json").read_bytes()
    ids = [sorted(json.loads(path.read_text())["hashes"]) for path in (tmp_path / "progress").glob("[!s]*.json")]
    assert sorted(map(len, ids)) == [1, 2], "each process had its share"
    # One process can go on where two were.
    assert run(tmp_path) == 0


@pytest.mark.slow
def test_a_mistake_ends_both_processes_with_one_line(whole: Path):
    process = start_two(whole, "seed=3")
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1
    assert "seed was 0, is 3" in process.stderr


def test_another_configuration_in_the_folder_is_refused(tmp_path: Path, whole: Path, capsys):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    assert run(whole, "seed=1") == 2
    error = capsys.readouterr().err
    assert "seed was 0, is 1" in error
    assert error.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 130, marks=pytest.mark.slow)]
)
def test_an_interruption_ends_with_what_is_done(tmp_path: Path, whole: Path, sent: int, status: int):
    process = start(tmp_path, "steps=100", "batch_size=1")
    process.wait_until(lambda: list((tmp_path / "progress").glob("[!s]*.json")))
    process.send(sent)
    assert process.wait() == status, process.errors()
    assert "Traceback" not in process.errors()
    found = metrics(tmp_path)
    assert 1 <= found["images"] < 3
    assert len(found["missing"]) == 3 - found["images"]
    assert len(pictures(tmp_path)) == found["images"]
    assert (tmp_path / "report.html").is_file()


def test_memory_that_does_not_suffice_halves_the_batch(monkeypatch, caplog):
    fit, sizes = job.fit_batch, []

    def cramped(ensemble, layouts: Sequence, *others):
        sizes.append(len(layouts))
        if len(layouts) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return fit(ensemble, layouts, *others)

    options = {"steps": 2, "trainer": {"accelerator": "cpu"}, "progress": False}
    expected = invert(tiny_detector("retinanet"), LAYOUTS, **options)
    monkeypatch.setattr(job, "fit_batch", cramped)
    result = invert(tiny_detector("retinanet"), LAYOUTS, **options)
    assert [torch.equal(a, b) for a, b in zip(result.images, expected.images, strict=True)] == [True] * 3
    assert sizes[0] > 1
    assert "memory does not suffice for a batch of" in caplog.text


def test_an_image_too_large_for_memory_alone_is_missing(tmp_path: Path, monkeypatch, capsys):
    fit = job.fit_batch

    def cramped(ensemble, layouts: Sequence, *others):
        if any(layout.id.endswith("1") for layout in layouts):
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory")
        return fit(ensemble, layouts, *others)

    with monkeypatch.context() as patch:
        patch.setattr(job, "fit_batch", cramped)
        assert run(tmp_path, *BRIEF) == 1
    (missing,) = metrics(tmp_path)["missing"].items()
    assert missing[0].endswith("1")
    assert "memory" in missing[1]
    assert missing[0] in capsys.readouterr().out
    # With more memory, the rest is done.
    assert run(tmp_path, *BRIEF) == 0
    assert metrics(tmp_path)["missing"] == {}


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch):
    def broken(*others):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(job, "fit_batch", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        invert(tiny_detector("retinanet"), LAYOUTS, steps=1, trainer={"accelerator": "cpu"}, progress=False)


def test_an_image_that_stops_early_is_told_of(tmp_path: Path, monkeypatch, capsys):
    def stop(self, trainer, module):
        self.stopped[0] = "loss term 'cls' is not finite at step 1"

    monkeypatch.setattr(job.StopNonFinite, "on_train_end", stop)
    assert run(tmp_path, "steps=2", "batch_size=3") == 1
    (stopped,) = metrics(tmp_path)["stopped"].items()
    assert "not finite" in stopped[1]
    assert metrics(tmp_path)["images"] == 3
    assert stopped[0] in capsys.readouterr().out


def test_a_disk_that_fills_up_costs_no_image(tmp_path: Path, brief: Path, monkeypatch, capsys):
    from detinv.commands import invert as command
    from detinv.inversion.resume import archive
    from detinv.results.reports import write_inversion as write

    write_png, rescue = write.write_png, tmp_path / "rescue"

    def full(path, image):
        if tmp_path / "out" in Path(path).parents:
            raise OutputError(f"{path} cannot be written: no space left on device")
        write_png(path, image)

    monkeypatch.setattr(archive, "write_png", full)
    monkeypatch.setattr(write, "write_png", full)
    monkeypatch.setattr(command.tempfile, "mkdtemp", lambda **options: rescue.mkdir() or str(rescue))
    assert run(tmp_path / "out", *BRIEF) == 2
    error = capsys.readouterr().err
    assert "no space left" in error
    assert str(rescue) in error
    assert pictures(rescue) == pictures(brief)
    monkeypatch.undo()
    assert run(tmp_path / "out", *BRIEF) == 0
    same(tmp_path / "out", brief)


def test_a_dashboard_that_breaks_down_costs_no_image(tmp_path: Path, brief: Path, monkeypatch, caplog):
    from pytorch_lightning.loggers import TensorBoardLogger

    def fail(*args, **kwargs):
        raise ConnectionError("the service went away")

    monkeypatch.setattr(TensorBoardLogger, "log_metrics", fail)
    assert run(tmp_path, *BRIEF, "logger=tensorboard") == 0
    assert "the service went away" in caplog.text
    assert pictures(tmp_path) == pictures(brief)


def test_from_python_an_interruption_hands_over_what_is_done(monkeypatch):
    fit, calls = job.fit_batch, []

    def second_time_interrupted(*others):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(*others)

    monkeypatch.setattr(job, "fit_batch", second_time_interrupted)
    options = {"steps": 1, "batch_size": 1, "trainer": {"accelerator": "cpu"}, "progress": False}
    with pytest.raises(InversionInterrupted) as stopped:
        invert(tiny_detector("retinanet"), LAYOUTS, **options)
    assert [layout.id for layout in stopped.value.result.layouts] == [LAYOUTS[0].id]
    assert set(stopped.value.result.missing) == {layout.id for layout in LAYOUTS[1:]}


@pytest.mark.parametrize(
    ("family", "preset", "every"),
    [
        # Targets that are held for three steps are part of the state.
        ("retinanet", "default", 3),
        *(
            pytest.param(family, preset, 1, marks=pytest.mark.slow)
            for family, preset in [
                ("retinanet", "default"),
                ("maskrcnn", "paper"),
                ("retinanet", "paper"),
                ("maskrcnn", "default"),
            ]
        ),
    ],
)
def test_a_state_holds_everything_that_the_next_steps_depend_on(tmp_path: Path, family: str, preset: str, every: int):
    """Stopped after every checkpoint in turn, a batch ends at the same bits."""
    options = {"steps": 7, "trainer": {"accelerator": "cpu"}, "progress": False}
    way = replace(load_preset(preset), every_n_steps=every)
    expected = invert(tiny_detector(family), LAYOUTS[:2], way, **options)
    kept = {"folder": tmp_path, "checkpoint_every_n_seconds": 0.0}

    class Killed(BaseException):
        """Nothing catches it."""

    def killed_after_saving(self, trainer, module, step, after_step=job.Checkpoints.after_step):
        after_step(self, trainer, module, step)
        # A checkpoint may only cost a hundredth of the time; here every step counts.
        self._cost = 0.0
        if step in (1, 2, 4):
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job.Checkpoints, "after_step", killed_after_saving)
        for _ in range(3):
            with pytest.raises(Killed):
                invert(tiny_detector(family), LAYOUTS[:2], way, **options, **kept)
    result = invert(tiny_detector(family), LAYOUTS[:2], way, **options, **kept)
    assert all(torch.equal(a, b) for a, b in zip(result.images, expected.images, strict=True))
    assert result.losses == expected.losses


def test_no_secret_is_written(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "key-that-nobody-may-see")
    assert run(tmp_path, "steps=1", "layout.count=1", "logger=wandb") == 0
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"key-that-nobody-may-see" not in path.read_bytes(), path
    assert os.environ["WANDB_API_KEY"]
