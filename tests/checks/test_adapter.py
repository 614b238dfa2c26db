"""Every claim of `detinv check` holds for a right adapter, and fails for one that breaks just that."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from detinv.checks.adapter import CLAIMS, Verdict, check_adapter
from detinv.checks.detections import raw_predictions_are_the_inference, targets_give_the_layout
from detinv.checks.gradients import gradient_reaches_layers, gradient_reaches_pixels
from detinv.checks.numerics import batch_equals_single_images, bfloat16_is_close
from detinv.checks.state import hooks_are_removed, is_frozen, size_settles, weights_are_untouched
from detinv.checks.trial import AdapterTrial
from detinv.cli import main
from detinv.detectors.heads.postprocess import postprocess
from detinv.detectors.heads.predictions import Predictions
from detinv.detectors.torchvision.retinanet import TorchvisionRetinaNet
from detinv.inversion.preset import load_preset
from tests.fakes import tiny_detector

SIZES = ((64, 96), (96, 64))


def trial(detector, steps=6):
    return AdapterTrial(detector, load_preset(), SIZES, steps, 3, ())


@pytest.mark.parametrize(
    "family",
    ["retinanet", *(pytest.param(name, marks=pytest.mark.slow) for name in ("fcos", "fasterrcnn", "maskrcnn"))],
)
def test_a_right_adapter_holds_everything(family):
    found = check_adapter(tiny_detector(family, image_size=(64, 96)), load_preset(), SIZES, steps=6, seed=3)
    assert [verdict for verdict in found if verdict.holds is not True] == []
    assert [verdict.claim for verdict in found] == list(CLAIMS)


class Broken(TorchvisionRetinaNet):
    """An adapter that is right except for one thing."""

    def __init__(self, kind):
        right = tiny_detector("retinanet", image_size=(64, 96))
        super().__init__(right.model, right.class_names)
        self.kind = kind
        self.calls = 0
        if kind == "frozen":
            self.requires_grad_(True)

    def network_size(self, image_size):
        height, width = super().network_size(image_size)
        return (height + 1, width) if self.kind == "settles" else (height, width)

    def forward(self, pixels, image_sizes=None, regions=None) -> Predictions:
        self.calls += 1
        if self.kind == "gradient":
            # From here on, the left half of the image has no gradient.
            half = pixels.shape[-1] // 2
            pixels = torch.cat([pixels[..., :half].detach(), pixels[..., half:]], dim=-1)
        if self.kind == "layers":
            # All that the backbone finds is cut off, and the pixels themselves are put in its place.
            found = super().forward(pixels.detach(), image_sizes, regions).detach().dense
            return Predictions(replace(found, logits=found.logits + pixels.mean(), deltas=found.deltas + pixels.mean()))
        if self.kind == "batch":
            pixels = pixels - pixels.mean(0, keepdim=True) * 0.1
        if self.kind == "hooks" and self.calls == 1:
            self.model.backbone.register_forward_hook(lambda *_: None)
        if self.kind == "weights" and self.calls == 2:
            next(self.model.parameters()).data.mul_(1.001)
        found = super().forward(pixels, image_sizes, regions).dense
        if self.kind == "classes":
            found = replace(found, logits=found.logits.roll(1, -1))
        if self.kind == "one output":
            found = replace(found, deltas=found.deltas.detach())
        if self.kind == "boxes":
            found = replace(found, head=replace(found.head, anchors=found.head.anchors + 0.5))
        if self.kind == "bfloat16":
            found = replace(found, logits=found.logits.to(torch.get_autocast_dtype("cpu")))
        if self.kind == "targets":
            # Declares that its inference keeps only one candidate.
            found = replace(found, head=replace(found.head, post=replace(found.head.post, topk_candidates=1)))
        return Predictions(found)


@pytest.mark.parametrize(
    ("kind", "claim"),
    [
        ("frozen", is_frozen),
        ("settles", size_settles),
        ("gradient", gradient_reaches_pixels),
        ("one output", gradient_reaches_pixels),
        ("layers", gradient_reaches_layers),
        ("batch", batch_equals_single_images),
        ("classes", raw_predictions_are_the_inference),
        ("boxes", raw_predictions_are_the_inference),
        ("targets", targets_give_the_layout),
        ("bfloat16", bfloat16_is_close),
    ],
)
def test_what_is_broken_is_found(kind, claim):
    holds, measured, *_ = claim(trial(Broken(kind)))
    assert holds is False, measured


@pytest.mark.parametrize(("kind", "claim"), [("batch", batch_equals_single_images), ("bfloat16", bfloat16_is_close)])
def test_a_failed_claim_about_numbers_says_what_to_change(kind, claim):
    assert claim(trial(Broken(kind))).advice


def test_a_pixel_is_reached_if_any_of_several_images_brings_it_a_gradient():
    class Choosing(Broken):
        def forward(self, pixels, image_sizes=None, regions=None) -> Predictions:
            chosen = torch.arange(pixels.shape[-1]) % 3 == self.calls % 3
            return super().forward(torch.where(chosen, pixels, pixels.detach()), image_sizes, regions)

    holds, measured, *_ = gradient_reaches_pixels(trial(Choosing("none")))
    assert holds, measured
    assert measured.endswith("3 images")


@pytest.mark.parametrize(("kind", "claim"), [("weights", weights_are_untouched), ("hooks", hooks_are_removed)])
def test_what_is_left_behind_is_found(kind, claim):
    tried = trial(Broken(kind))
    assert claim(tried)[0] is True
    batch_equals_single_images(tried)
    assert claim(tried)[0] is False


def test_an_adapter_that_raises_gets_a_verdict_and_the_others_go_on():
    class Raises(Broken):
        def detect(self, images):
            raise ValueError("no image\nfor me")

    found = {v.claim: v for v in check_adapter(Raises("none"), load_preset(), SIZES[:1], steps=1)}
    assert [claim for claim, verdict in found.items() if verdict.holds is False] == [
        "empty layout, one object, many objects",
        "raw predictions, post-processed, are its inference",
    ]
    assert found["raw predictions, post-processed, are its inference"].measured == "ValueError: no image for me"


def test_without_any_detection_nothing_is_shown():
    detector = tiny_detector("retinanet", image_size=(64, 96))
    for layer in detector.model.head.classification_head.modules():
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.constant_(layer.bias, -30.0)
    holds, measured, *_ = raw_predictions_are_the_inference(trial(detector))
    assert holds is None
    assert "no detection in 2 images" in measured


class LastOfEqual(TorchvisionRetinaNet):
    """Every row scores the same, and of those that the limit lets through the library keeps the last, not the first.

    Args:
        lowered: by which the scores that the library reports are lower.
    """

    def __init__(self, lowered=0.0):
        right = tiny_detector("retinanet", image_size=(64, 96))
        nn.init.zeros_(right.model.head.classification_head.cls_logits.weight)
        nn.init.constant_(right.model.head.classification_head.cls_logits.bias, 1.0)
        right.model.detections_per_img = 5
        super().__init__(right.model, right.class_names)
        self.lowered = lowered

    def detect(self, images):
        found = []
        for image in images:
            size = (image.shape[1], image.shape[2])
            predictions = self.forward(image[None].float() / 255, [size])
            dense = predictions.dense
            post = replace(dense.head.post, detections_per_image=10_000)
            dense = replace(dense, head=replace(dense.head, post=post))
            (all_of_them,) = postprocess(replace(predictions, dense=dense), [size])
            last = all_of_them.select(torch.arange(len(all_of_them) - 5, len(all_of_them)))
            found.append(replace(last, scores=last.scores - self.lowered))
        return found


def test_equal_scores_at_a_limit_may_be_ranked_either_way():
    holds, measured, *_ = raw_predictions_are_the_inference(trial(LastOfEqual(), steps=1))
    assert holds is True
    assert "exchanged for others of the same score" in measured


def test_other_scores_at_a_limit_are_no_tie():
    holds, measured, *_ = raw_predictions_are_the_inference(trial(LastOfEqual(lowered=0.01), steps=1))
    assert holds is False
    assert "exchanged" not in measured


def test_the_command_prints_writes_and_exits(tmp_path, capsys, monkeypatch):
    words = ["check", "detector=shapes_fcos", "steps=6", "image_sizes=[[64,64]]", f"out_dir={tmp_path}"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "holds" in text and "FAILS" not in text
    written = json.loads((tmp_path / "check.json").read_text())
    assert [verdict["claim"] for verdict in written["verdicts"]] == list(CLAIMS)
    assert all(verdict["holds"] for verdict in written["verdicts"])
    against = Verdict("one claim", False, "measured", "change [this]")
    monkeypatch.setattr("detinv.commands.check.check_adapter", lambda *_, **__: [against])
    assert main(words) == 1
    text = capsys.readouterr().out
    assert "FAILS" in text and "-> change [this]" in text and "\\n" not in text


@pytest.mark.parametrize("sizes", ["[]", "[[0,5]]", "[3]", "[[1,2,3]]"])
def test_sizes_that_are_none_are_named(sizes, capsys):
    assert main(["check", f"image_sizes={sizes}"]) == 2
    assert "image_sizes" in capsys.readouterr().err
