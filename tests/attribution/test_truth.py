"""Where the truth is known: weights set by hand, and patches planted in a world."""

from dataclasses import replace

import pytest
import torch

import detinv
from detinv.attribution.core.measures import energy_share, inside_box, maximum, nearest_edge
from detinv.attribution.core.objects import ExplainedObjects
from detinv.attribution.load import load_method, method_names
from detinv.verification.attribution_maps import differ
from detinv.verification.planted_evidence import FoundObject, companion_boxes, in_box, patch_box
from detinv.worlds.context import ContextWorld
from detinv.worlds.counterfactual import HiddenCompanions
from detinv.worlds.part import PartWorld
from detinv.worlds.plain import PlainWorld
from tests.attribution.hand_set import EVIDENCE, SIDE, HandSetDetector
from tests.attribution.measurements.planted_truth import PATCH_MARGIN

# Their weights are the same at every place of a channel, or they explain the detection as a whole; controls know
# nothing.
CONTROLS = {name for name in method_names() if name.startswith("control_")}
CANNOT = {"grad_cam", "grad_cam_plus_plus", "d_rise", "d_close", "search_detection", *CONTROLS}
CHEAP = {
    "smooth_grad": {"samples": 4},
    "integrated_gradients": {"steps": 4},
    "search": {"trials": 100},
    "extremal_perturbation": {"areas": (0.08,), "removal": "fade", "steps": 40, "smoothness": 1 / 32},
}


