"""`detinv.attribute` on every family: maps where they belong, the same every time, and one line for every mistake."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import detinv
from detinv.attribution.core.forward import canvas_of, run_forward
from detinv.attribution.core.objects import annotated_objects, detected_objects
from detinv.attribution.core.questions import Question, as_questions
from detinv.attribution.core.versions import version_scalars
from detinv.attribution.explain import explain_image
from detinv.attribution.load import load_method, method_names
from detinv.errors import ConfigError, DetectorError, LayoutError
from tests.attribution.hand_set import HandSetDetector
from tests.fakes import block_image, tiny_detector

BOXES = [torch.tensor([[4.0, 6.0, 40.0, 50.0], [20.0, 8.0, 60.0, 30.0]])]
LABELS = [torch.tensor([0, 2])]
SMALL = {
    "smooth_grad": {"samples": 3},
    "d_rise": {"masks": 8},
    "d_close": {"masks": 4, "levels": 2, "superpixels": 30},
    "integrated_gradients": {"steps": 3},
    "search": {"trials": 60},
    "extremal_perturbation": {"steps": 3, "areas": (0.3, 0.5)},
}


def given(detector, image, **options):
    return detinv.attribute(detector, [image], BOXES, LABELS, **options)


@pytest.mark.parametrize(
    "family",
    [*(pytest.param(name, marks=pytest.mark.slow) for name in ("retinanet", "fasterrcnn")), "fcos", "maskrcnn", "ssd"],
)
def test_all_methods_of_features_run_on_every_family(family: str):
    detector, image = tiny_detector(family), block_image((64, 64))
    objects = annotated_objects(detector, image, BOXES[0], LABELS[0])
    methods = {name: load_method(name) for name in method_names()}
    methods = {name: one for name, one in methods.items() if hasattr(one, "layers") or name == "default"}
    questions = as_questions(["class", "score", "left", "box"], None, detector.class_names)
    found = explain_image(detector, image, objects, questions, methods)
    assert len(found.attributions) == len(objects) * len(methods) * len(questions)
    assert (found.forwards, found.backwards) == (1, len(objects) * len(questions))
    for one in found.attributions:
        heat = one.heat()
        assert heat.shape == (64, 64)
        assert torch.isfinite(heat).all()
        assert one.signed or float(heat.min()) >= 0
        assert one.show().shape == (64, 64, 3)
        assert one._repr_png_().startswith(b"\x89PNG")
        assert one.question in repr(one) and one.method in repr(one) and len(repr(one)) < 160
    assert max(float(one.heat().abs().max()) for one in found.attributions) > 0


def test_an_object_alone_has_the_maps_it_has_among_others():
    detector, image = tiny_detector("fcos"), block_image((64, 64))
    together = given(detector, image, questions=("class", "top"))
    alone = detinv.attribute(detector, [image], [BOXES[0][1:]], [LABELS[0][1:]], questions=("top",))
    torch.testing.assert_close(together[3].map, alone[0].map, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["occlusion", *SMALL])
def test_the_same_seed_gives_the_same_maps(name: str):
    detector, image = HandSetDetector(), block_image((64, 64))
    method = replace(load_method(name), **SMALL.get(name, {}))
    boxes, labels = [torch.tensor([[12.0, 12.0, 52.0, 52.0]])], [torch.tensor([0])]
    first, again, batched = (
        detinv.attribute(detector, [image], boxes, labels, method=one, seed=3)[0].map
        for one in (method, method, replace(method, batch_size=2))
    )
    assert torch.equal(first, again)
    torch.testing.assert_close(first, batched, rtol=1e-3, atol=1e-5 * float(first.abs().max()))
    if name in ("d_rise", "d_close"):
        # Noise alone does not change the gradient of a detector that is linear where its rectifiers are on.
        assert not torch.equal(first, detinv.attribute(detector, [image], boxes, labels, method=method, seed=4)[0].map)


def test_maps_lie_in_the_frame_of_the_photograph():
    """A photograph twice as large: the same map, twice as large, though the network sees the same."""
    detector, image = HandSetDetector(), block_image((64, 64))
    large = image.repeat_interleave(2, 1).repeat_interleave(2, 2)
    boxes, labels = torch.tensor([[12.0, 12.0, 52.0, 52.0]]), [torch.tensor([0])]
    (small_map,) = detinv.attribute(detector, [image], [boxes], labels, method="odam")
    (large_map,) = detinv.attribute(detector, [large], [2 * boxes], labels, method="odam")
    assert large_map.heat().shape == (128, 128)
    assert large_map.extent == (0.0, 0.0, 128.0, 128.0)
    reduced = torch.nn.functional.avg_pool2d(large_map.heat()[None], 2)[0]
    torch.testing.assert_close(reduced, small_map.heat(), rtol=0.05, atol=0.02 * float(reduced.max()))


def test_a_layer_of_regions_gives_a_map_inside_the_region():
    detector, image = tiny_detector("fasterrcnn"), block_image((64, 64))
    found = given(detector, image, method="grad_cam", layers=["roi"])
    for one, box in zip(found, BOXES[0].tolist(), strict=True):
        assert one.extent == pytest.approx(box)
        outside = ~torch.zeros(64, 64, dtype=torch.bool)
        outside[int(box[1]) : int(box[3]), int(box[0]) : int(box[2])] = False
        assert float(one.heat()[outside].abs().max()) == 0


def test_objectness_is_that_of_the_same_anchor_when_the_image_is_changed():
    detector, image = tiny_detector("fasterrcnn"), block_image((64, 64))
    (detections,) = detector.detect([image])
    objects, _ = detected_objects(detector, image, detections)
    objects = objects.select(torch.arange(2))
    occlusion = replace(load_method("occlusion"), side=0.25, stride=1)
    methods = {name: replace(occlusion, batch_size=size) for name, size in (("one", 1), ("many", 16))}
    (first, batched, *_) = explain_image(detector, image, objects, [Question("objectness")], methods).attributions
    passed = run_forward(detector, image, objects, [Question("objectness")])
    held = replace(objects, anchors=passed.rows.proposal_rows)
    grey = image.clone()
    grey[:, 4:12, :4] = 128
    pixels, frame, size = canvas_of(detector, grey)
    expected = detector(pixels, [size]).dense.logits[0, held.anchors, 0].detach()
    found = version_scalars(detector, pixels, size, frame, held, [Question("objectness")])[0, :, 0].detach()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(first.map, batched.map, rtol=1e-3, atol=1e-4)


def test_detections_are_explained_by_the_rows_they_came_from():
    detector, image = HandSetDetector(), block_image((64, 64))
    (found,) = detector.detect([image])
    objects, unknown = detected_objects(detector, image, found)
    assert (objects.rows.tolist(), unknown) == ([0] * len(found), [])
    moved = replace(found, boxes=found.boxes + 3)
    objects, unknown = detected_objects(detector, image, moved)
    assert (len(objects), unknown) == (0, list(range(len(found))))


def test_a_map_is_saved_with_its_place(tmp_path):
    (one, _) = given(tiny_detector("retinanet"), block_image((64, 64)))
    one.save(tmp_path / "map.npz")
    with np.load(tmp_path / "map.npz") as saved:
        assert np.array_equal(saved["map"], one.map.numpy())
        assert saved["extent"].tolist() == [0.0, 0.0, 64.0, 64.0]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"questions": ("colour",)}, DetectorError, "this detector cannot be asked that"),
        ({"questions": ()}, ConfigError, "name at least one"),
        ({"questions": "class"}, ConfigError, r"one as \('class',\)"),
        ({"questions": ("class", "class")}, ConfigError, "each may be named once"),
        ({"questions": ("contrast",), "against": "clas1"}, ConfigError, "did you mean 'class1'"),
        ({"questions": ("contrast",), "against": 7}, ConfigError, "numbered from 0 to 2"),
        ({"layers": ["p9"], "method": "odam"}, ConfigError, "this detector has c1"),
        ({"boxes": [torch.tensor([[0.0, 0.0, 99.0, 9.0]])], "labels": [torch.tensor([0])]}, LayoutError, "outside"),
        ({"boxes": BOXES, "labels": None}, ConfigError, "give both"),
        (
            {"boxes": None, "labels": None, "score_thresh": 50.0},
            ConfigError,
            r"score_thresh=50.0: choose a number in \[0, 1\]",
        ),
        ({"boxes": BOXES * 2, "labels": LABELS}, ConfigError, "1 images need as many entries .* got 2 and 1"),
        ({"labels": [torch.tensor([0, 3])]}, LayoutError, r"labels\[0\]: class numbers must lie in 0 ... 2"),
        ({"labels": [torch.tensor([0.0, 2.5])]}, LayoutError, "whole numbers, got torch.float32"),
        ({"layers": "c3", "method": "odam"}, ConfigError, r"one as \['c3'\]"),
    ],
)
def test_mistakes_get_one_line(options, error, said: str):
    options = {"boxes": BOXES, "labels": LABELS, **options}
    with pytest.raises(error, match=said):
        detinv.attribute(tiny_detector("fcos"), [block_image((64, 64))], **options)


def test_a_detector_without_feature_layers_is_told_what_works(monkeypatch):
    detector = tiny_detector("fcos")
    monkeypatch.setattr(type(detector), "feature_layers", lambda self: ())
    monkeypatch.setattr(type(detector), "head_window", lambda self: None)
    options = {"boxes": BOXES, "labels": LABELS}
    with pytest.raises(ConfigError, match="no feature layer, .* choose a method of the pixels, such as occlusion"):
        detinv.attribute(detector, [block_image((64, 64))], layers=[4], method="odam", **options)
    assert len(detinv.attribute(detector, [block_image((64, 64))], method="gradient", **options)) == 2


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda image: image / 255, r"images\[1\]: expected a uint8 .* got float32 .*; convert it"),
        (lambda image: image.permute(1, 2, 0), r"got uint8 of shape \(64, 48, 3\)"),
        (lambda image: image[:1], r"got uint8 of shape \(1, 64, 48\)"),
    ],
)
def test_images_of_another_kind_are_refused(changed, said: str):
    detector, image = tiny_detector("fcos"), block_image((64, 48))
    layout = detinv.Layout(BOXES[0][:1], LABELS[0][:1], (64, 48), "a")
    for explain in (
        lambda images: detinv.attribute(detector, images),
        lambda images: detinv.explain_errors(detector, images, [layout] * 2),
    ):
        with pytest.raises(ConfigError, match=said):
            explain([image, changed(image)])


def test_boxes_are_taken_in_any_form_and_a_wrong_one_names_its_image():
    detector, image = tiny_detector("fcos"), block_image((64, 64))
    (expected,) = given(detector, image, questions=("class",))[1:]
    for form in (lambda tensor: tensor.numpy().astype("int16"), lambda tensor: tensor.tolist(), lambda tensor: tensor):
        boxes, labels = form(BOXES[0][1:]), form(LABELS[0][1:])
        (found,) = detinv.attribute(detector, [image], [boxes], [labels])
        torch.testing.assert_close(found.map, expected.map, rtol=1e-4, atol=1e-6)
    assert detinv.attribute(detector, [image], [[]], [[]]) == []
    with pytest.raises(LayoutError, match=r"images\[1\]: object 0: box .* outside"):
        detinv.attribute(detector, [image, image], [BOXES[0][:1], [[0, 0, 65, 9]]], [[0], [0]])


def test_an_answer_that_depends_on_nothing_has_an_empty_map():
    """What tells a class from itself is always 0."""
    (nothing, something) = given(
        tiny_detector("fcos"), block_image((64, 64)), questions=("contrast",), against=int(LABELS[0][0])
    )
    assert (nothing.value, float(nothing.heat().abs().max())) == (0.0, 0.0)
    assert something.value != 0 and float(something.heat().max()) > 0


def test_guided_backprop_is_refused_without_rectifiers():
    detector = HandSetDetector()
    detector.stages[1][1] = torch.nn.SiLU()
    with pytest.raises(DetectorError, match="has SiLU, and the method is defined for ReLU"):
        detinv.attribute(detector, [block_image((64, 64))], BOXES, [torch.tensor([0, 1])], method="guided_backprop")


def test_a_question_says_whether_it_is_of_the_class():
    assert Question("contrast").of_class
    assert not Question("dx").of_class
