"""Rates of context: within a target and across targets, and the two controls of the procedure."""

import random

import pytest

from detinv.verification.real.rates import (
    asymmetric_pairs,
    dealt_out,
    discordant,
    excess,
    others,
    ranking,
    specific,
)


def images(shown: int, total: int, name: str) -> list[list[str]]:
    """Images of which the first few show a class."""
    return [[name]] * shown + [[]] * (total - shown)


@pytest.fixture
def by_target():
    """Bowls with every second spoon, spoons with no bowl, and a fork alone."""
    return {"spoon": [["bowl"], []] * 20, "bowl": images(0, 40, "spoon"), "fork": images(2, 40, "bowl")}


def test_a_class_is_compared_with_all_other_targets_but_itself(by_target):
    assert len(others(by_target, "spoon", "bowl")) == 40
    assert len(others(by_target, "spoon", "cup")) == 80
    gap = excess(by_target, "spoon", "bowl")
    assert gap.value == pytest.approx(0.5 - 0.05) and gap.low > 0.2


def test_the_most_frequent_context_comes_first_without_the_target_itself():
    assert ranking([["cup", "spoon"], ["cup"], ["fork"], ["spoon"], ["spoon"]], "spoon") == ["cup", "fork"]


def test_context_is_chosen_on_one_half_and_compared_on_the_other():
    # In images of even number alone: what chose the class must not prove it.
    only_even = {"spoon": [["bowl"], []] * 20, "fork": [[]] * 40}
    name, gap = specific(only_even, "spoon")
    assert name == "bowl" and gap.value == 0
    both = {"spoon": [["bowl"], ["bowl"], [], []] * 10, "fork": [[]] * 40}
    assert specific(both, "spoon")[1].low > 0


def test_no_context_is_not_specific():
    name, gap = specific({"spoon": [[]] * 4, "fork": [[]] * 4}, "spoon")
    assert name is None and not gap.low > 0


def test_images_are_dealt_out_whole(by_target):
    dealt = dealt_out(by_target)
    assert {name: len(found) for name, found in dealt.items()} == dict.fromkeys(by_target, 40)
    assert sum(map(len, dealt["spoon"])) not in (0, 20)
    assert sum(bool(one) for found in dealt.values() for one in found) == 22


def test_pairs_of_one_start_that_differ():
    found = {"bed": [["person"], ["person"], [], []], "person": [[], ["bed"], ["bed"], []]}
    assert discordant(found, "bed", "person") == [True, False]


def test_an_asymmetry_is_found_and_a_symmetry_is_not(by_target):
    assert asymmetric_pairs(by_target) == ["spoon: bowl"]
    both_ways = {"spoon": images(20, 40, "bowl"), "bowl": [[]] * 20 + [["spoon"]] * 20}
    assert asymmetric_pairs(both_ways) == []


def test_directions_drawn_by_lot_leave_no_asymmetry(by_target):
    coin = random.Random(0)
    assert asymmetric_pairs(by_target, lambda: coin.random() < 0.5) == []
