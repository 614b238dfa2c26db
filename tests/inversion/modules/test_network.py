"""A step's view of a detector: the detector's own numbers and gradients, and no image's depend on another's."""

import itertools
from contextlib import contextmanager

import pytest
import torch

from detinv.detectors.regions import Regions
from detinv.inversion.modules import network as module
from detinv.inversion.modules.network import Network
from detinv.inversion.modules.workers import cpu_threads, run_together
from tests.fakes import FAMILIES, in_float64, tiny_detector

SIZE, MOST = 64, 34


def batch(count: int):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(MOST, 3, SIZE, SIZE, generator=generator)[:count].requires_grad_()
    corners = torch.rand(MOST, 2, 2, generator=generator)[:count] * 30
    boxes = torch.cat([corners, corners + 20], dim=-1)
    return pixels, boxes


def outputs_and_gradient(run, count: int, images: slice = slice(None)):
    pixels, boxes = (value[images] for value in batch(count))
    pixels, count = pixels.detach().requires_grad_(), len(pixels)
    found = [output[:count] for output in run(pixels, regions=Regions.of(boxes)).outputs()]
    weights = [torch.linspace(-1, 1, output[0].numel()).view(1, *output.shape[1:]) for output in found]
    total = sum((weight * output).sum() for weight, output in zip(weights, found, strict=True))
    (gradient,) = torch.autograd.grad(total, pixels)
    return [*(output.detach() for output in found), gradient]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_numbers_and_gradients_are_the_detector_s(family: str, large: bool, monkeypatch):
    monkeypatch.setattr(module, "_LARGE", 1 if large else 10**9)
    detector = in_float64(tiny_detector(family))
    ours, own = outputs_and_gradient(Network(detector), 3), outputs_and_gradient(detector, 3)
    for found, expected in zip(ours, own, strict=True):
        torch.testing.assert_close(found, expected)


def _thread_cases() -> list:
    """Families with every combination of prepared, threads and large; all but one of each are slow tests.

    Mask R-CNN does all that Faster R-CNN does.
    """
    quick = {(family, True, 2, False) for family in FAMILIES if family != "fasterrcnn"}
    cases = itertools.product(FAMILIES, [False, True], [1, 2, 3, 9], [False, True])
    return [pytest.param(*case, marks=() if case in quick else pytest.mark.slow) for case in cases]


@pytest.mark.parametrize(("family", "prepared", "threads", "large"), _thread_cases())
def test_an_image_has_the_same_bits_in_any_batch(family: str, prepared: bool, threads: int, large: bool, monkeypatch):
    monkeypatch.setattr(module, "_LARGE", 1 if large else 10**9)
    network = Network(tiny_detector(family))
    network.threads = threads
    if prepared:
        network.prepare()
        assert network.runs is not network.detector
    with cpu_threads(1):
        whole = outputs_and_gradient(network, 6)
        for count in (1, 2, 3, 4, 5):
            for some, all_of_them in zip(outputs_and_gradient(network, count), whole, strict=True):
                assert torch.equal(some, all_of_them[:count])


@pytest.mark.slow
@pytest.mark.parametrize("count", [6, 34])
@pytest.mark.parametrize("family", FAMILIES)
def test_threads_that_share_one_image_give_the_bits_of_one_with_many(family: str, count: int):
    """Libraries have other code for a single image, for more than 15 of them, and for several threads."""
    network = Network(tiny_detector(family))
    network.threads = 2
    network.prepare()
    with cpu_threads(1):
        whole = outputs_and_gradient(network, count)
        for some, all_of_them in zip(outputs_and_gradient(network, 1), whole, strict=True):
            assert torch.equal(some, all_of_them[:1])


@contextmanager
def image_counts():
    """The numbers of images that convolutions are given."""
    counts: list[int] = []

    def count(layer, inputs):
        if isinstance(layer, torch.nn.Conv2d):
            counts.append(len(inputs[0]))

    hook = torch.nn.modules.module.register_module_forward_pre_hook(count)
    try:
        yield counts
    finally:
        hook.remove()


def test_one_image_is_computed_once():
    """Not with a copy of it to fill a batch for libraries: that would cost as much as another image."""
    network = Network(tiny_detector("fcos"))
    network.threads = 2
    network.prepare()
    with image_counts() as counts:
        outputs_and_gradient(network, 1)
    assert set(counts) == {1}


def test_every_image_is_run_alone_where_the_detector_depends_on_the_batch():
    """More images than threads of Python, in their order."""
    networks = [Network(tiny_detector("fcos")) for _ in range(2)]
    networks[1].detector.depends_on_batch = True
    for network in networks:
        network.threads = 2
        network.prepare()
    expected = outputs_and_gradient(networks[0], 5)
    with image_counts() as counts:
        found = outputs_and_gradient(networks[1], 5)
    assert set(counts) == {1}
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_the_last_image_is_there_twice():
    pixels, boxes = batch(3)
    predictions = Network(tiny_detector("maskrcnn"))(pixels, regions=Regions.of(boxes))
    for output in predictions.outputs():
        assert len(output) == 4
        assert torch.equal(output[2], output[3])
    assert len(predictions.roi.rois) == 4


def test_the_caller_s_number_of_threads_stays():
    before = torch.get_num_threads()
    network = Network(tiny_detector("retinanet"))
    network.threads = 3
    outputs_and_gradient(network, 2)
    assert torch.get_num_threads() == before


def test_processes_on_one_machine_share_its_cores(monkeypatch):
    """Fewer threads share a batch, and its images stay the same to the last bit."""
    at_once: list[int] = []
    found = []

    def counted(tasks, threads):
        at_once.append(len(tasks))
        return run_together(tasks, threads)

    monkeypatch.setattr(module, "run_together", counted)
    for processes in (1, 2, 8):
        monkeypatch.setattr(module, "processes_here", lambda processes=processes: processes)
        network = Network(tiny_detector("maskrcnn"))
        network.threads = 4
        network.prepare()
        with cpu_threads(1):
            found.append(outputs_and_gradient(network, 6))
    for outputs in found[1:]:
        for one, other in zip(outputs, found[0], strict=True):
            assert torch.equal(one, other)
    # In the forward and the backward pass; a single one has no need of others.
    assert at_once == [3, 3, 2, 2]
