"""What the positive terms raise: log-odds of a class, which mean the same under any activation."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from detinv.inversion.objective.losses import TermOptions

CAPPED = TermOptions(positive_cap=4.0, log_odds=True)


def logits_of(*shape: int, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(seed=st.integers(0, 99), sigmoid=st.booleans())
def test_it_is_the_logarithm_of_the_odds(seed, sigmoid):
    logits, labels = logits_of(2, 3, 5, seed=seed), torch.tensor([[0, 4, 2], [1, 1, 3]])
    probabilities = (logits.sigmoid() if sigmoid else logits.softmax(-1)).gather(2, labels[..., None])[..., 0]
    wanted = (probabilities / (1 - probabilities)).log()
    torch.testing.assert_close(TermOptions(log_odds=True).evidence(logits, labels, sigmoid), wanted)


def test_it_asks_until_the_cap_and_no_further():
    logits = torch.tensor([[[9.0, 0.0, -2.0], [1.0, -1.0, -1.0]]], requires_grad=True)
    for sigmoid in (True, False):
        found = CAPPED.evidence(logits, torch.zeros(1, 2, dtype=torch.int64), sigmoid)
        ((satisfied, weak),) = torch.autograd.grad(found.sum(), logits)[0]
        assert not satisfied.any()
        assert weak[0] == 1


def test_under_a_softmax_a_high_logit_is_not_enough_where_another_class_has_one():
    logits, labels = torch.tensor([[[9.0, 8.0, -2.0]]], requires_grad=True), torch.zeros(1, 1, dtype=torch.int64)
    (rivalled,) = torch.autograd.grad(CAPPED.evidence(logits, labels, sigmoid=False).sum(), logits)
    assert rivalled[0, 0, 0] == 1 and rivalled[0, 0, 1] < -0.5
    (alone,) = torch.autograd.grad(CAPPED.evidence(logits, labels, sigmoid=True).sum(), logits)
    assert not alone.any()


def test_by_default_it_is_the_raw_logit_as_published():
    logits, labels = logits_of(2, 3, 5), torch.tensor([[0, 4, 2], [1, 1, 3]])
    wanted = logits.gather(2, labels[..., None])[..., 0]
    for sigmoid in (True, False):
        assert torch.equal(TermOptions().evidence(logits, labels, sigmoid), wanted)
        assert torch.equal(TermOptions(1.0).evidence(logits, labels, sigmoid), wanted.clamp(max=1))
