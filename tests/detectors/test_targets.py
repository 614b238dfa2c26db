"""Scalars of raw rows: against plain arithmetic in float64, their gradients, and what cannot be asked."""

import math
from dataclasses import replace

import pytest
import torch

from detinv.detectors.heads.codec import DeltaCodec
from detinv.detectors.heads.predictions import Predictions
from detinv.detectors.heads.scoring import Scoring
from detinv.detectors.rows import TargetRows
from detinv.detectors.targets import questions, runner_up, target_values
from detinv.detectors.transformers.codec import RelativeCodec
from detinv.errors import DetectorError
from tests.raw_outputs import ANCHORS, FAMILIES, IMAGES, LABELS, ROWS, predicted, rows_of

CASES = [(family, False) for family in FAMILIES] + [("maskrcnn", True)]
BOXES = torch.tensor([[5.0, 5.0, 30.0, 20.0], [2.0, 2.0, 9.0, 9.0], [0.0, 0, 12, 12], [8.0, 9.0, 19.0, 15.0]]).double()


def asked(family, given):
    """Predictions, rows with boxes, and every question that suits them."""
    predictions, rows = predicted(family), replace(rows_of(family, given), boxes=BOXES)
    return predictions, rows, [name for name in questions(predictions) if name != "mask" or given]


def log_sigmoid(x):
    return -math.log1p(math.exp(-x))


def plain_decode(codec, deltas, anchor):
    x0, y0, x1, y1 = anchor
    width, height, cx, cy = x1 - x0, y1 - y0, (x0 + x1) / 2, (y0 + y1) / 2
    a, b, c, d = deltas
    if isinstance(codec, RelativeCodec):
        a, b, c, d = x0 + a * width, y0 + b * height, c * width, d * height
        return [a - c / 2, b - d / 2, a + c / 2, b + d / 2]
    if isinstance(codec, DeltaCodec):
        wx, wy, ww, wh = codec.weights
        cx, cy = cx + a / wx * width, cy + b / wy * height
        width, height = width * math.exp(c / ww), height * math.exp(d / wh)
        return [cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2]
    width, height = getattr(codec, "unit", None) or (width, height)
    return [cx - a * width, cy - b * height, cx + c * width, cy + d * height]


def plain_iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def plain_value(family, given, question, target, box):
    """One scalar, from lists."""
    predictions, rows = predicted(family), rows_of(family, given)
    image, row, label = int(rows.images[target]), int(rows.rows[target]), int(rows.labels[target])
    if family == "maskrcnn":
        roi = predictions.roi
        place = row + 3 * given
        logits, deltas = roi.logits[image, place].tolist(), roi.deltas[image, place, label].tolist()
        anchor, codec, scoring = roi.rois[image, place].tolist(), roi.codec, Scoring("softmax", background=True)
        source = [3, 1, 2, 0][target] if given else roi.sources[image, row].item()
        quality = predictions.dense.logits[image, source, 0].item()
        if question == "mask":
            cells = [cell for cell in roi.mask_logits[image, row, label].flatten().tolist() if cell > 0]
            return sum(cells) / len(cells)
    else:
        head = predictions.dense
        logits, deltas = head.logits[image, row].tolist(), head.deltas[image, row].tolist()
        anchor, codec, scoring = ANCHORS[row], head.head.codec, head.head.scoring
        quality = None if head.quality_logits is None else head.quality_logits[image, row].item()
    if question == "class":
        return logits[label]
    if question == "contrast":
        return logits[label] - max(logit for other, logit in enumerate(logits[:3]) if other != label)
    if question in ("objectness", "centerness"):
        return quality
    decoded = plain_decode(codec, deltas, anchor)
    if question == "box":
        return plain_iou(decoded, box)
    if question in ("left", "top", "right", "bottom"):
        return decoded[("left", "top", "right", "bottom").index(question)]
    if question in codec.parts:
        return deltas[codec.parts.index(question)]
    if scoring.activation == "sigmoid":
        log = log_sigmoid(logits[label])
    else:
        log = logits[label] - math.log(sum(math.exp(logit) for logit in logits))
    if question == "log_probability":
        return log
    if scoring.quality_power:
        log = scoring.class_power * log + scoring.quality_power * log_sigmoid(quality)
    return {"score": math.exp(log), "log_score": log}[question]


@pytest.mark.parametrize(("family", "given"), CASES)
def test_values_are_those_of_plain_arithmetic(family, given):
    predictions, rows, names = asked(family, given)
    for question in names:
        found = target_values(predictions, rows, question)
        wanted = [plain_value(family, given, question, target, BOXES[target].tolist()) for target in range(4)]
        torch.testing.assert_close(
            found,
            torch.tensor(wanted, dtype=torch.float64),
            rtol=1e-12,
            atol=1e-12,
            msg=lambda text, question=question: f"{question}: {text}",
        )


