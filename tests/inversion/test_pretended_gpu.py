"""Whole inversions on a pretended GPU: the images of the CPU, and no step that waits for the device.

The table of allowed waits names the line of each, so that a new one fails with its line.
"""

from collections import Counter
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

import detinv
from detinv.inversion.modules.inversion import Inversion
from detinv.layouts.layout import Layout
from tests import coco_detectors
from tests.fakes import tiny_detector
from tests.pretended_gpu import PretendedGpu

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: see test_gpu.py")
STEPS = 3
ON_CPU, ON_GPU = {"accelerator": "cpu"}, {"accelerator": "gpu"}


def transformer(name: str):
    pytest.importorskip("transformers", reason="needs the extra detinv[detr]")
    from tests.transformers_fakes import tiny_transformer

    return tiny_transformer(name)


def yolo(name: str):
    pytest.importorskip("ultralytics", reason="needs the extra detinv[yolo]")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return detinv.load_detector(name, "random", image_size=64)


def detectron2(family: str):
    from tests.detectors.detectron2.slim import slim_detector

    with TemporaryDirectory() as folder:
        return slim_detector(Path(folder), family)


# By name: how to build it, and the waits of a step, by file.
DETECTRON2 = ("retinanet", "fcos", "fasterrcnn", "maskrcnn")
ASSIGNMENT = {"matching.py": 1}  # Hungarian matching runs on the host
FAMILIES = {
    **{name: (partial(tiny_detector, name), {}) for name in ("retinanet", "fcos", "fasterrcnn", "maskrcnn", "ssd")},
    **{name: (partial(coco_detectors.small, name), {}) for name in coco_detectors.NAMES},
    **{name: (partial(yolo, name), {}) for name in ("yolov8n", "yolo11n")},
    **{name: (partial(yolo, name), ASSIGNMENT) for name in ("yolov10n", "yolo26n")},
    **{f"detectron2_{name}": (partial(detectron2, name), {}) for name in DETECTRON2},
    **{name: (partial(transformer, name), ASSIGNMENT) for name in ("detr_resnet50", "rtdetr_r18", "rtdetr_v2_r18")},
}
QUICK = ("retinanet",)


def families():
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FAMILIES]


def inverted(detector, trainer, **options):
    one = detector[0] if isinstance(detector, list) else detector
    size = one.network_size((64, 64))
    boxes = torch.tensor([[4.0, 6.0, 30.0, 28.0], [33.0, 30.0, 60.0, 58.0]]) / 64 * min(size)
    layouts = [Layout(boxes[k : k + 1], torch.tensor([1]), size, f"{k}") for k in range(2)]
    return detinv.invert(detector, layouts, progress=False, trainer=trainer, **{"steps": STEPS} | options)


def waits_of_steps(gpu, run, monkeypatch):
    """What `run` returns, and how often each file waited in each step but the first, which fills caches."""
    step = Inversion.training_step

    def marked(self, *arguments):
        gpu.waits.append("step")
        return step(self, *arguments)

    monkeypatch.setattr(Inversion, "training_step", marked)
    result = run()
    starts = [place for place, line in enumerate(gpu.waits) if line == "step"]
    found = [gpu.waits[one + 1 : other] for one, other in pairwise(starts)]
    assert len(found) == STEPS - 1
    return result, found[1:]


@pytest.mark.parametrize("name", families())
def test_an_inversion_is_the_cpu_s_and_waits_only_where_allowed(name, monkeypatch):
    build, allowed = FAMILIES[name]
    detector = build()
    expected = inverted(detector, ON_CPU)
    with PretendedGpu() as gpu:
        result, waits = waits_of_steps(gpu, lambda: inverted(detector, ON_GPU), monkeypatch)
    for step in waits:
        assert Counter(line.partition(":")[0] for line in step) == allowed, step
    for one, other in zip(result.images, expected.images, strict=True):
        # Networks without the CPU's own kernels round otherwise.
        assert (one.int() - other.int()).abs().float().mean() < 1
    assert result.detections[0].boxes.device.type == "cpu"


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("names", [("retinanet",), ("fcos", "maskrcnn")], ids=["alone", "joint"])
def test_precisions_and_joint_inversions_do_not_wait(names, precision, monkeypatch):
    detectors = [tiny_detector(name) for name in names]
    expected = inverted(detectors, ON_CPU)
    with PretendedGpu() as gpu:
        run = partial(inverted, detectors, ON_GPU | {"precision": precision})
        result, waits = waits_of_steps(gpu, run, monkeypatch)
    assert waits == [[]] * len(waits)
    for one, other in zip(result.images, expected.images, strict=True):
        assert (one.int() - other.int()).abs().float().mean() < 3


@pytest.mark.slow
def test_an_interrupted_inversion_is_resumed_on_the_gpu(tmp_path, monkeypatch):
    detector = tiny_detector("retinanet")
    expected = inverted(detector, ON_CPU)
    step, taken = Inversion.training_step, []

    def interrupting(self, *arguments):
        taken.append(self.global_step)
        if len(taken) == 3:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(Inversion, "training_step", interrupting)
    with PretendedGpu():
        with pytest.raises(detinv.InversionInterrupted):
            inverted(detector, ON_GPU, folder=tmp_path, checkpoint_every_n_seconds=0)
        result = inverted(detector, ON_GPU, folder=tmp_path)
    # Continued from the last state that was saved, not from the start.
    assert taken == [0, 1, 2, *range(taken[3], STEPS)] and taken[3] > 0
    for one, other in zip(result.images, expected.images, strict=True):
        assert (one.int() - other.int()).abs().max() <= 1


def breaks(bug):
    """A step of the Inversion that does wrong what went wrong before."""
    step = Inversion.training_step

    def broken(self, *arguments):
        loss = step(self, *arguments)
        return bug(self, loss)

    return broken


# What each bug raises; None for a wait, whose line is noted.
BUGS = {
    "a tensor of the CPU in a loss": (lambda self, loss: (loss * torch.ones(2)).sum(), "expected all tensors"),
    "an item in a step": (lambda self, loss: loss * bool(loss.item()), None),
    "numbers sent in every step": (lambda self, loss: loss * loss.new_tensor(1.0), None),
    "a generator of another device": (
        lambda self, loss: loss * torch.rand(1, generator=torch.Generator(), device=self.device).sum(),
        "generator",
    ),
    "another device": (lambda self, loss: loss * torch.ones((), device="cuda:1"), "invalid device ordinal"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BUGS)
def test_a_bug_put_back_is_caught_with_its_line(name, monkeypatch):
    bug, message = BUGS[name]
    line = f"{bug.__code__.co_filename.rpartition('/')[2]}:{bug.__code__.co_firstlineno}"
    detector = tiny_detector("retinanet")
    monkeypatch.setattr(Inversion, "training_step", breaks(bug))
    with PretendedGpu() as gpu:
        if message is None:
            _, waits = waits_of_steps(gpu, lambda: inverted(detector, ON_GPU), monkeypatch)
            assert all(step and line in step for step in waits)
        else:
            with pytest.raises(RuntimeError, match=message) as caught:
                inverted(detector, ON_GPU)
            lines = [f"{entry.path.name}:{entry.lineno + 1}" for entry in caught.traceback]
            assert line in lines
