"""Objectives made from others: terms dropped, weights changed, all else as it was."""

import pytest
import torch

from detinv.errors import ConfigError
from detinv.inversion.objective.losses import TermOptions
from detinv.inversion.objective.objective import Objective
from detinv.inversion.regularisers.alpha_norm import AlphaNorm

WEIGHTS = {"cls": 1.0, "reg": 2.0, "rpn_cls": 0.5, "roi_mask": 3.0}


def objective(shapes_every: int | None = 3) -> Objective:
    return Objective(WEIGHTS, (0.5, 1.0), 4.0, log_odds=True, shapes_every=shapes_every, background_rows=2)


def rest(one: Objective):
    return one.level_weights, one.options, one.shapes_every


def test_reweighted_changes_what_it_names_and_drops_null():
    before = objective()
    after = before.reweighted({"reg": 7.0, "roi_mask": None, "rpn_cls": 0.0, "positive": 1.0})
    assert after.weights == {"cls": 1.0, "reg": 7.0, "positive": 1.0}
    assert rest(after) == rest(before) == ((0.5, 1.0), TermOptions(4.0, log_odds=True, background_rows=2), 3)
    assert before.weights == WEIGHTS


def test_raising_log_odds_changes_nothing_else():
    before = Objective(WEIGHTS, (0.5, 1.0), 4.0, shapes_every=3, background_rows=2)
    after = before.raising_log_odds()
    assert rest(after) == rest(objective()) and after.weights == WEIGHTS and not before.options.log_odds


def test_only_keeps_named_terms():
    before = objective()
    after = before.only(["cls", "roi_mask"])
    assert after.weights == {name: WEIGHTS[name] for name in ("cls", "roi_mask")}
    assert rest(after) == rest(before)
    assert before.only(()).weights == {}
    # A term without a weight does not get one by being named.
    assert before.only(["positive"]).weights == {}


def test_the_total_is_the_weighted_sum_of_all_terms():
    terms = {name: torch.tensor([10.0, 20.0]) for name in ("cls", "fcos/reg", "smooth")}
    torch.testing.assert_close(objective().total(terms, {"smooth": AlphaNorm(0.5)}), torch.tensor([35.0, 70.0]))
    with pytest.raises(ConfigError, match="the detector has none of the terms that have a weight"):
        objective().total({})


def test_box_corrections_are_compared_only_while_they_have_a_weight():
    both = objective().reweighted({"deltas": 1.0})
    assert both.options.deltas and not both.only(["cls"]).options.deltas and not objective().options.deltas


def test_unknown_terms_are_refused():
    with pytest.raises(ConfigError, match="unknown loss term 'roi_masks'; did you mean 'roi_mask'?"):
        objective().reweighted({"roi_masks": None})
    with pytest.raises(ConfigError, match="unknown loss term 'clss'; did you mean 'cls'?"):
        objective().only(["reg", "clss"])


def test_boxes_and_masks_have_their_own_steps():
    one = Objective(WEIGHTS, shapes_every=3)
    terms = {name: torch.ones(2) for name in ("fcos/cls", "fcos/reg", "mask/roi_mask", "mask/rpn_cls", "smooth")}
    for step in (0, 1, 3, 4):
        assert one.due(terms, step) == terms
    for step in (2, 5):
        assert set(one.due(terms, step)) == {"fcos/reg", "mask/roi_mask", "smooth"}
    assert one.only(["cls"]).shapes_every == one.reweighted({"reg": 1.0}).shapes_every == 3
    classes = {"cls": torch.ones(2), "smooth": torch.ones(2)}
    assert one.due(classes, 2) == classes, "without boxes there is nothing to wait for"
    assert objective(shapes_every=None).due(terms, 2) == terms


def test_a_step_for_boxes_alone_leaves_room_for_others():
    with pytest.raises(ConfigError, match="shapes_every=1: choose at least 2"):
        Objective(WEIGHTS, shapes_every=1)
