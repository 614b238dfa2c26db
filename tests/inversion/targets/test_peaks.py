"""Targets of heads that keep local maxima: inference on them, in plain loops, gives exactly the layout."""

from dataclasses import replace

import pytest
import torch
from torchvision.ops import batched_nms

from detinv.detectors.heads.grid import grid_cells
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, PostProcessing, Predictions
from detinv.detectors.heads.scoring import Scoring
from detinv.inversion.callbacks.pseudo_targets import PseudoTargets
from detinv.inversion.targets.base import DenseTargets, Targets
from detinv.inversion.targets.code import CodeRule
from detinv.inversion.targets.matching import HungarianRule
from detinv.inversion.targets.paper import PaperRule
from detinv.inversion.targets.substitute import substitute
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout
from tests.heat_map import CELLS, SIDE, STRIDE, CentreAssigner, CentreCodec

CLASSES, COARSE = 3, 8
GRIDS = ((CELLS, CELLS), (COARSE, COARSE))


def head(nms_thresh: float | None = None, kernel: int = 3, scoring: Scoring | None = None) -> DenseHead:
    cells = torch.cat([grid_cells(CELLS, CELLS, STRIDE), grid_cells(COARSE, COARSE, 2 * STRIDE)])
    post = PostProcessing(0.5, nms_thresh, 1000, 100, topk_per="image", clip="never", peak_kernel=kernel)
    sizes = (CELLS**2, COARSE**2)
    return DenseHead(cells, sizes, CentreCodec(), CentreAssigner(), post, scoring or Scoring())


def bumpy(seed: int, made: DenseHead) -> DensePredictions:
    """Scores that rise to several broad maxima, and random boxes."""
    generator = torch.Generator().manual_seed(seed)
    coarse = 6 * torch.randn(1, CLASSES + 1, 5, 5, generator=generator)
    maps = [torch.nn.functional.interpolate(coarse, shape, mode="bicubic").flatten(2) for shape in GRIDS]
    rows = torch.cat(maps, 2).transpose(1, 2)
    deltas = torch.cat(
        [torch.rand(1, rows.shape[1], 2, generator=generator), torch.full((1, rows.shape[1], 2), 3.0)], 2
    )
    quality = rows[..., -1] + 2 if made.scoring.quality_power else None
    return DensePredictions(rows[..., :-1], deltas, made, quality)


