"""Several detectors read one image: each as it wants it, none drowned by another."""

import re

import pytest
import torch
from torch import nn

from detinv.cli import main
from detinv.config.detectors import detector_node
from detinv.errors import ConfigError, DetectorError
from detinv.inversion.modules.ensemble import Ensemble, as_ensemble, assemble_ensemble
from detinv.inversion.run import invert
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Detections, Layout
from tests.fakes import tiny_detector

OPTIONS = {"trainer": {"accelerator": "cpu"}, "progress": False}


def layout(name="one", size=(64, 64), masks=False):
    boxes = torch.tensor([[4.0, 6.0, 30.0, 28.0], [32.0, 30.0, 60.0, 62.0]])
    found = torch.zeros(2, *size, dtype=torch.bool)
    found[0, 6:28, 4:30] = True
    found[1, 30:62, 32:60] = True
    return Layout(boxes, torch.tensor([0, 2]), size, name, found if masks else None)


def both(**options):
    return Ensemble({"a": tiny_detector("retinanet", seed=1), "b": tiny_detector("fcos", seed=2)}, **options)


def test_one_detector_is_shown_the_image_itself():
    ensemble = as_ensemble(tiny_detector("retinanet"))
    (member,) = ensemble
    image, layouts = torch.rand(1, 3, 64, 64, requires_grad=True), LayoutBatch.collate([layout()])
    framed, same = member.in_own_frame(ensemble.weigh(image, member), layouts)
    assert framed is image
    assert same is layouts


def test_another_frame_gets_the_image_resized_and_its_boxes_with_it():
    first, other = tiny_detector("retinanet"), tiny_detector("maskrcnn", image_size=(96, 120))
    ensemble = Ensemble({"first": first, "other": other})
    member = list(ensemble)[1]
    single = layout(size=(64, 64), masks=True)
    layouts = LayoutBatch.collate([single], ensemble.size_divisor)
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    framed, moved = member.in_own_frame(image, layouts)
    assert framed.shape[-2:] == (96, 96)
    assert moved.canvas_size == (96, 96)
    torch.testing.assert_close(moved.boxes, layouts.boxes * 1.5)
    torch.testing.assert_close(moved.masks.float().mean(), layouts.masks.float().mean(), atol=0.01, rtol=0)
    (gradient,) = torch.autograd.grad(framed.square().sum(), image)
    assert bool((gradient.abs() > 0).all())
    # The same layouts object as long as the source is the same: static targets are kept by it.
    assert member.in_own_frame(image, layouts)[1] is moved


def test_a_detectors_own_canvas_holds_its_own_padding():
    first, other = tiny_detector("retinanet", image_size=(48, 80)), tiny_detector("fcos", image_size=(48, 80))
    other.pixel_mean.copy_(torch.tensor([0.1, 0.2, 0.3]))
    ensemble = Ensemble({"first": first, "other": other})
    member = list(ensemble)[1]
    size = ensemble.network_size((48, 80))
    wanted = Layout(torch.tensor([[1.0, 1.0, 20.0, 20.0]]), torch.tensor([0]), size, "x")
    layouts = LayoutBatch.collate([wanted], ensemble.size_divisor)
    framed, moved = member.in_own_frame(torch.rand(1, 3, *layouts.canvas_size), layouts)
    assert framed.shape[-2:] == moved.canvas_size
    beyond = framed[0, :, size[0] :]
    assert beyond.numel() > 0
    assert torch.equal(beyond, torch.tensor([0.1, 0.2, 0.3])[:, None, None].expand_as(beyond))


def test_other_orders_of_the_same_classes_are_translated_both_ways():
    first, other = tiny_detector("retinanet"), tiny_detector("fcos")
    other.class_names = ("class2", "class0", "class1")
    ensemble = Ensemble({"first": first, "other": other})
    member = list(ensemble)[1]
    layouts = LayoutBatch.collate([layout()], ensemble.size_divisor)
    _, moved = member.in_own_frame(torch.rand(1, 3, 64, 64), layouts)
    assert [other.class_names[k] for k in moved.labels[0]] == [ensemble.class_names[k] for k in layouts.labels[0]]
    other.detect = lambda images: [Detections(torch.rand(3, 4), torch.rand(3), torch.tensor([0, 1, 2]), (64, 64))]
    (found,) = member.detect([torch.zeros(3, 64, 64, dtype=torch.uint8)])
    assert [ensemble.class_names[k] for k in found.labels] == ["class2", "class0", "class1"]


def test_detections_in_the_ensembles_labels_keep_their_rows():
    first, other = tiny_detector("retinanet"), tiny_detector("fcos")
    other.class_names = ("class2", "class0", "class1")
    member = list(Ensemble({"first": first, "other": other}))[1]
    rows = torch.tensor([30, 10, 20])
    other.detect = lambda images: [
        Detections(torch.rand(3, 4), torch.rand(3), torch.tensor([0, 1, 2]), (64, 64), rows=rows)
    ]
    (found,) = member.detect([torch.zeros(3, 64, 64, dtype=torch.uint8)])
    assert found.labels.tolist() == [2, 0, 1] and found.rows.equal(rows)


