"""Objectives made from others: terms dropped, weights changed, all else as it was."""

import pytest
import torch

from detinv.errors import ConfigError
from detinv.inversion.objective.objective import Objective

WEIGHTS = {"cls": 1.0, "reg": 2.0, "rpn_cls": 0.5, "roi_mask": 3.0, "total_variation": 1e-3, "alpha_norm": 1e-4}


def objective() -> Objective:
    return Objective(WEIGHTS, (0.5, 1.0), 4.0, 1.5, 5.0)


def rest(one: Objective):
    return one.level_weights, one.options.positive_cap, one.tv_exponent, one.alpha_exponent


def test_reweighted_changes_what_it_names_and_drops_null():
    before = objective()
    after = before.reweighted({"reg": 7.0, "roi_mask": None, "rpn_cls": 0.0, "positive": 1.0})
    expected = {name: WEIGHTS[name] for name in ("cls", "total_variation", "alpha_norm")} | {
        "reg": 7.0,
        "positive": 1.0,
    }
    assert after.weights == expected
    assert rest(after) == rest(before) == ((0.5, 1.0), 4.0, 1.5, 5.0)
    assert before.weights == WEIGHTS


def test_only_keeps_named_terms_and_regularisers():
    before = objective()
    after = before.only(["cls", "roi_mask"])
    assert after.weights == {name: WEIGHTS[name] for name in ("cls", "roi_mask", "total_variation", "alpha_norm")}
    assert rest(after) == rest(before)
    assert before.only(()).weights.keys() == {"total_variation", "alpha_norm"}
    # A term without a weight is not given one by being named.
    assert before.only(["positive"]).weights.keys() == {"total_variation", "alpha_norm"}


def test_dropped_terms_do_not_count():
    terms = {name: torch.tensor([10.0, 20.0]) for name in ("cls", "total_variation")}
    torch.testing.assert_close(objective().only(["cls"]).total(terms), torch.tensor([10.01, 20.02]))
    pixels = torch.ones(1, 3, 4, 4)
    assert objective().reweighted({"alpha_norm": None}).pixel_terms(pixels).keys() == {"total_variation"}


def test_box_corrections_are_compared_only_while_they_have_a_weight():
    both = objective().reweighted({"deltas": 1.0})
    assert both.options.deltas and not both.only(["cls"]).options.deltas and not objective().options.deltas


def test_unknown_terms_are_refused():
    with pytest.raises(ConfigError, match="unknown loss term 'roi_masks'; did you mean 'roi_mask'?"):
        objective().reweighted({"roi_masks": None})
    with pytest.raises(ConfigError, match="unknown loss term 'clss'; did you mean 'cls'?"):
        objective().only(["reg", "clss"])