def wanted(seed: int, count: int = 4) -> Layout:
    """Objects whose cells are no neighbours, and which do not overlap."""
    generator = torch.Generator().manual_seed(100 + seed)
    places = torch.randperm(16, generator=generator)[:count]
    centres = 16.0 * torch.stack([places % 4, places // 4], 1) + 6 + 4 * torch.rand(count, 2, generator=generator)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    return Layout(torch.cat([centres - 5, centres + 5], 1), labels, (SIDE, SIDE), "wanted")


def inference(predictions: DensePredictions, kernel: int, nms_thresh: float | None) -> list[tuple[int, ...]]:
    """Class and box of every cell above 0.5 that none around it exceeds; then suppression by overlap, if any."""
    scores, boxes = predictions.scores()[0], predictions.boxes()[0]
    rows, labels, start = [], [], 0
    for height, width in GRIDS:
        grid = scores[start : start + height * width].view(height, width, CLASSES)
        for y in range(height):
            for x in range(width):
                low, left = max(y - kernel // 2, 0), max(x - kernel // 2, 0)
                window = grid[low : y + kernel // 2 + 1, left : x + kernel // 2 + 1]
                for label in range(CLASSES):
                    if grid[y, x, label] > 0.5 and grid[y, x, label] == window[..., label].max():
                        rows.append(start + y * width + x)
                        labels.append(label)
        start += height * width
    rows, labels = torch.tensor(rows, dtype=torch.int64), torch.tensor(labels, dtype=torch.int64)
    if nms_thresh is not None and len(rows):
        kept = batched_nms(boxes[rows], scores[rows, labels], labels, nms_thresh)
        rows, labels = rows[kept], labels[kept]
    return sorted((int(c), *b.round().int().tolist()) for c, b in zip(labels, boxes[rows], strict=True))


def built(rule, predictions: DensePredictions, layout: Layout) -> DenseTargets:
    builder = PseudoTargets(rule, HungarianRule())
    return builder.build("one", Predictions(predictions), LayoutBatch.collate([layout]), Targets()).dense


CENTERNESS = Scoring(class_power=0.5, quality_power=0.5)


@pytest.mark.parametrize("rule", [PaperRule(), CodeRule(topk=1000)])
@pytest.mark.parametrize("scoring", [Scoring(), CENTERNESS])
@pytest.mark.parametrize(("kernel", "nms_thresh"), [(3, None), (5, None), (3, 0.5)])
def test_inference_on_the_targets_is_the_layout(rule, scoring: Scoring, kernel: int, nms_thresh: float | None):
    for seed in range(6):
        predictions, layout = bumpy(seed, head(nms_thresh, kernel, scoring)), wanted(seed, seed % 5)
        targets = built(rule, predictions, layout)
        changed = substitute(Predictions(predictions), Targets(dense=targets)).dense
        objects = sorted((int(c), *b.round().int().tolist()) for c, b in zip(layout.labels, layout.boxes, strict=True))
        assert inference(changed, kernel, nms_thresh) == objects
        assert inference(predictions, kernel, nms_thresh) != objects or not objects


@pytest.mark.parametrize("rule", [PaperRule(), CodeRule(topk=1000)])
def test_the_slope_of_an_object_is_free_and_other_maxima_are_not(rule):
    # Two broad maxima of class 0: the object's in the middle, and another in the corner.
    made = head()
    ys, xs = torch.meshgrid(torch.arange(CELLS), torch.arange(CELLS), indexing="ij")
    fine = 5 - 0.3 * torch.minimum((ys - 8) ** 2 + (xs - 8) ** 2, ys**2 + xs**2).float()
    logits = torch.full((1, len(made.anchors), CLASSES), -9.0)
    logits[0, : CELLS**2, 0] = fine.flatten()
    predictions = DensePredictions(logits, torch.full((1, len(made.anchors), 4), 2.0), made)
    predictions.deltas[0, 8 * CELLS + 8] = torch.tensor([0.5, 0.5, 4, 4])
    layout = Layout(torch.tensor([[26.0, 26, 42, 42]]), torch.tensor([0]), (SIDE, SIDE), "one")
    targets = built(rule, predictions, layout)
    weights = torch.zeros(len(made.anchors)).index_put((targets.rows[0],), targets.class_weights[0, :, 0])
    grid, live = weights[: CELLS**2].view(CELLS, CELLS), fine > 0
    assert targets.positive_rows.tolist() == [[8 * CELLS + 8]]
    assert grid[8, 8] == 1
    slope = live & ((ys - 8) ** 2 + (xs - 8) ** 2 < 30)
    slope[8, 8] = False
    assert slope.sum() > 20 and (grid[slope] == 0).all()
    corner = live & (ys**2 + xs**2 < 30)
    assert corner.sum() > 5 and (grid[corner] == 1).all()
    assert weights.sum() == 1 + corner.sum()


def test_a_head_that_keeps_local_maxima_is_not_matched_one_to_one():
    predictions, layout = bumpy(0, head()), wanted(0)
    expected = built(CodeRule(topk=1000), predictions, layout)
    other = built(CodeRule(topk=1000), replace(predictions, head=replace(head(0.5))), layout)
    assert expected.positive_rows.equal(
        CentreAssigner()
        .assign(predictions.head.anchors, (), layout.boxes[None], torch.ones(1, len(layout), dtype=torch.bool))
        .candidates[..., 0]
    )
    # Without suppression of boxes, a second row of an object is background.
    assert (other.box_weights > 0).sum() >= (expected.box_weights > 0).sum() == len(layout)
