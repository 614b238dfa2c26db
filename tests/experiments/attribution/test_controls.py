"""Claims about controls can hold and fail."""

import random

import pytest

from detinv.experiments.attribution.controls import FAILS, HOLDS, UNDECIDED, control_claims, randomisation_claims
from detinv.experiments.attribution.judged import ORIGINAL

BETTER = {"insertion": True, "deletion": False, "energy_box": True}


def rows(default, control, noise=0.01, seed=0):
    """Objects on which two methods have these means in all measures."""
    generator = random.Random(seed)
    return [
        {
            method: {measure: mean + generator.gauss(0, noise) for measure in BETTER}
            for method, mean in (("default", default), ("control_uniform", control))
        }
        for _ in range(20)
    ]


def test_a_control_loses_where_it_must():
    verdicts = {one.statement: one.verdict for one in control_claims(rows(0.7, 0.4), "default", BETTER)}
    assert verdicts == {
        "energy_box of default is above that of control_uniform": HOLDS,
        "insertion of default is above that of control_uniform": HOLDS,
        "deletion of default is below that of control_uniform": FAILS,
    }
    undecided = control_claims(rows(0.5, 0.5, 0.1, seed=2), "default", BETTER)
    assert UNDECIDED in {one.verdict for one in undecided}
    assert control_claims([], "default", BETTER) == []


def test_what_is_not_defined_leaves_a_claim_undecided():
    found = rows(0.7, 0.4)
    for row in found:
        row["control_uniform"]["energy_box"] = None
    assert control_claims(found, "default", BETTER)[0].verdict == UNDECIDED


@pytest.mark.parametrize(("random_map", "verdict"), [(0.05, HOLDS), (0.9, FAILS)])
def test_a_map_must_depend_on_the_weights(random_map, verdict):
    changed = {ORIGINAL: [1.0] * 9, "outputs": [0.95] * 9, "c1": [random_map + 0.01 * k for k in range(9)]}
    (claim,) = randomisation_claims({"default": changed})
    assert claim.verdict == verdict


def test_edges_must_not():
    same = {ORIGINAL: [1.0] * 3, "c1": [1.0] * 3}
    assert [one.verdict for one in randomisation_claims({"control_edges": same})] == [HOLDS]
    changed = {ORIGINAL: [1.0] * 3, "c1": [0.1, 0.2, 0.1]}
    assert [one.verdict for one in randomisation_claims({"control_edges": changed})] == [FAILS]
