"""Usual mistakes, each put into the tutorial's example: a claim of `detinv check` fails and names the cause."""

from dataclasses import replace

import pytest
import torch

from detinv.checks.detections import raw_predictions_are_the_inference, targets_give_the_layout
from detinv.checks.rows import columns_are_the_classes, decoding_undoes_encoding, objects_own_rows
from detinv.checks.trial import AdapterTrial
from detinv.detectors.heads.assigners import AnchorAssigner
from detinv.detectors.heads.predictions import Predictions
from detinv.detectors.heads.scoring import Scoring
from detinv.inversion.preset import load_preset
from tests.fakes import tiny_detector
from tests.fastestdet_example import example_on_the_import_path, lively, module

SIZE = (96, 128)


@pytest.fixture(scope="module", autouse=True)
def on_the_import_path():
    with example_on_the_import_path():
        yield


@pytest.fixture(scope="module")
def right():
    return lively(SIZE)


def with_mistake(right, change=None, pixels=lambda pixels: pixels):
    """The example, but for what `change` makes of its raw predictions, or `pixels` of what it is given."""

    class Mistaken(type(right)):
        def forward(self, given, image_sizes=None, regions=None):
            found = super().forward(pixels(given), image_sizes, regions).dense
            return Predictions(found if change is None else change(found))

    return Mistaken(right.network, right.class_names, right.image_size, right.score_thresh, right.nms_thresh)


def of_head(**changed):
    return lambda dense: replace(
        dense, head=replace(dense.head, **{k: make(dense.head) for k, make in changed.items()})
    )


def tried(claim, detector):
    return claim(AdapterTrial(detector, load_preset(), (SIZE,), 1, 0, ()))


@pytest.mark.parametrize(
    "claim",
    [
        columns_are_the_classes,
        decoding_undoes_encoding,
        objects_own_rows,
        raw_predictions_are_the_inference,
        targets_give_the_layout,
    ],
)
def test_the_example_itself_holds_every_claim(right, claim):
    found = tried(claim, right)
    assert found.holds, found
    assert not found.advice


def test_an_assigner_that_exchanges_x_and_y(right):
    class Exchanged(module("adapter").CellAssigner):
        def assign(self, anchors, level_sizes, boxes, valid):
            return super().assign(anchors, level_sizes, boxes[..., [1, 0, 3, 2]], valid)

    found = tried(objects_own_rows, with_mistake(right, of_head(assigner=lambda head: Exchanged())))
    assert found.holds is False
    assert "exchanges x and y" in found.advice
    assert "px away" in found.measured and "worst: class" in found.measured


class FarOff(AnchorAssigner):
    def assign(self, anchors, level_sizes, boxes, valid):
        return super().assign(anchors, level_sizes, boxes.flip(1), valid)


class ForEveryone(AnchorAssigner):
    def assign(self, anchors, level_sizes, boxes, valid):
        found = super().assign(anchors, level_sizes, boxes, valid)
        return replace(found, candidates=found.candidates[:, :1].expand_as(found.candidates))


class ForNobody(AnchorAssigner):
    def assign(self, anchors, level_sizes, boxes, valid):
        found = super().assign(anchors, level_sizes, boxes, valid)
        return replace(found, candidates_valid=torch.zeros_like(found.candidates_valid))


@pytest.mark.parametrize(
    ("assigner", "measured", "advice"),
    [
        (FarOff(), "px away", "another place than the object"),
        (ForEveryone(), "so did another object", "to one object only"),
        (ForNobody(), "got no row", "give every object a row"),
    ],
)
def test_an_assigner_of_anchors_that_gives_wrong_rows(assigner, measured, advice):
    detector = tiny_detector("retinanet", image_size=(96, 96))

    class Mistaken(type(detector)):
        def forward(self, pixels, image_sizes=None, regions=None):
            dense = super().forward(pixels, image_sizes, regions).dense
            return Predictions(replace(dense, head=replace(dense.head, assigner=assigner)))

    found = objects_own_rows(
        AdapterTrial(Mistaken(detector.model, detector.class_names), load_preset(), ((96, 96),), 1, 0, ())
    )
    assert found.holds is False
    assert measured in found.measured
    assert advice in found.advice