def outputs_of(predictions):
    return [output.requires_grad_() for output in predictions.outputs()]


def with_outputs(predictions, outputs):
    """The same predictions with other raw outputs, in the order of `outputs()`."""
    outputs = iter(outputs)
    head = replace(predictions.dense, logits=next(outputs), deltas=next(outputs))
    if head.quality_logits is not None:
        head = replace(head, quality_logits=next(outputs))
    roi = predictions.roi
    if roi is not None:
        roi = replace(roi, logits=next(outputs), deltas=next(outputs), mask_logits=next(outputs))
    return Predictions(head, roi)


def ask_all(predictions, rows, names):
    return torch.cat([target_values(predictions, rows, question) for question in names])


@pytest.mark.parametrize(("family", "given"), CASES)
def test_gradients_are_those_of_finite_differences(family, given):
    predictions, rows, names = asked(family, given)
    outputs = outputs_of(predictions)
    assert torch.autograd.gradcheck(
        lambda *values: ask_all(with_outputs(predictions, values), rows, names), outputs, fast_mode=True
    )


@pytest.mark.parametrize(("family", "given"), CASES)
def test_batched_gradients_equal_single_ones(family, given):
    """One call gives the gradient of every target of every question."""
    predictions, rows, names = asked(family, given)
    outputs = outputs_of(predictions)
    values = ask_all(predictions, rows, names)
    together = torch.autograd.grad(
        values, outputs, torch.eye(len(values)).double(), is_grads_batched=True, retain_graph=True, allow_unused=True
    )
    for number, value in enumerate(values):
        alone = torch.autograd.grad(value, outputs, retain_graph=True, allow_unused=True)
        for all_of_them, one in zip(together, alone, strict=True):
            if all_of_them is not None:
                torch.testing.assert_close(
                    all_of_them[number], torch.zeros_like(all_of_them[0]) if one is None else one
                )
            else:
                assert one is None


@pytest.mark.parametrize(("family", "given"), CASES)
def test_vmap_over_copies_of_the_predictions_equals_a_loop(family, given):
    predictions, rows, names = asked(family, given)
    copies = [torch.stack([output, 0.9 * output, 1.1 * output]) for output in predictions.outputs()]

    def ask(*outputs):
        return ask_all(with_outputs(predictions, outputs), rows, names)

    found = torch.vmap(ask)(*copies)
    for number in range(3):
        torch.testing.assert_close(found[number], ask(*(copy[number] for copy in copies)))


@pytest.mark.parametrize("family", FAMILIES)
def test_targets_of_any_shape_are_those_in_a_row(family):
    predictions = predicted(family)
    labels = torch.tensor([[1, 0], [2, 2]])
    batch = TargetRows.of_batch(torch.tensor([[0, 2], [1, 0]]), labels)
    flat = TargetRows(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 2, 1, 0]), labels.flatten())
    for question in questions(predictions):
        if question not in ("mask", "box"):
            found = target_values(predictions, batch, question)
            assert found.shape == (2, 2)
            assert found.flatten().equal(target_values(predictions, flat, question))


def test_contrasts_with_others_background_and_named_classes():
    predictions, rows = predicted("ssd"), rows_of("ssd")
    logits = predictions.dense.logits[IMAGES, ROWS]
    own = logits.gather(1, LABELS[:, None])[:, 0]
    others = torch.stack(
        [row[[k for k in range(3) if k != label]].mean() for row, label in zip(logits, LABELS.tolist(), strict=True)]
    )
    torch.testing.assert_close(target_values(predictions, rows, "contrast", against="others"), own - others)
    torch.testing.assert_close(target_values(predictions, rows, "contrast", against="background"), own - logits[:, 3])
    torch.testing.assert_close(target_values(predictions, rows, "contrast", against=0), own - logits[:, 0])
    rivals = runner_up(predictions, rows)
    assert (rivals != LABELS).all() and (rivals < 3).all()
    by_number = target_values(predictions, rows, "contrast", against=rivals)
    assert by_number.equal(target_values(predictions, rows, "contrast"))


def test_background_is_no_runner_up():
    predictions, rows = predicted("ssd"), rows_of("ssd")
    logits = predictions.dense.logits.clone()
    logits[..., 3] = 100.0
    predictions = Predictions(replace(predictions.dense, logits=logits))
    assert (runner_up(predictions, rows) < 3).all()


