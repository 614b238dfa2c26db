"""Scores of every kind of head against the formula written out."""

import math

import pytest
import torch

from detinv.detectors.heads.scoring import Scoring

KINDS = [
    Scoring(),
    Scoring(class_power=0.5, quality_power=0.5),
    Scoring("softmax", background=True),
    Scoring("softmax", class_power=0.4, quality_power=0.6, objectness=True),
]


def by_hand(scoring, logits, quality):
    rows = []
    for row, q in zip(logits.tolist(), quality.tolist(), strict=True):
        if scoring.activation == "sigmoid":
            p = [1 / (1 + math.exp(-z)) for z in row]
        else:
            total = sum(math.exp(z) for z in row)
            p = [math.exp(z) / total for z in row]
        p = p[:-1] if scoring.background else p
        factor = (1 / (1 + math.exp(-q))) ** scoring.quality_power
        rows.append([value**scoring.class_power * factor for value in p])
    return torch.tensor(rows)


@pytest.mark.parametrize("scoring", KINDS)
def test_scores_are_the_formula(scoring):
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(1, 20, 5, generator=generator)
    quality = 3 * torch.randn(1, 20, generator=generator) if scoring.quality_power else None
    wanted = by_hand(scoring, logits[0], torch.zeros(20) if quality is None else quality[0])[None]
    torch.testing.assert_close(scoring.scores(logits, quality), wanted)
    torch.testing.assert_close(scoring.log_scores(logits, quality).exp(), wanted)
    torch.testing.assert_close(scoring.best_log_scores(logits, quality).exp(), wanted.amax(-1))


@pytest.mark.parametrize("scoring", KINDS)
def test_logarithms_stay_finite_where_scores_vanish(scoring):
    logits = torch.tensor([[[300.0, -300.0, -300.0]]])
    quality = torch.full((1, 1), -300.0) if scoring.quality_power else None
    assert bool(torch.isfinite(scoring.log_scores(logits, quality)).all())


def test_certain_scores_still_differ():
    logits = torch.tensor([[[30.0], [40.0]]])
    scores, logs = Scoring().scores(logits, None), Scoring().log_scores(logits, None)
    assert scores[0, 0] == scores[0, 1] == 1
    assert logs[0, 0] < logs[0, 1]


def test_a_background_column_needs_a_softmax():
    with pytest.raises(ValueError, match="needs a softmax"):
        Scoring(background=True)