def codec_with(**methods):
    kind = type("Mistaken", (module("adapter").CellCodec,), methods)
    return of_head(codec=lambda head: kind(head.codec.height, head.codec.width))


def test_a_decoder_with_another_formula(right):
    def decode(self, deltas, anchors):
        cell = anchors[..., 2:] - anchors[..., :2]
        centres = (anchors[..., :2] + anchors[..., 2:]) / 2 + deltas[..., :2].sigmoid() * cell
        half = deltas[..., 2:].sigmoid() * deltas.new_tensor([self.width, self.height]) / 2
        return torch.cat([centres - half, centres + half], dim=-1)

    detector = with_mistake(right, codec_with(decode=decode))
    found = tried(decoding_undoes_encoding, detector)
    assert found.holds is False
    assert "inverse of decode()" in found.advice
    found = tried(raw_predictions_are_the_inference, detector)
    assert found.holds is False
    assert "sides are right and centres wrong" in found.advice
    assert "decode()" in found.advice


def test_an_encoder_that_is_no_inverse(right):
    usual = module("adapter").CellCodec

    def encode(self, boxes, anchors):
        return usual.encode(self, boxes, anchors)[..., [1, 0, 2, 3]]

    detector = with_mistake(right, codec_with(encode=encode))
    assert tried(raw_predictions_are_the_inference, detector).holds
    for claim in (decoding_undoes_encoding, targets_give_the_layout):
        found = tried(claim, detector)
        assert found.holds is False
        assert "encode() of the codec" in found.advice
        assert "worst: class" in found.measured and "px" in found.measured


def doubled(codec):
    def decode(self, deltas, anchors):
        boxes = codec.decode(self, deltas, anchors)
        half = boxes[..., 2:] - boxes[..., :2]
        centres = (boxes[..., 2:] + boxes[..., :2]) / 2
        return torch.cat([centres - half, centres + half], -1)

    return decode


@pytest.mark.parametrize(
    ("mistake", "advice"),
    [
        ("colour", "RGB and BGR are exchanged"),
        ("range", "here by 255"),
        ("half a cell", "half a cell"),
        ("background", "the background comes first"),
        ("declared background", "the background comes first"),
        ("grid", "x and y are exchanged in the anchors"),
        ("regression", "the network gives (dy, dx, dh, dw)"),
        ("stride", "0.5 times as far from the upper left corner"),
        ("probabilities", "has passed the last sigmoid or softmax"),
        ("nothing", "what forward() does to the pixels"),
        ("sides", "0.5 times as long"),
        ("scores", 'Scoring("softmax", class_power=1, quality_power=0)'),
        ("powers", "boxes agree, scores or classes do not"),
        ("threshold", "PostProcessing"),
    ],
)
def test_what_forward_does_otherwise_than_detect(right, mistake, advice):
    usual = module("adapter").CellCodec
    change, pixels = {
        "colour": (None, lambda pixels: pixels.flip(1)),
        "range": (None, lambda pixels: pixels / 255),
        "half a cell": (of_head(anchors=lambda head: head.anchors + 8), None),
        "background": (lambda dense: replace(dense, logits=dense.logits.roll(1, -1)), None),
        "declared background": (background_first, None),
        "grid": (of_head(anchors=lambda head: head.anchors[:, [1, 0, 3, 2]]), None),
        "regression": (lambda dense: replace(dense, deltas=dense.deltas[..., [1, 0, 3, 2]]), None),
        "stride": (of_head(anchors=lambda head: 2 * head.anchors), None),
        "probabilities": (activated, None),
        "nothing": (lambda dense: replace(dense, quality_logits=dense.quality_logits - 99), None),
        "sides": (codec_with(decode=doubled(usual)), None),
        "scores": (None, None),
        "powers": (of_head(scoring=lambda head: replace(head.scoring, class_power=0.5, quality_power=0.55)), None),
        "threshold": (of_head(post=lambda head: replace(head.post, score_thresh=0.5)), None),
    }[mistake]
    detector = with_mistake(right, change, pixels or (lambda pixels: pixels))
    if mistake == "scores":
        detector._infer = of_class_alone(detector)
    found = tried(raw_predictions_are_the_inference, detector)
    assert found.holds is False
    assert advice in found.advice
    assert "worst: class" in found.measured or mistake == "threshold"


