"""The plain loop does what a run with the published preset does: same loss, same gradient, same images."""

import itertools

import pytest
import torch

from detinv.benchmarks.reference import reference_loss, reference_start, reference_steps
from detinv.detectors.regions import Regions
from detinv.errors import ConfigError
from detinv.inversion.callbacks.base import AbstractStepCallback
from detinv.inversion.fit import fit_batch
from detinv.inversion.modules.ensemble import as_ensemble
from detinv.inversion.preset import load_preset
from detinv.inversion.regularisers.base import regulariser_terms
from detinv.inversion.targets.base import Targets
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout
from detinv.runtime.quiet import quiet_lightning
from detinv.zoo.weights import weight_hash
from tests.fakes import in_float64, tiny_detector

PRESET = load_preset("code_retinanet")


def layout(name, boxes, labels, size=(64, 64)):
    return Layout(torch.tensor(boxes).view(-1, 4), torch.tensor(labels, dtype=torch.int64), size, name)


LAYOUTS = {
    "two": layout("two", [[4.0, 6.0, 30.0, 28.0], [32.0, 30.0, 60.0, 62.0]], [0, 2]),
    "none": layout("none", [], []),
    "crowd": layout("crowd", [[8.3, 8.1, 30.7, 29.4], [10.2, 9.6, 33.1, 31.8], [5.2, 40.1, 15.7, 52.3]], [2, 2, 1]),
    "equal": layout("equal", [[10.0, 10.0, 40.0, 40.0], [10.0, 10.0, 40.0, 40.0]], [0, 1]),
    "odd size": layout("odd size", [[3.0, 5.0, 30.0, 40.0]], [1], (59, 71)),
}


def fast_loss(detector, asked, image):
    """The same by the objective that inversions use."""
    batch = LayoutBatch.collate([asked], detector.size_divisor)
    centred = torch.zeros(1, 3, *batch.canvas_size)
    centred[0, :, : image.shape[1], : image.shape[2]] = image
    pixels = detector.pixel_mean[:, None, None] + centred
    predictions = detector(pixels, batch.image_sizes, Regions(batch.boxes, batch.valid))
    dense = predictions.detach().dense
    assignment = dense.head.assigner.assign(dense.head.anchors, dense.head.level_sizes, batch.boxes, batch.valid)
    targets = Targets(dense=PRESET.rule.dense(dense, batch, assignment))
    terms = PRESET.objective.detector_terms(predictions, targets)
    terms |= regulariser_terms(PRESET.regularisers, centred, torch.ones(1, 1, *batch.canvas_size))
    return PRESET.objective.total(terms, PRESET.regularisers)[0]


@pytest.mark.parametrize("name", LAYOUTS)
def test_loss_and_gradient_are_those_of_the_fast_objective(name: str):
    detector, asked = tiny_detector("retinanet"), LAYOUTS[name]
    for seed in range(2):
        image = 0.2 * torch.randn(3, *asked.image_size, generator=torch.Generator().manual_seed(seed))
        image.requires_grad_()
        plain, fast = reference_loss(detector, asked, image), fast_loss(detector, asked, image)
        torch.testing.assert_close(plain, fast, rtol=1e-5, atol=1e-6)
        (expected,), (found,) = torch.autograd.grad(fast, image), torch.autograd.grad(plain, image)
        assert float((expected - found).norm()) <= 1e-4 * float(expected.norm())
        assert float(expected.norm()) > 0


class Images(AbstractStepCallback):
    """The images after each step."""

    def __init__(self):
        self.found = []

    def after_step(self, trainer, module, step):
        self.found.append(module.pixels.centred().detach()[0].clone())


def gentle_retinanet():
    """A RetinaNet whose outputs move little with its input.

    Steps of the published size through any other network are chaotic: the last digits of one step are the first digits
    of the next.
    """
    detector = in_float64(tiny_detector("retinanet"))
    for name, layer in detector.model.named_modules():
        if name.endswith(("cls_logits", "bbox_reg")):
            layer.weight.data.mul_(0.1)
    return detector


def test_steps_give_the_images_of_a_run_with_the_published_preset():
    """Seven steps have two blurs, and momentum between them."""
    detector, asked, run = gentle_retinanet(), LAYOUTS["two"], Images()
    start = reference_start(detector, asked, 3)
    expected = [image.clone() for image in itertools.islice(reference_steps(detector, asked, start), 7)]
    with quiet_lightning():
        fit_batch(as_ensemble(detector), [asked], PRESET, len(expected), 3, {"accelerator": "cpu"}, [run])
    for found, image in zip(run.found, expected, strict=True):
        torch.testing.assert_close(found, image, atol=1e-5, rtol=0)
    assert float((expected[4] - expected[0]).abs().max()) > 0.1, "between the blurs only gradients move the image"


def test_the_detector_stays_as_it_is():
    detector = tiny_detector("retinanet")
    before = weight_hash(detector)
    next(reference_steps(detector, LAYOUTS["two"], torch.zeros(3, 64, 64)))
    assert weight_hash(detector) == before
    assert not any(parameter.requires_grad for parameter in detector.parameters())


def test_all_weights_get_gradients_as_in_the_published_code():
    detector = tiny_detector("retinanet").requires_grad_(True)
    image = torch.zeros(3, 64, 64, requires_grad=True)
    reference_loss(detector, LAYOUTS["two"], image).backward()
    assert all(parameter.grad is not None for parameter in detector.parameters())


@pytest.mark.parametrize("family", ["fcos", "fasterrcnn", "ssd"])
def test_other_families_are_refused(family: str):
    with pytest.raises(ConfigError, match="inverts a RetinaNet"):
        next(reference_steps(tiny_detector(family), LAYOUTS["two"], torch.zeros(3, 64, 64)))