def image(seed: int = 0) -> torch.Tensor:
    return torch.randint(40, 256, (3, SIDE, SIDE), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@pytest.mark.parametrize("name", sorted({*method_names()} - CANNOT))
def test_every_method_finds_the_evidence_and_nothing_else(name: str):
    method = replace(load_method(name), **CHEAP.get(name, {}))
    if hasattr(method, "layers"):
        method = replace(method, smoothing=0.0)
    if name == "default":
        # Smoothing spreads a map on purpose.
        sharp = [replace(one, smoothing=0.0) for one in method.of_class.methods]
        method = replace(method, of_class=replace(method.of_class, methods=sharp), of_box=load_method("norm_grad"))
    # Weights of SSGrad-CAM++ count what lies in the box, and three of the strips lie just outside.
    questions = ("class", "top") if name == "ss_grad_cam_plus_plus" else ("class", "left", "top", "right", "bottom")
    found = detinv.attribute(HandSetDetector(), [image()], questions=questions, method=method)
    assert [one.question for one in found] == list(questions)
    for one in found:
        # A side moves outwards as its distance grows, so covering evidence moves left and top to larger values.
        heat = one.heat().abs() if one.signed else one.heat()
        region = EVIDENCE[one.question]
        # A square that covers a part reaches beyond it, and so does a map that is enlarged from cells of 8 pixels.
        # So do masks with smooth edges.
        margin = 8 if name in ("occlusion", "extremal_perturbation") or one.map.shape[0] < SIDE else 0
        assert inside_box(region, (SIDE, SIDE), margin).view(-1)[int(heat.argmax())], one.question
        assert energy_share(heat, inside_box(region, (SIDE, SIDE), margin)) > 0.9, one.question


@pytest.mark.parametrize("name", sorted(CANNOT))
def test_methods_that_cannot_by_design_do_not(name: str):
    """The control: what the others pass can be failed."""
    method = load_method(name)
    if name in ("d_rise", "d_close"):
        method = replace(method, masks={"d_rise": 200, "d_close": 20}[name])
    (one,) = detinv.attribute(HandSetDetector(), [image()], method=method)
    assert energy_share(one.heat(), inside_box(EVIDENCE["class"], (SIDE, SIDE), 8)) < 0.9


def test_a_contrast_subtracts_the_evidence_for_the_other_class():
    method = replace(load_method("odam"), signed=True)
    (one,) = detinv.attribute(HandSetDetector(), [image()], questions=("contrast",), against="two", method=method)
    assert one.asked == "contrast with two"
    heat = one.heat()
    assert inside_box(EVIDENCE["class"], (SIDE, SIDE), 8).view(-1)[int(heat.argmax())]
    assert inside_box(EVIDENCE["other class"], (SIDE, SIDE), 8).view(-1)[int(heat.argmin())]
    assert energy_share(heat, inside_box(EVIDENCE["class"], (SIDE, SIDE), 8)) > 0.9
    assert energy_share(-heat, inside_box(EVIDENCE["other class"], (SIDE, SIDE), 8)) > 0.9


def test_integrated_gradients_add_up_to_the_change_from_the_baseline():
    detector = detinv.load_detector("part_retinanet")
    scene = PartWorld(seed=5).scene(1)
    (found,) = detector.detect([scene.image])
    method = replace(load_method("integrated_gradients"), steps=50)
    (one,) = detinv.attribute(detector, [scene.image], [found.boxes[:1]], [found.labels[:1]], method=method)
    blank = (detector.pixel_mean * 255).round().to(torch.uint8)[:, None, None].expand(3, 128, 128).contiguous()
    (baseline,) = detinv.attribute(
        detector,
        [blank],
        boxes=[torch.tensor([one.box])],
        labels=[torch.tensor([one.label])],
        method="odam",
    )
    # On a blank image the candidate of this place is not the same row, so only the order of magnitude is compared.
    assert abs(float(one.map.sum())) > 1
    assert abs(float(one.map.sum()) - (one.value - baseline.value)) < 0.5 * abs(one.value - baseline.value)


@pytest.mark.parametrize("name", ["part_retinanet", "part_fasterrcnn"])
def test_the_default_points_at_the_planted_patch(name: str):
    world, hits = PartWorld(seed=31), []
    scenes = [world.scene(number) for number in range(4)]
    found = detinv.attribute(name, [scene.image for scene in scenes], questions=("class",))
    for one in found:
        hits.append(in_box(patch_box(one.box), maximum(one.heat()), PATCH_MARGIN))
    assert len(hits) >= 6
    assert sum(hits) >= 0.8 * len(hits)


@pytest.mark.parametrize("name", ["shapes_retinanet", "shapes_fasterrcnn"])
def test_the_default_finds_each_side_at_its_edge(name: str):
    scenes = [PlainWorld(seed=31).scene(number) for number in range(2)]
    sides = ("left", "top", "right", "bottom")
    found = detinv.attribute(name, [scene.image for scene in scenes], questions=sides)
    right = [nearest_edge(maximum(one.heat()), one.box) == one.question for one in found]
    assert len(right) >= 12
    assert sum(right) >= 0.85 * len(right)


def test_no_control_looks_at_a_place_outside_the_image():
    """A map cannot point there, so that such a control would pass whatever the map."""
    world = ContextWorld(seed=7)
    names, mirrored = world.class_names, []
    for scene in map(world.scene, range(40)):
        for planted in range(len(scene.layout)):
            box, label = scene.layout.boxes[planted, None], scene.layout.labels[planted, None]
            objects = ExplainedObjects(box, label, torch.ones(1), torch.tensor([0]))
            beside = companion_boxes(FoundObject(0, scene, objects, planted), names)
            if beside is not None:
                mirrored.append(beside[1])
    inside = [box for box in mirrored if box is not None]
    assert 0 < len(inside) < len(mirrored)
    assert all(0 <= box[k] + box[k + 2] <= 256 for box in inside for k in range(2))


def test_scenes_without_companions_are_told_from_those_that_lose_some():
    world, hidden = ContextWorld(seed=7), HiddenCompanions(seed=7)
    companions = {world.class_names.index(one.name) for one in world.companions.values()}
    for number in range(12):
        scene = world.scene(number)
        assert differ(scene, hidden.scene(number)) == bool(companions & set(scene.layout.labels.tolist()))