def activated(dense):
    return replace(dense, logits=dense.logits.softmax(-1), quality_logits=dense.quality_logits.sigmoid())


def test_a_scoring_is_named_without_a_quality_where_the_head_has_none():
    detector = tiny_detector("retinanet", image_size=(96, 96))

    class Mistaken(type(detector)):
        def forward(self, pixels, image_sizes=None, regions=None):
            dense = super().forward(pixels, image_sizes, regions).dense
            return Predictions(of_head(scoring=lambda head: Scoring("softmax"))(dense))

    trial = AdapterTrial(Mistaken(detector.model, detector.class_names), load_preset(), ((96, 96),), 1, 0, ())
    assert 'Scoring("sigmoid", class_power=1, quality_power=0)' in raw_predictions_are_the_inference(trial).advice


def background_first(dense):
    column = torch.full_like(dense.logits[..., :1], -9.0)
    scoring = replace(dense.head.scoring, background=True)
    return replace(dense, logits=torch.cat([column, dense.logits], -1), head=replace(dense.head, scoring=scoring))


def of_class_alone(detector):
    """Its inference, ranking by the probability of the class alone."""
    from detinv.detectors.heads.postprocess import postprocess

    def infer(image):
        dense = type(detector).__mro__[1].forward(detector, detector.network_image(image)[None]).dense
        scoring = replace(dense.head.scoring, class_power=1.0, quality_power=0.0)
        dense = replace(dense, head=replace(dense.head, scoring=scoring))
        return postprocess(Predictions(dense), [detector.image_size])[0]

    return infer


def test_a_column_too_many(right):
    detector = with_mistake(right, lambda dense: replace(dense, logits=torch.nn.functional.pad(dense.logits, (1, 0))))
    found = tried(columns_are_the_classes, detector)
    assert found.holds is False
    assert "6 columns for 5 names" in found.measured
    assert "Scoring(background=True)" in found.advice


def test_a_background_where_there_is_none(right):
    change = of_head(scoring=lambda head: replace(head.scoring, background=True))
    found = tried(columns_are_the_classes, with_mistake(right, change))
    assert found.holds is False
    assert "4 columns for 5 names" in found.measured
    assert "has the head one?" in found.advice


def test_rows_that_are_not_those_of_the_anchors(right):
    def one_less(dense):
        rows = {name: getattr(dense, name)[:, :-1] for name in ("logits", "deltas", "quality_logits")}
        return replace(dense, **rows)

    found = tried(columns_are_the_classes, with_mistake(right, one_less))
    assert found.holds is False
    assert "one row for each anchor" in found.advice


def test_scores_that_are_all_the_same_are_no_fault_of_the_boxes(right):
    """As in a network that was hardly trained: what suppression keeps is chance, and the adapter is right."""

    class Undecided(type(right)):
        def detect(self, images):
            found = super().detect(images)
            return [replace(one, boxes=one.boxes + 3, scores=torch.full_like(one.scores, 0.3)) for one in found]

    undecided = Undecided(right.network, right.class_names, right.image_size, right.score_thresh, right.nms_thresh)
    assert "rounding decides" in tried(raw_predictions_are_the_inference, undecided).advice
