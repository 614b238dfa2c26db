"""What takes turns is timed, each as often as the other."""

import pytest
import torch

from detinv.benchmarks.step import bare_pass, bench_step, fit_turns
from detinv.benchmarks.turns import STEP, Turns, ratio
from detinv.inversion.preset import load_preset
from detinv.layouts.layout import Layout
from tests.fakes import FAMILIES, tiny_detector
from tests.pretended_gpu import GPU, PretendedGpu

LAYOUTS = [
    Layout(torch.tensor([[4.0, 6.0, 30.0, 28.0], [32.0, 30.0, 60.0, 62.0]]), torch.tensor([0, 2]), (64, 64), "two"),
    Layout(torch.tensor([[20.0, 12.0, 44.0, 52.0]]), torch.tensor([1]), (64, 64), "one"),
]
PRESET = load_preset("default")


def test_every_kind_has_its_turn_after_every_round():
    order: list[str] = []
    turns = Turns({"a": lambda module: order.append("a"), "b": lambda module: order.append("b")}, steps_per_round=2)
    detector = tiny_detector("retinanet")
    detector.register_forward_hook(lambda *_: order.append(STEP))
    fit_turns(turns, detector, LAYOUTS[:1], PRESET, 5, seed=0)
    others = [name for name in order if name != STEP]
    assert others == ["a", "a", "b", "b"] * 2
    assert {name: len(seconds) for name, seconds in turns.seconds.items()} == {STEP: 2, "a": 2, "b": 2}
    assert all(second > 0 for seconds in turns.seconds.values() for second in seconds)


def test_others_have_all_threads_and_leave_them_as_they_were():
    threads, found = torch.get_num_threads(), []
    turns = Turns({"a": lambda module: found.append(torch.get_num_threads())}, steps_per_round=1)
    torch.set_num_threads(threads + 1)
    try:
        fit_turns(turns, tiny_detector("retinanet"), LAYOUTS[:1], PRESET, 2, seed=0)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert found == [threads] * 2


def test_ratios_are_those_of_rounds():
    found = ratio([2.0, 9.0, 4.0, 10.0, 6.0], [1.0, 3.0, 1.0, 2.0, 1.0])  # 2, 3, 4, 5, 6
    assert found == {"median": 4.0, "low": 3.0, "high": 5.0}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bare_pass_looks_at_the_images_of_the_run(family: str):
    seen = []
    detector = tiny_detector(family)

    def watch(module):
        pixels = module.pixels().detach()
        detector.forward = lambda shown, *rest: seen.append(torch.equal(shown, pixels)) or original(shown, *rest)
        bare_pass(detector)(module)
        detector.forward = original

    original = detector.forward
    fit_turns(Turns({"watch": watch}, 1), tiny_detector(family), LAYOUTS, PRESET, 2, seed=0)
    assert seen == [True, True]


def test_step_tells_both_floors():
    found = bench_step(tiny_detector("fcos"), LAYOUTS, PRESET, rounds=2, steps_per_round=1, warmup=1)
    assert found["batch_size"] == 2
    assert set(found["seconds"]) == {"step", "unmodified", "accelerated"}
    for name in ("step_to_unmodified", "step_to_accelerated", "unmodified_to_accelerated"):
        assert 0 < found[name]["low"] <= found[name]["median"] <= found[name]["high"]


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_detector_is_measured_on_its_gpu_as_often_as_one_likes():
    detector, seen = tiny_detector("retinanet"), []
    with PretendedGpu():
        detector.to(GPU)
        for layouts in (LAYOUTS[:1], LAYOUTS):
            fit_turns(Turns({"device": lambda module: seen.append(module.device)}, 1), detector, layouts, PRESET, 1, 0)
    assert seen == [GPU, GPU] and detector.device == GPU


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_figures_of_a_gpu_are_there():
    detector = tiny_detector("retinanet")
    with PretendedGpu():
        found = bench_step(detector.to(GPU), LAYOUTS, PRESET, rounds=2, steps_per_round=1, warmup=0)
    assert found["peak_bytes"] is not None and "idle_share" in found


def test_floors_have_the_precision_of_the_steps():
    detector, seen = tiny_detector("fcos"), []
    watch = detector.model.backbone.register_forward_hook(lambda *passed: seen.append(torch.is_autocast_enabled("cpu")))
    for precision, reduced in (("32-true", False), ("bf16-mixed", True)):
        seen.clear()
        turns = Turns({"floor": bare_pass(detector)}, 1)
        fit_turns(turns, tiny_detector("fcos"), LAYOUTS, PRESET, 2, seed=0, precision=precision)
        assert seen == [reduced] * 2
    watch.remove()
