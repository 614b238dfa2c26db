"""Distinct rows against the plain greedy loop."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detinv.layouts.matching import distinct_best


def slow_greedy(affinity, valid):
    """Pairs by descending affinity, then object, then row; each object and each row once."""
    pairs = sorted((-affinity[j][r], j, r) for j in range(len(affinity)) if valid[j] for r in range(len(affinity[j])))
    choice, rows = [0] * len(affinity), set()
    objects = set()
    for _, j, r in pairs:
        if j not in objects and r not in rows:
            choice[j] = r
            objects.add(j)
            rows.add(r)
    return choice


@st.composite
def problems(draw):
    objects = draw(st.integers(1, 5))
    rows = draw(st.integers(objects, 8))
    # Few different values: ties are common.
    values = draw(st.lists(st.integers(-4, 6), min_size=2 * objects * rows, max_size=2 * objects * rows))
    valid = draw(st.lists(st.booleans(), min_size=2 * objects, max_size=2 * objects))
    return torch.tensor(values).float().view(2, objects, rows) / 2, torch.tensor(valid).view(2, objects)


@given(problems())
@settings(max_examples=150, deadline=None)
def test_distinct_best_equals_greedy_loop(problem):
    affinity, valid = problem
    expected = [slow_greedy(a, v) for a, v in zip(affinity.tolist(), valid.tolist(), strict=True)]
    assert distinct_best(affinity, valid).tolist() == expected


def test_chain_of_rejections_ends_with_distinct_rows():
    # The third object loses its first choice only after the second has lost its own.
    affinity = torch.tensor([[[10.0, 1, 1], [9, 8, 1], [6, 7, 5]]])
    assert distinct_best(affinity, torch.ones(1, 3, dtype=torch.bool)).tolist() == [[0, 1, 2]]


def test_choice_does_not_depend_on_empty_slots():
    affinity = torch.randint(0, 3, (1, 2, 500), generator=torch.Generator().manual_seed(0)).float()
    alone = distinct_best(affinity, torch.ones(1, 2, dtype=torch.bool))
    padded = torch.cat([affinity, torch.rand(1, 6, 500) * 9], dim=1)
    valid = torch.tensor([[True] * 2 + [False] * 6])
    assert distinct_best(padded, valid)[:, :2].tolist() == alone.tolist()


def test_no_object_at_all():
    assert distinct_best(torch.zeros(2, 0, 5), torch.zeros(2, 0, dtype=torch.bool)).shape == (2, 0)
    assert distinct_best(torch.rand(1, 2, 5), torch.zeros(1, 2, dtype=torch.bool)).tolist() == [[0, 0]]
