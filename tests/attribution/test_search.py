"""The search: its order, its parts, and the same map however images are batched."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import detinv
from detinv.attribution.load import load_method
from detinv.attribution.methods.perturbations.search import Search
from detinv.attribution.trials.cells import grid_cells, superpixels
from detinv.attribution.trials.order import GreedyOrder, schedule
from detinv.errors import ConfigError
from detinv.inputs.ranges import check_choice
from tests.attribution.hand_set import EVIDENCE, SIDE, HandSetDetector
from tests.fakes import block_image, tiny_detector

BOXES = [torch.tensor([[4.0, 6.0, 40.0, 50.0], [20.0, 8.0, 60.0, 30.0]])]
LABELS = [torch.tensor([0, 2])]
QUICK = Search(trials=60, path=4)


def ordered(worth, promises, backward: bool, window: int = 3) -> GreedyOrder:
    """Search with a function of sets that stands for a detector."""
    parts = len(promises)
    order = GreedyOrder(torch.tensor(promises), schedule(parts, parts, backward), backward, worth(range(parts)))
    while not order.done:
        order.advance(torch.tensor([float(worth(one)) for one in order.candidates(window)]))
    return order


@pytest.mark.parametrize("backward", [False, True])
def test_parts_that_add_up_come_in_the_order_of_what_they_add(backward: bool):
    weights = [0.0, 3.0, 1.0, 0.0, 7.0, 2.0]
    found = ordered(lambda parts: sum(weights[part] for part in parts), [0.0] * 6, backward, window=6)
    assert found.order[:4] == [4, 1, 5, 2]
    values = found.as_values()
    torch.testing.assert_close(values, torch.tensor(weights), atol=0.06, rtol=0)
    assert (values[found.order].diff() < 0).all()


def test_a_part_that_works_only_beside_another_shares_with_it():
    def worth(parts) -> float:
        return 4.0 * ({1, 2} <= {*parts}) + (3 in parts)

    found = ordered(worth, [0.0] * 4, backward=False, window=4)
    values = found.as_values()
    assert (values[found.order].diff() < 0).all()
    assert float(values.sum()) == pytest.approx(5, rel=0.02)


def test_a_window_is_tried_again_as_long_as_it_is_promising():
    """A wrong promise is corrected once it has been tried."""
    weights = [5.0, 0.0, 1.0, 4.0]
    found = ordered(lambda parts: sum(weights[part] for part in parts), [1.0, 9.0, 2.0, 1.5], False, window=2)
    assert found.order[-1] == 1


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(("parts", "rounds"), [(64, 10), (5, 40), (1, 3), (576, 1)])
def test_a_schedule_ends_with_all_parts_and_is_fine_where_few_show(parts: int, rounds: int, backward: bool):
    found = schedule(parts, rounds, backward)
    steps = [after - before for before, after in zip([0, *found], found, strict=False)]
    assert found[-1] == parts
    assert len(found) <= rounds
    assert min(steps) >= 1
    if len(steps) > 2:
        assert steps[-1 if backward else 0] <= steps[0 if backward else -1]


def test_squares_are_nearly_square_and_superpixels_keep_to_colours():
    cells = grid_cells((60, 120), 8)
    assert cells.unique().tolist() == list(range(32))
    assert torch.bincount(cells.flatten()).tolist() == [225] * 32
    picture = torch.zeros(3, 40, 60)
    picture[:, :, 27:] = 1
    found = superpixels(picture, 24)
    assert 16 <= len(found.unique()) <= 26
    assert not {*found[:, :27].flatten().tolist()} & {*found[:, 27:].flatten().tolist()}


@pytest.mark.parametrize(
    ("family", "options"),
    [("fcos", {}), ("fasterrcnn", {"asks": "detection", "cells": "superpixels", "count": 12})],
)
def test_an_object_alone_has_the_map_it_has_among_others(family: str, options):
    detector, image = tiny_detector(family), block_image((64, 64))
    method = replace(QUICK, trials=30, path=2, window=4, **options)
    together = detinv.attribute(detector, [image], BOXES, LABELS, questions=("top",), method=method)
    boxes, labels, small = [BOXES[0][1:]], [LABELS[0][1:]], replace(method, batch_size=3)
    (alone,) = detinv.attribute(detector, [image], boxes, labels, questions=("top",), method=small)
    assert float(alone.map.max()) > 0
    torch.testing.assert_close(together[1].map, alone.map, rtol=1e-2, atol=1e-3 * float(alone.map.max()))


@pytest.mark.parametrize("counts", ["restores", "removes"])
def test_either_direction_finds_the_evidence(counts: str):
    image = torch.randint(40, 256, (3, SIDE, SIDE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for direction in ("forward", "backward"):
        method = replace(QUICK, counts=counts, direction=direction)
        (one,) = detinv.attribute(HandSetDetector(), [image], questions=("class",), method=method)
        x0, y0, x1, y1 = EVIDENCE["class"]
        assert float(one.heat()[y0:y1, x0:x1].sum()) > 0.9 * float(one.heat().sum())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trials": 0}, "trials=0: choose at least 1"),
        ({"spread": -1.0}, "choose at least 0"),
    ],
)
def test_mistakes_get_one_line(options, said: str):
    with pytest.raises(ConfigError, match=said):
        replace(load_method("search"), **options)


def test_an_unknown_word_gets_the_words_that_are_known():
    with pytest.raises(ConfigError, match="^cells='hexagons': choose grid, superpixels or none$"):
        check_choice(SimpleNamespace(cells="hexagons"), "cells", "grid", "superpixels", "none")
