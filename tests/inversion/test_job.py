"""Batches that memory does not suffice for: what is tried next, and that nothing of the failed step is left by then."""

import csv
import gc
import weakref
from collections.abc import Sequence

import pytest
import torch
from pytorch_lightning.loggers import CSVLogger

from detinv.errors import LayoutError
from detinv.inversion import job
from detinv.inversion.run import invert
from detinv.layouts.layout import Layout
from tests.fakes import tiny_detector

OPTIONS = {"steps": 1, "trainer": {"accelerator": "cpu"}, "progress": False}


def empty(name: str, size: tuple[int, int] = (64, 64)) -> Layout:
    return Layout(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), size, name)


def sizes_tried(monkeypatch, layouts: Sequence[Layout], fits, batch_size: int) -> list[int]:
    """How many images were tried together, when `fits` says for which layouts memory suffices."""
    fit, tried = job.fit_batch, []

    def cramped(ensemble, layouts: Sequence, *others):
        tried.append(len(layouts))
        if not fits(layouts):
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return fit(ensemble, layouts, *others)

    monkeypatch.setattr(job, "fit_batch", cramped)
    result = invert(tiny_detector("retinanet"), layouts, batch_size=batch_size, **OPTIONS)
    assert len(result.images) == len(layouts)
    return tried


def test_a_size_that_did_not_fit_is_not_tried_again(monkeypatch):
    layouts = [empty(str(number)) for number in range(8)]
    tried = sizes_tried(monkeypatch, layouts, lambda layouts: len(layouts) <= 2, batch_size=4)
    assert tried == [4, 2, 2, 2, 2]


@pytest.mark.slow
def test_smaller_images_are_still_tried_together(monkeypatch):
    detector = tiny_detector("retinanet", image_size=(64, 512))
    sizes = {detector.network_size(size) for size in ((64, 256), (64, 64))}
    assert len(sizes) == 2
    monkeypatch.setattr("tests.inversion.test_job.tiny_detector", lambda family: detector)
    layouts = [empty(f"wide{number}", (64, 256)) for number in range(4)]
    layouts += [empty(f"small{number}") for number in range(4)]

    def fits(layouts: Sequence[Layout]) -> bool:
        return layouts[0].image_size[1] < 256 or len(layouts) == 1

    assert sizes_tried(monkeypatch, layouts, fits, batch_size=4) == [4, 2, 1, 1, 1, 1, 4]


@pytest.mark.slow
def test_nothing_of_a_failed_step_is_left_when_the_next_is_tried(monkeypatch):
    """Whatever lay in the frames of the failed step, and in cycles, as Lightning's trainers do."""
    fit, kept = job.fit_batch, []

    class Trainer:
        def __init__(self, activations: torch.Tensor) -> None:
            self.activations, self.trainer = activations, self

    def cramped(ensemble, layouts: Sequence, *others):
        assert all(reference() is None for reference in kept), "tensors of the failed step are alive"
        if len(layouts) > 1:
            activations = torch.zeros(1000)
            trainer = Trainer(activations)
            kept.extend([weakref.ref(activations), weakref.ref(trainer)])
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return fit(ensemble, layouts, *others)

    monkeypatch.setattr(job, "fit_batch", cramped)
    gc.disable()
    try:
        invert(tiny_detector("retinanet"), [empty("a"), empty("b"), empty("c")], **OPTIONS)
    finally:
        gc.enable()
    assert len(kept) == 2 * 2


@pytest.mark.parametrize("error", [ValueError("CUDA out of memory"), RuntimeError("another matter")])
def test_other_errors_end_the_job(monkeypatch, error: Exception):
    def broken(*others):
        raise error

    monkeypatch.setattr(job, "fit_batch", broken)
    with pytest.raises(type(error)):
        invert(tiny_detector("retinanet"), [empty("a")], **OPTIONS)


def test_a_logger_has_written_everything_at_the_end(tmp_path):
    """Lightning's CSVLogger keeps up to a hundred steps in memory."""
    logger = CSVLogger(tmp_path)
    invert(tiny_detector("retinanet"), [empty("a")], loggers=[logger], **OPTIONS)
    with open(f"{logger.log_dir}/metrics.csv", encoding="utf-8") as file:
        assert [row["step"] for row in csv.DictReader(file) if row["loss/total"]] == ["0"]


def test_a_layout_that_would_be_resized_to_nothing_is_named():
    with pytest.raises(LayoutError, match="layout thin: an image of 5000 x 1 pixels is too narrow"):
        invert(tiny_detector("retinanet"), [empty("thin", (1, 5000))], **OPTIONS)
