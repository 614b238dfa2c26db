"""Seconds of a step against those of the plain loop and of the bare network."""

import statistics
from typing import Any

from detinv.benchmarks.reference import check_reference, reference_start, reference_steps
from detinv.benchmarks.step import BARE, bare_pass, fit_turns
from detinv.benchmarks.turns import STEP, Turns, ratio
from detinv.detectors.base import AbstractDetector
from detinv.inversion.preset import Preset
from detinv.layouts.layout import Layout

PLAIN = "reference"


def bench_against_reference(
    detector: AbstractDetector,
    layout: Layout,
    preset: Preset,
    *,
    rounds: int = 5,
    steps_per_round: int = 5,
    warmup: int = 1,
    seed: int = 0,
    precision: str = "32-true",
    compile_mode: str | None = None,
) -> dict[str, Any]:
    """Measure the median seconds of a full step, a step of the plain loop, and a bare pass of the network.

    Args:
        detector: a RetinaNet on the CPU.
        layout: in the detector's own frame.
        preset: of the full step; the plain loop uses the published one.
        rounds: timed rounds, at least 2.
        steps_per_round: steps of each kind in a round.
        warmup: untimed rounds at the start.
        seed: of the start images.
        precision: of the network in full steps and bare passes, one of Lightning's Trainer; the plain loop's is fp32.
        compile_mode: of the network in full steps; see `compile_parts`.

    Returns:
        "rounds"; "seconds": medians per step of "step", "reference" and "unmodified"; "reference_to_step": median and
        quartiles of the rounds' ratios.

    Raises:
        ConfigError: if the detector is not a RetinaNet on the CPU.
    """
    check_reference(detector, layout)
    plain = reference_steps(detector, layout, reference_start(detector, layout, seed))
    turns = Turns({PLAIN: lambda module: next(plain), BARE: bare_pass(detector)}, steps_per_round)
    fit_turns(turns, detector, [layout], preset, (rounds + warmup) * steps_per_round, seed, precision, compile_mode)
    seconds = {name: values[warmup:] for name, values in turns.seconds.items()}
    return {
        "rounds": rounds,
        "seconds": {name: statistics.median(values) / steps_per_round for name, values in seconds.items()},
        "reference_to_step": ratio(seconds[PLAIN], seconds[STEP]),
    }
