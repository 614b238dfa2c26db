"""Local maxima, against loops over cells; and where declaring them makes no sense."""

from dataclasses import replace

import pytest
import torch

from detinv.detectors.heads.assigners import AnchorAssigner
from detinv.detectors.heads.codec import DeltaCodec
from detinv.detectors.heads.grid import around_corner, grid_cells
from detinv.detectors.heads.peaks import grid_shapes, highest_around, summits
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, PostProcessing, RoIPredictions
from detinv.detectors.heads.proposals import propose
from detinv.detectors.heads.scoring import Scoring
from detinv.detectors.heads.trace import Fate, trace_dense

GRIDS = ((5, 7), (3, 4))
LEVELS = (35, 12)
SIZE = (40, 56)


def anchors() -> torch.Tensor:
    return torch.cat([grid_cells(5, 7, 8), around_corner(grid_cells(3, 4, 16))])


def head(**constants) -> DenseHead:
    post = PostProcessing(
        **{
            "score_thresh": 0.3,
            "nms_thresh": None,
            "topk_candidates": 9,
            "detections_per_image": 6,
            "topk_per": "image",
        }
        | {"clip": "never", "peak_kernel": 3}
        | constants
    )
    return DenseHead(anchors(), LEVELS, DeltaCodec(), AnchorAssigner(), post)


def windows(kernel: int) -> list[list[int]]:
    """For each row, those of its window, itself included."""
    found, start = [], 0
    for height, width in GRIDS:
        for y in range(height):
            for x in range(width):
                reach = range(-(kernel // 2), kernel // 2 + 1)
                cells = [(y + dy, x + dx) for dy in reach for dx in reach]
                found.append([start + v * width + u for v, u in cells if 0 <= v < height and 0 <= u < width])
        start += height * width
    return found


def predictions(seed: int, head: DenseHead) -> DensePredictions:
    generator = torch.Generator().manual_seed(seed)
    # Few different values, so that neighbours are often equal.
    logits = torch.randint(-4, 5, (1, sum(LEVELS), 2), generator=generator) / 2
    return DensePredictions(logits, 0.1 * torch.randn(1, sum(LEVELS), 4, generator=generator), head)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("best_class_only", [False, True])
def test_candidates_are_the_cells_that_none_around_exceeds(kernel: int, best_class_only: bool):
    for seed in range(8):
        found = predictions(seed, head(peak_kernel=kernel, best_class_only=best_class_only))
        trace = trace_dense(found, 0, SIZE)
        scores = found.logits[0].sigmoid()
        passed = []
        for row, window in enumerate(windows(kernel)):
            for label in range(2):
                score, fate = float(scores[row, label]), Fate(int(trace.fates[row, label]))
                highest = max(float(scores[other, label]) for other in window)
                if score <= 0.3:
                    assert fate == Fate.LOW_SCORE
                elif best_class_only and int(scores[row].argmax()) != label:
                    assert fate == Fate.OTHER_CLASS
                elif score < highest:
                    assert fate == Fate.NO_MAXIMUM
                    by = trace.suppressor(2 * row + label)
                    assert by % 2 == label and by // 2 in window and float(scores[by // 2, label]) == highest
                else:
                    passed.append((score, fate))
        passed.sort(key=lambda one: -one[0])
        assert [score for score, fate in passed if fate == Fate.REPORTED] == [score for score, _ in passed[:6]]
        assert {fate for _, fate in passed} <= {Fate.REPORTED, Fate.BEYOND_CANDIDATES, Fate.BEYOND_DETECTIONS}


def test_without_the_declaration_no_candidate_is_stopped_there():
    trace = trace_dense(predictions(0, head(peak_kernel=None)), 0, SIZE)
    assert (trace.fates != Fate.NO_MAXIMUM).all() and trace.highest is None


def test_the_way_uphill_ends_at_a_summit():
    scores = torch.rand(2, sum(LEVELS), 3, generator=torch.Generator().manual_seed(1))
    values, rows = highest_around(scores, GRIDS, 3)
    ends = summits(scores, GRIDS, 3)
    around = windows(3)
    for image in range(2):
        for label in range(3):
            column = scores[image, :, label].tolist()
            for row in range(len(column)):
                step = max(around[row], key=column.__getitem__)
                assert int(rows[image, row, label]) == step and float(values[image, row, label]) == column[step]
                place = row
                while (step := max(around[place], key=column.__getitem__)) != place:
                    place = step
                assert int(ends[image, row, label]) == place


def test_a_spiral_is_walked_to_its_end():
    # One cell wide and longer than any side: the way that takes most steps.
    grid = torch.zeros(9, 9)
    path = [(0, x) for x in range(9)] + [(y, 8) for y in range(1, 9)] + [(8, x) for x in range(7, -1, -1)]
    path += [(y, 0) for y in range(7, 1, -1)] + [(2, x) for x in range(1, 7)]
    for step, place in enumerate(path):
        grid[place] = 1 + step
    ends = summits(grid.view(1, 81, 1), [(9, 9)], 3)
    assert int(ends[0, 0, 0]) == 2 * 9 + 6


def test_grids_are_read_from_anchors():
    assert grid_shapes(anchors(), LEVELS) == GRIDS
    assert grid_shapes(grid_cells(1, 6, 4), [6]) == ((1, 6),)


@pytest.mark.parametrize(
    "rows",
    [
        grid_cells(3, 4, 8).repeat_interleave(2, 0),  # two rows for each cell
        grid_cells(3, 4, 8)[:, [1, 0, 3, 2]],  # column by column
        grid_cells(3, 4, 8)[:11],
        torch.tensor([[0.0, 0, 64, 64]]).expand(12, 4),  # queries
    ],
)
def test_rows_that_are_no_grid_are_refused(rows: torch.Tensor):
    made = DenseHead(rows, (len(rows),), DeltaCodec(), AnchorAssigner(), PostProcessing(0.3, None, 9, 6))
    with pytest.raises(ValueError, match="one row for each cell of a grid, row by row; level 0 has"):
        replace(made, post=replace(made.post, peak_kernel=3))


@pytest.mark.parametrize("kernel", [0, 1, 2, 4, -3])
def test_windows_without_a_middle_are_refused(kernel: int):
    with pytest.raises(ValueError, match=f"peak_kernel must be odd and at least 3, got {kernel}"):
        PostProcessing(0.3, None, 9, 6, peak_kernel=kernel)


def test_heads_in_which_local_maxima_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="needs an assigner"):
        replace(head(), assigner=None)
    for scoring in (Scoring("softmax", background=True), Scoring(quality_power=1.0, objectness=True)):
        with pytest.raises(ValueError, match="needs a sigmoid for each class and no objectness"):
            replace(head(), scoring=scoring)
    with pytest.raises(ValueError, match="leave peak_kernel out"):
        propose(predictions(0, head()), torch.tensor([[56.0, 40.0]]))
    boxes = torch.zeros(1, 2, 4)
    with pytest.raises(ValueError, match="regions of a second stage are not"):
        RoIPredictions(
            boxes,
            torch.ones(1, 2, dtype=torch.bool),
            torch.zeros(1, 2, 3),
            torch.zeros(1, 2, 2, 4),
            DeltaCodec(),
            torch.zeros(1, 2, dtype=torch.int64),
            0,
            head().post,
        )
