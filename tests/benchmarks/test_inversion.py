"""Contestants made by hand, and real ones that reach a goal at once."""

import pytest
import torch

from detinv.benchmarks.inversion import Goal, Progress, by_plain_loop, by_preset, race
from detinv.inversion.preset import load_preset
from detinv.layouts.layout import Detections, Layout
from tests.benchmarks.test_reference import gentle_retinanet
from tests.fakes import tiny_detector


def layout(name):
    return Layout(torch.tensor([[20.0, 12.0, 44.0, 52.0]]), torch.tensor([1]), (64, 64), name)


def nothing(layout):
    return Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), layout.image_size)


def run_of(*measurements):
    return [Progress(*one) for one in measurements]


def test_medians_are_of_all_repeats_and_only_where_all_arrived():
    runs = {0: run_of((10, 1.0, 50.0), (20, 2.0, 91.0)), 1: run_of((10, 3.0, 95.0)), 2: run_of((30, 6.0, 90.0))}
    late = {0: run_of((10, 1.0, 95.0)), 1: run_of((10, 1.0, 10.0), (20, 4.0, 40.0)), 2: run_of((10, 2.0, 99.0))}
    found = race(
        {"early": lambda layouts, goal, seed: runs[seed], "late": lambda layouts, goal, seed: late[seed]},
        [layout("a")],
        Goal(90.0, 10),
    )
    assert found["early"]["reached"] == found["early"]["repeats"] == 3
    assert (found["early"]["steps"], found["early"]["seconds"]) == (20, 3.0)
    assert found["early"]["seconds_per_step"] == 0.2
    assert found["late"]["reached"] == 2
    assert found["late"]["steps"] is None
    assert found["late"]["seconds"] is None
    assert found["late"]["average_precision"] == 95.0
    assert found["late"]["progress"][1] == [[10, 1.0, 10.0], [20, 4.0, 40.0]]


def test_contestants_take_turns_with_seeds_of_their_own():
    calls = []

    def contestant(name):
        return lambda layouts, goal, seed: calls.append((name, seed)) or run_of((1, 1.0, 0.0))

    race({"a": contestant("a"), "b": contestant("b")}, [layout("a")], Goal(), repeats=2, seed=5)
    assert calls == [("a", 5), ("b", 5), ("a", 6), ("b", 6)]


@pytest.mark.parametrize("kind", ["preset", "plain loop"])
def test_a_goal_that_is_reached_ends_the_run(kind: str):
    detector, layouts = tiny_detector("retinanet"), [layout("a"), layout("b")]
    contestants = {
        "preset": by_preset(detector, load_preset("default"), 9),
        "plain loop": by_plain_loop(detector, 9),
    }
    at_once = contestants[kind](layouts, Goal(-1.0, 2), 0)
    assert [one.steps for one in at_once] == [2]
    never = contestants[kind](layouts, Goal(101.0, 4), 0)
    assert [one.steps for one in never] == [4, 8, 9]
    assert 0 < never[0].seconds < never[1].seconds < never[2].seconds


def test_measuring_is_not_timed(monkeypatch):
    detector = tiny_detector("retinanet")
    clock = {"now": 0.0}
    monkeypatch.setattr("detinv.benchmarks.inversion.now", lambda device: clock["now"])

    def detect(images):
        clock["now"] += 1000
        return type(detector).detect(detector, images)

    monkeypatch.setattr(detector, "detect", detect)
    for contestant in (by_preset(detector, load_preset("default"), 4), by_plain_loop(detector, 4)):
        assert [measured.seconds for measured in contestant([layout("a")], Goal(101.0, 2), 0)] == [0, 0]


def test_both_kinds_are_measured_in_eight_bits(monkeypatch):
    seen = []
    detector = gentle_retinanet()
    monkeypatch.setattr(detector, "detect", lambda images: seen.append(images) or [nothing(layout("a"))])
    by_preset(detector, load_preset("code_retinanet"), 1)([layout("a")], Goal(90.0, 1), 4)
    by_plain_loop(detector, 1)([layout("a")], Goal(90.0, 1), 4)
    (fast,), (plain,) = seen
    assert fast.dtype == plain.dtype == torch.uint8
    assert fast.shape == plain.shape == (3, 64, 64)
    assert int((fast.int() - plain.int()).abs().max()) <= 1