def test_every_gradient_counts_the_same_in_every_image_times_its_share():
    ensemble = both(shares={"b": 3.0})
    image = torch.rand(2, 3, 8, 8, requires_grad=True)
    scale = torch.tensor([1.0, 1e-4])[:, None, None, None]
    sizes = []
    for member in ensemble:
        (gradient,) = torch.autograd.grad((ensemble.weigh(image, member) ** 3 * scale).sum(), image)
        sizes.append(gradient.square().mean((1, 2, 3)).sqrt())
    torch.testing.assert_close(torch.stack(sizes), torch.tensor([[1.0, 1.0], [3.0, 3.0]]))
    ensemble.balance = "none"
    (plain,) = torch.autograd.grad((ensemble.weigh(image, list(ensemble)[1]) ** 3).sum(), image)
    torch.testing.assert_close(plain, 3 * 3 * image.detach() ** 2)


def test_a_gradient_of_zero_stays_zero():
    ensemble = both()
    image = torch.rand(1, 3, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad((ensemble.weigh(image, next(iter(ensemble))) * 0).sum(), image)
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_a_joint_inversion_is_read_by_all_and_judged_by_each():
    ensemble = both()
    result = invert(ensemble, [layout("x"), layout("y")], steps=2, **OPTIONS)
    assert list(result.member_detections) == ["a", "b"]
    terms = set(result.losses[0]) - {"step", "batch", "total"}
    assert terms == {f"{name}/{term}" for name in "ab" for term in ("cls", "reg", "positive")} | {"b/centerness"}
    assert result.metrics["AP"] == min(result.metrics["a/AP"], result.metrics["b/AP"])
    assert result.metrics["false_positives"] == max(result.metrics[f"{name}/false_positives"] for name in "ab")
    assert set(result.metrics["weight_hash"]) == {"a", "b"}
    for name, detector in (("a", ensemble.members[0].detector), ("b", ensemble.members[1].detector)):
        again = detector.detect(result.images)
        assert all(
            torch.equal(one.boxes, two.boxes) for one, two in zip(again, result.member_detections[name], strict=True)
        )


@pytest.mark.slow
def test_the_image_is_not_that_of_either_detector_alone():
    alone = [invert(member.detector, [layout()], steps=4, **OPTIONS).images[0] for member in both()]
    together = invert(both(), [layout()], steps=4, **OPTIONS).images[0]
    assert all(not torch.equal(together, image) for image in alone)


def test_a_group_of_one_is_the_detector_itself():
    one = invert(tiny_detector("fcos"), [layout()], steps=2, **OPTIONS)
    group = invert([tiny_detector("fcos")], [layout()], steps=2, **OPTIONS)
    assert torch.equal(one.images[0], group.images[0])


def test_what_cannot_be_joined_is_said():
    with pytest.raises(DetectorError, match="at least one"):
        Ensemble({})
    other = tiny_detector("fcos")
    other.class_names = ("class0", "class1", "zebra")
    with pytest.raises(DetectorError, match=re.escape("a and b do not have the same classes (class2, zebra")):
        Ensemble({"a": tiny_detector("retinanet"), "b": other})
    with pytest.raises(ConfigError, match=r"shares.c: no such detector here \(there are: a, b\)"):
        both(shares={"c": 1.0})
    with pytest.raises(ConfigError, match="shares.a=0"):
        both(shares={"a": 0})
    with pytest.raises(ConfigError, match="balance=loud: choose gradient or none"):
        both(balance="loud")


def test_the_panel_stays_in_evaluation_mode():
    assert not any(module.training for module in both().train().modules() if isinstance(module, nn.BatchNorm2d))


def test_the_command_writes_the_detections_of_each_detector(tmp_path, capsys):
    words = ["invert", "detector=[shapes_fcos,shapes_retinanet]", "steps=3", "logger=none", f"out_dir={tmp_path}"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "shapes_fcos" in text and "shapes_retinanet" in text
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"detections/shapes_fcos.json", "detections/shapes_retinanet.json"} <= written
    assert "detections.json" not in written
    report = (tmp_path / "report.html").read_text()
    assert "detections of shapes_fcos" in report and "<h2>Detectors</h2>" in report


def test_an_error_of_a_member_names_the_option_as_it_is_written_for_members():
    node = detector_node("shapes_fcos") | {"weights": "nowhere.pth"}
    with pytest.raises(DetectorError, match="nowhere.pth"):
        assemble_ensemble({"shapes_fcos": node})

    def refuses(node):
        raise DetectorError("mine: no weights given; say detector.weights=PATH")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("detinv.inversion.modules.ensemble.build_detector", refuses)
        with pytest.raises(DetectorError, match=r"say detector\.members\.mine\.weights=PATH"):
            assemble_ensemble({"mine": {"_target_": "adapter.build"}})
