"""Methods that cover the image with masks: extremal perturbation and D-CLOSE."""

from dataclasses import replace

import pytest
import torch

import detinv
from detinv.attribution.core.measures import energy_share, inside_box
from detinv.attribution.core.objects import annotated_objects
from detinv.attribution.core.questions import Question
from detinv.attribution.explain import explain_image
from detinv.attribution.load import load_method
from detinv.attribution.methods.perturbations.d_close import DClose
from detinv.attribution.methods.perturbations.extremal_perturbation import ExtremalPerturbation
from detinv.attribution.trials.smooth_masks import SmoothMasks
from detinv.detectors.load import load_detector
from detinv.errors import ConfigError
from detinv.verification.planted_evidence import found_objects, patch_box
from detinv.worlds.registry import load_world
from tests.attribution.hand_set import EVIDENCE, SIDE, HandSetDetector
from tests.fakes import block_image, tiny_detector

BOXES = torch.tensor([[4.0, 6.0, 40.0, 50.0], [20.0, 8.0, 60.0, 30.0]])
LABELS = torch.tensor([0, 2])
# Sharp enough for evidence of 8 pixels.
SHARP = ExtremalPerturbation(areas=(0.08,), removal="fade", steps=40, smoothness=1 / 32)


def noise() -> torch.Tensor:
    return torch.randint(40, 256, (3, SIDE, SIDE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("variant", ["delete", "dual"])
def test_every_variant_finds_the_evidence(variant: str):
    found = detinv.attribute(
        HandSetDetector(), [noise()], questions=("class", "left"), method=replace(SHARP, variant=variant)
    )
    for one in found:
        assert energy_share(one.heat(), inside_box(EVIDENCE[one.question], (SIDE, SIDE), 8)) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["delete", "dual"])
def test_what_is_deleted_is_what_a_trained_detector_goes_by(variant: str):
    """In the world `part` one patch decides the class."""
    detector, method = load_detector("part_retinanet"), ExtremalPerturbation(variant=variant, areas=(0.2,), steps=50)
    (found,) = found_objects(detector, load_world("part", seed=1), 1)
    explained = explain_image(detector, found.scene.image, found.objects, [Question("class")], {"it": method})
    size = (found.scene.image.shape[1], found.scene.image.shape[2])
    patch = inside_box(patch_box(found.box), size)
    share = float(patch.sum()) / float(inside_box(found.box, size).sum())
    assert energy_share(explained.attributions[0].heat(), patch) > 2 * share


def test_a_mask_takes_its_share_of_the_box_or_of_the_known_mask():
    detector, image = HandSetDetector(), noise()
    box, label = torch.tensor([[12.0, 12.0, 52.0, 52.0]]), torch.tensor([0])
    objects = annotated_objects(detector, image, box, label)
    shape = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    shape[:, 20:40, 20:50] = True
    for known, expected in ((objects, 800), (replace(objects, masks=shape), 300)):
        method = replace(SHARP, areas=(0.5,))
        (one,) = explain_image(detector, image, known, [Question("class")], {"it": method}).attributions
        assert float(one.map.sum()) == pytest.approx(expected, rel=0.15)


def test_masks_reach_their_ends_and_areas_are_compared_in_any_place():
    masks = SmoothMasks.of((60, 80), 4.0, 8.0, torch.device("cpu"))
    assert masks.cells == (15, 20)
    for value in (0.0, 1.0):
        flat = masks.fine(masks.coarse(torch.full((1, 15, 20), value)))
        torch.testing.assert_close(flat, torch.full((1, 60, 80), value))
    half = torch.zeros(2, 15, 20)
    half[0, :, :10] = 1
    half[1, :, 10:] = 1
    assert masks.area_error(half, torch.tensor([0.5, 0.5])).tolist() == [0, 0]
    assert masks.area_error(half, torch.tensor([0.25, 0.75])).tolist() == pytest.approx([0.25, 0.25])


@pytest.mark.parametrize(
    ("family", "method"),
    [
        ("fasterrcnn", ExtremalPerturbation(steps=3, variant="dual", areas=(0.3, 0.6))),
        ("fcos", DClose(levels=2, superpixels=20, masks=6)),
    ],
)
def test_an_object_alone_has_the_map_it_has_among_others(family: str, method):
    detector, image = tiny_detector(family), block_image((64, 64))
    together = detinv.attribute(detector, [image], [BOXES], [LABELS], questions=("top",), method=method)
    small = replace(method, batch_size=3)
    (alone,) = detinv.attribute(detector, [image], [BOXES[1:]], [LABELS[1:]], questions=("top",), method=small)
    assert float(alone.map.max()) > 0
    torch.testing.assert_close(together[1].map, alone.map, rtol=1e-2, atol=1e-3 * float(alone.map.max()))


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("extremal_perturbation", {"areas": ()}, "choose one fraction or more"),
        ("extremal_perturbation", {"areas": (0.5, 1.5)}, r"areas=\[0.5, 1.5\]: choose"),
        ("extremal_perturbation", {"steps": 0}, "steps=0: choose at least 1"),
        ("extremal_perturbation", {"weight": 0.0}, "choose more than 0"),
        ("d_close", {"masks": 7}, "masks=7: choose an even number"),
        ("d_close", {"levels": 0}, "levels=0: choose at least 1"),
    ],
)
def test_mistakes_get_one_line(name: str, options, said: str):
    with pytest.raises(ConfigError, match=said):
        replace(load_method(name), **options)
