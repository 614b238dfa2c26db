"""The share of the time in which a GPU waits."""

import pytest

from detinv.benchmarks.idle import idle_share


@pytest.mark.parametrize(
    ("kernels", "expected"),
    [
        ([], None),
        ([(5.0, 9.0)], 0.0),
        ([(5.0, 5.0)], 0.0),
        ([(6.0, 8.0), (0.0, 4.0), (8.0, 10.0)], 0.2),
        # Two streams: what runs beside a longer kernel hides nothing.
        ([(0.0, 10.0), (1.0, 2.0), (15.0, 20.0)], 0.25),
    ],
)
def test_idle_share(kernels, expected):
    assert idle_share(kernels) == (None if expected is None else pytest.approx(expected))
