"""A search that goes on from the order of a cheap method."""

from dataclasses import dataclass, replace

import pytest
import torch

import detinv
from detinv.attribution.load import load_method
from detinv.attribution.methods.perturbations.first_order import falling, mean_by_part, places, within_parts
from detinv.attribution.methods.perturbations.search import Search
from detinv.attribution.trials.values import Values
from detinv.attribution.trials.whole_orders import worth_of_orders
from detinv.errors import ConfigError
from tests.attribution.hand_set import EVIDENCE, SIDE, HandSetDetector
from tests.fakes import block_image, tiny_detector

INSIDE = torch.tensor([[True, True, True, True, False]])


def test_equal_values_share_a_place_and_padding_has_none():
    found = places(torch.tensor([[3.0, 1.0, 1.0, 5.0, 9.0]]), INSIDE)
    torch.testing.assert_close(found, torch.tensor([[0.625, 0.25, 0.25, 0.875, 0.0]]))


def test_a_part_gets_the_mean_of_its_pixels():
    cells = torch.tensor([[0, 0, 1, 1, -1]])
    assert mean_by_part(torch.tensor([[1.0, 3.0, 5.0, 7.0, 100.0]]), cells).tolist() == [2.0, 6.0]


def test_pixels_of_a_part_follow_the_first_order_and_parts_their_own():
    parts = torch.tensor([[1.0, 1.0, 4.0, 4.0, 0.0]])
    first = torch.tensor([[0.9, 0.6, 0.1, 0.4, 0.0]])
    order = within_parts(parts, first, INSIDE)
    torch.testing.assert_close(order, torch.tensor([[0.375, 0.125, 0.625, 0.875, 0.0]]))
    found = falling(order, parts, INSIDE)
    assert found[0, :4].argsort(descending=True).tolist() == [3, 2, 0, 1]
    assert float(found[0, 4]) == 0
    assert float(found[0, 0]) < 4 < float(found[0, 3])
    assert float(found[:, :4].min()) > 0


def test_one_part_alone_has_the_first_order():
    found = falling(torch.tensor([[0.2, 0.9, 0.4]]), torch.ones(1, 3), torch.ones(1, 3, dtype=torch.bool))
    assert found[0].argsort(descending=True).tolist() == [1, 2, 0]


@dataclass(frozen=True)
class Sum(Values):
    """What shows in the first column counts for the first pair, in the second for the second."""

    def value(self, versions: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
        return versions.sum((1, 2)).gather(1, pairs[:, None])[:, 0]


def test_orders_are_worth_what_shows_first_and_what_is_lost_without():
    pixels, empty = torch.ones(1, 3, 1, 3), torch.zeros(3, 1, 3)
    forward, back = torch.tensor([[0.8, 0.3, 0.0]]), torch.tensor([[0.3, 0.8, 0.0]])
    orders = torch.stack([torch.stack([forward, back])] * 2)
    inside = torch.tensor([[True, True, False]])
    found = worth_of_orders(Sum(), pixels, empty, orders, inside, batch_size=5)
    torch.testing.assert_close(found, torch.tensor([[2.0, -1.0], [-1.0, 2.0]]))


@pytest.mark.parametrize(
    ("family", "asks"), [pytest.param("fasterrcnn", "question", marks=pytest.mark.slow), ("fcos", "detection")]
)
def test_an_object_alone_has_the_map_it_has_among_others(family: str, asks):
    detector, image = tiny_detector(family), block_image((64, 64))
    boxes = torch.tensor([[4.0, 6.0, 40.0, 50.0], [20.0, 8.0, 60.0, 30.0]])
    labels = torch.tensor([0, 2])
    method = Search(asks=asks, count=4, counts="removes", trials=40, window=3, first=load_method("default"))
    together = detinv.attribute(detector, [image], [boxes], [labels], method=method)
    small = replace(method, batch_size=3)
    (alone,) = detinv.attribute(detector, [image], [boxes[1:]], [labels[1:]], method=small)
    assert float(alone.map.max()) > 0
    torch.testing.assert_close(together[1].map, alone.map, rtol=1e-2, atol=1e-3 * float(alone.map.max()))


def test_it_finds_the_evidence():
    image = torch.randint(40, 256, (3, SIDE, SIDE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    method = Search(trials=90, first=load_method("gradient"))
    (one,) = detinv.attribute(HandSetDetector(), [image], questions=("class",), method=method)
    x0, y0, x1, y1 = EVIDENCE["class"]
    assert float(one.heat()[y0:y1, x0:x1].sum()) > 0.9 * float(one.heat().sum())


def test_a_first_method_that_changes_the_image_gets_one_line():
    method = Search(first=load_method("occlusion"))
    with pytest.raises(ConfigError, match="^first: Occlusion is not made of features and gradients$"):
        detinv.attribute(
            tiny_detector("fcos"),
            [block_image((64, 64))],
            [torch.tensor([[4.0, 6.0, 40.0, 50.0]])],
            [torch.tensor([0])],
            method=method,
        )