def test_masks_over_the_box_over_given_cells_and_over_no_foreground():
    predictions, rows = predicted("maskrcnn"), rows_of("maskrcnn", given=True)
    logits = predictions.roi.mask_logits[rows.images, rows.rows, rows.labels]
    found = target_values(predictions, rows, "mask", mask_cells="box")
    torch.testing.assert_close(found, logits.mean((1, 2)))
    cells = torch.zeros(4, 4, 4, dtype=torch.bool)
    cells[:, 1, 2] = True
    torch.testing.assert_close(target_values(predictions, rows, "mask", mask_cells=cells), logits[:, 1, 2])
    low = (predictions.roi.mask_logits - 100).requires_grad_()
    value = target_values(Predictions(predictions.dense, replace(predictions.roi, mask_logits=low)), rows, "mask")
    assert not value.any()
    (gradient,) = torch.autograd.grad(value.sum(), low)
    assert not gradient.any()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("question", ["score", "log_score", "log_probability"])
@pytest.mark.parametrize("extreme", [40.0, -40.0])
def test_scores_that_round_to_one_or_zero_keep_their_gradient(family, question, extreme):
    predictions, rows = predicted(family), rows_of(family)
    # The fourth target shares its row with the first.
    rows = TargetRows(rows.images[:3], rows.rows[:3], rows.labels[:3])
    part = predictions.roi or predictions.dense
    logits = torch.zeros_like(part.logits, dtype=torch.float32)
    logits[rows.images, rows.rows, rows.labels] = extreme
    logits.requires_grad_()
    part = replace(part, logits=logits)
    predictions = Predictions(part) if predictions.roi is None else Predictions(predictions.dense, part)
    (gradient,) = torch.autograd.grad(target_values(predictions, rows, question).sum(), logits)
    assert gradient.isfinite().all()
    assert (gradient[rows.images, rows.rows, rows.labels] > 0).all()


def test_questions_name_what_each_detector_has():
    assert {"centerness", "distance_left"} <= set(questions(predicted("fcos")))
    assert not {"objectness", "dx", "mask"} & set(questions(predicted("fcos")))
    assert "objectness" in questions(predicted("yolox"))
    assert {"objectness", "mask", "dx"} <= set(questions(predicted("maskrcnn")))
    assert not {"objectness", "centerness"} & set(questions(predicted("detr")))
    alone = predicted("maskrcnn")
    assert "contrast" not in questions(Predictions(alone.dense))


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("retinanet", {"question": "centerness"}, "cannot be asked that; choose one of class, contrast"),
        ("retinanet", {"question": "mask"}, "cannot be asked"),
        ("fcos", {"question": "dx"}, "distance_left"),
        ("retinanet", {"question": "contrast", "against": "background"}, "no column for background"),
        ("retinanet", {"question": "contrast", "against": "nobody"}, "choose runner_up"),
        ("retinanet", {"question": "box"}, "give the boxes"),
        ("maskrcnn", {"question": "mask"}, "given regions only"),
    ],
)
def test_what_cannot_be_asked_is_said(family, options, message):
    with pytest.raises(DetectorError, match=message):
        target_values(predicted(family), rows_of(family), **options)


def test_given_regions_need_a_second_stage_an_anchor_for_objectness_and_masks():
    rows = replace(rows_of("maskrcnn", given=True), proposal_rows=None)
    with pytest.raises(DetectorError, match="proposal_rows"):
        target_values(predicted("maskrcnn"), rows, "objectness")
    with pytest.raises(DetectorError, match="no second stage"):
        target_values(predicted("ssd"), rows, "class")
    with pytest.raises(DetectorError, match="no regions were given"):
        target_values(
            Predictions(predicted("maskrcnn").dense, replace(predicted("maskrcnn").roi, given=0)), rows, "class"
        )
    beyond = TargetRows(IMAGES, torch.tensor([0, 1, 3, 0]), LABELS)
    with pytest.raises(IndexError):
        target_values(predicted("maskrcnn"), beyond, "class")
    predictions = predicted("maskrcnn")
    without = Predictions(predictions.dense, replace(predictions.roi, mask_logits=None, sources=None))
    with pytest.raises(DetectorError, match="no mask logits"):
        target_values(without, rows, "mask")
    with pytest.raises(DetectorError, match="does not say which anchor"):
        target_values(without, rows_of("maskrcnn"), "objectness")


def test_a_proposal_head_is_asked_like_a_detector_of_its_own():
    predictions = predicted("maskrcnn")
    rows = TargetRows(IMAGES, ROWS, torch.zeros_like(LABELS))
    found = target_values(Predictions(predictions.dense), rows, "class")
    assert found.equal(predictions.dense.logits[IMAGES, ROWS, 0])
