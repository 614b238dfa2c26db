"""`detinv bench NAME`: measure time and memory on this machine."""

from collections.abc import Callable, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from detinv.benchmarks.machine import machine
from detinv.commands import Build
from detinv.commands.terminal import console, literal
from detinv.detectors.acceleration.compile import check_mode
from detinv.detectors.base import AbstractDetector
from detinv.detectors.load import build_detector
from detinv.errors import ConfigError
from detinv.inputs.printable import suggestion
from detinv.inversion.preset import load_preset
from detinv.inversion.requests import check_precision
from detinv.layouts.layout import Layout
from detinv.layouts.sources import layouts_for
from detinv.results.io.files import write_json
from detinv.results.io.resume import replace_results, replaced_folder
from detinv.runtime.devices import usable_device

Findings = tuple[Any, list[str]]
"""The results to be written to the JSON file, and the lines to be printed."""


def run(config: DictConfig, build: Build) -> None:
    """Measure, print the results and write them to `config.out_dir`."""
    name = config.benchmark
    if name not in _BENCHMARKS:
        raise ConfigError(f"unknown benchmark {name!r}{suggestion(name, _BENCHMARKS)} (there are: {_KNOWN})")
    _check(config, {"rounds": 2, "steps_per_round": 1, "warmup": 0})
    check_precision(config.precision, "precision")
    check_mode(config.compile_mode)
    device = usable_device(config.device)
    terminal = console()
    with replaced_folder(config) as out_dir:
        found, lines = _BENCHMARKS[name](config, build)
        # Before anything is written: a full disk does not cost it.
        for line in lines:
            terminal.print(literal(line), highlight=False, soft_wrap=True)
        file = out_dir / f"bench_{name}.json"
        replace_results(out_dir, config, file.name)
        write_json(file, {"benchmark": name, "results": found, "machine": machine(device)})
    terminal.print(literal(f"figures: {file}"), highlight=False, soft_wrap=True)


def _step(config: DictConfig, build: Build) -> Findings:
    from detinv.benchmarks.step import bench_step

    results, lines = [], []
    sizes = _counts(config, "batch_sizes")
    for entries in _detectors(config):
        name, detector = str(entries["name"]), _build(entries, config)
        layouts = _layouts(config, build, detector, max(sizes))
        for size in sizes:
            found = bench_step(
                detector,
                layouts[:size],
                build(config.preset),
                rounds=config.rounds,
                steps_per_round=config.steps_per_round,
                warmup=config.warmup,
                seed=config.seed,
                precision=config.precision,
                compile_mode=config.compile_mode,
            )
            results.append({"detector": name, **found})
            seconds, ratios = found["seconds"], found["step_to_unmodified"]
            lines.append(
                f"{name}, batch {size}: {_ms(seconds['step'])} a step; bare network {_ms(seconds['unmodified'])}, "
                f"accelerated {_ms(seconds['accelerated'])}; a step is {ratios['median']:.3f} of the bare network "
                f"(quartiles {ratios['low']:.3f} to {ratios['high']:.3f}), "
                f"{found['step_to_accelerated']['median']:.3f} of the accelerated"
            )
            if config.compile_mode is not None:
                lines.append(
                    f"compiled ({config.compile_mode}): the first step took {found['first_step_seconds']:.1f} s"
                )
    return results, lines


def _reference(config: DictConfig, build: Build) -> Findings:
    from detinv.benchmarks.against_reference import bench_against_reference

    entries = _detector(config)
    detector = _build(entries, config)
    (layout,) = _layouts(config, build, detector, 1)
    found = bench_against_reference(
        detector,
        layout,
        build(config.preset),
        rounds=config.rounds,
        steps_per_round=config.steps_per_round,
        warmup=config.warmup,
        seed=config.seed,
        precision=config.precision,
        compile_mode=config.compile_mode,
    )
    seconds, times = found["seconds"], found["reference_to_step"]
    line = (
        f"{entries['name']}, batch 1: {_ms(seconds['step'])} a step, {_ms(seconds['reference'])} in the plain loop, "
        f"{times['median']:.2f} times as long (quartiles {times['low']:.2f} to {times['high']:.2f}); bare network "
        f"{_ms(seconds['unmodified'])}"
    )
    return {"detector": str(entries["name"]), "image_size": layout.image_size, **found}, [line]


def _inversion(config: DictConfig, build: Build) -> Findings:
    from detinv.benchmarks.inversion import Goal, by_plain_loop, by_preset, race
    from detinv.benchmarks.reference import check_reference

    options = config.inversion
    _check(options, {"layouts": 1, "every": 1, "repeats": 1, "reference_steps": 0})
    entries = _detector(config)
    detector = _build(entries, config)
    layouts = _layouts(config, build, detector, options.layouts)
    contestants = {}
    for name, steps in ((options.preset, "steps"), (options.against, "against_steps")):
        if name is not None:
            preset = load_preset(name)
            most = _steps(options, steps, preset.steps)
            # One preset may run against itself, with another number of steps.
            called = name if options.preset != options.against else f"{name}, {most} steps"
            contestants[called] = by_preset(detector, preset, most)
    if options.preset == options.against and len(contestants) < 2:
        raise ConfigError(
            f"inversion.preset and inversion.against are both {options.preset}, with as many steps; choose others, or "
            "inversion.against=null"
        )
    if options.reference_steps:
        # The presets come first, and what they have measured would be lost.
        check_reference(detector, layouts[0])
        contestants["the plain loop"] = by_plain_loop(detector, options.reference_steps)
    goal = Goal(options.average_precision, options.every)
    found = race(contestants, layouts, goal, repeats=options.repeats, seed=config.seed)
    lines = []
    for name, one in found.items():
        steps, seconds = (f"{one[key]:g}" if one[key] is not None else "?" for key in ("steps", "seconds"))
        lines.append(
            f"{name}: AP {goal.average_precision:g} after {steps} steps, {seconds} seconds for {len(layouts)} layouts "
            f"({one['reached']} of {one['repeats']} repeats reached it; last AP {one['average_precision']:.1f})"
        )
    return {"detector": str(entries["name"]), "layouts": len(layouts), "contestants": found}, lines


def _scaling(config: DictConfig, build: Build) -> Findings:
    from detinv.benchmarks.scaling import by_batch_size, by_processes

    options = config.scaling
    _check(options, {"steps": 1, "rounds": 1})
    sizes, counts = _counts(config, "batch_sizes"), _counts(options, "processes", allow_none=True)
    entries = _detector(config)
    detector = _build(entries, config)
    layouts = _layouts(config, build, detector, max(sizes))
    preset, timed = build(config.preset), {"steps": options.steps, "rounds": options.rounds, "seed": config.seed}
    batches = by_batch_size(detector, layouts, preset, sizes, **timed)
    processes = by_processes(detector, layouts[: sizes[-1]], preset, counts, **timed)
    lines = [
        f"batch {one['batch_size']}: {one['image_steps_per_second']:.1f} image steps per second" for one in batches
    ]
    lines += [
        f"{one['processes']} processes of {one['threads']} threads, batch {one['batch_size']} each: "
        f"{one['image_steps_per_second']:.1f} image steps per second"
        for one in processes
    ]
    return {"detector": str(entries["name"]), "by_batch_size": batches, "by_processes": processes}, lines


def _startup(config: DictConfig, build: Build) -> Findings:
    from detinv.benchmarks.startup import bench_startup

    _check(config.startup, {"processes": 1})
    found = bench_startup(processes=config.startup.processes)
    slowest = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in found["imports"][:6])
    return found, [
        f"detinv --help: {found['help_seconds']:.2f} s",
        f"detinv invert, until its first step: {found['first_step_seconds']:.2f} s",
        f"imports of detinv invert: {slowest}",
    ]


def _memory(config: DictConfig, build: Build) -> Findings:
    from detinv.benchmarks.memory import bench_memory

    options = config.memory
    _check(options, {"batch_size": 1, "steps": 1, "batches": 0})
    entries = _detector(config)
    detector = _build(entries, config)
    layouts = _layouts(config, build, detector, options.batch_size)
    found = bench_memory(
        detector, layouts, build(config.preset), steps=options.steps, batches=options.batches, seed=config.seed
    )
    by_steps, by_batches = found["growth_per_1000_steps"], found["growth_per_100_batches"]
    line = (
        f"{entries['name']}, batch {len(layouts)}: at most {found['peak']:.0f} MB resident; grows by "
        f"{by_steps:+.1f} MB in 1,000 steps, by {by_batches:+.1f} MB in 100 batches"
    )
    return {"detector": str(entries["name"]), **found}, [line]


def _attribute(config: DictConfig, build: Build) -> Findings:
    from detinv.attribution.core.questions import as_questions
    from detinv.benchmarks.attribution import Scene, bench_attribution

    options = config.attribute
    _check(options, {"objects": 1, "masks": 2, "steps": 1, "rounds": 2, "warmup": 0})
    height, width = _counts(options, "image_size", length=2)
    results, lines = [], []
    for entries in _detectors(config):
        detector = _build(entries, config)
        questions = as_questions([str(name) for name in options.questions], None, detector.class_names)
        scene = Scene.random(detector, (height, width), options.objects, questions, config.seed)
        found = bench_attribution(
            scene,
            rounds=options.rounds,
            warmup=options.warmup,
            masks=options.masks,
            steps=options.steps,
            with_peers=options.peers,
            seed=config.seed,
        )
        results.append({"detector": str(entries["name"]), **found})
        size = " x ".join(str(side) for side in found["network_size"])
        lines.append(
            f"{entries['name']}, {size} px, {found['objects']} objects x {len(questions)} questions, {found['masks']} "
            f"masks, {found['steps']} steps; batched maps are those of the loop within {found['difference']:.1e}"
        )
        lines += [
            f"  {name}: {_ms(one['wall_seconds'])}, processor time {_ms(one['cpu_seconds'])}, {one['memory']:+.0f} MB"
            for name, one in found["costs"].items()
        ]
        lines += [
            f"  {name}: {one['median']:.2f} (quartiles {one['low']:.2f} to {one['high']:.2f})"
            for name, one in found["ratios"].items()
        ]
    return results, lines


_BENCHMARKS: dict[str, Callable[[DictConfig, Build], Findings]] = {
    "step": _step,
    "reference": _reference,
    "inversion": _inversion,
    "scaling": _scaling,
    "startup": _startup,
    "memory": _memory,
    "attribute": _attribute,
}
_KNOWN = ", ".join(_BENCHMARKS)


def _check(options: DictConfig, least: dict[str, int]) -> None:
    for name, number in least.items():
        if options[name] < number:
            raise ConfigError(f"{name}={options[name]}: choose at least {number}")


def _steps(options: DictConfig, name: str, own: int) -> int:
    """Return a number of steps, by default that of the preset."""
    steps = own if options[name] is None else options[name]
    if type(steps) is not int or steps < 1:
        raise ConfigError(f"inversion.{name}={steps}: choose a whole number of at least 1, or null")
    return steps


def _counts(options: DictConfig, name: str, allow_none: bool = False, length: int | None = None) -> list[int]:
    """Return an option that is a list of whole numbers above 0, `length` of them where that is given."""
    given = list(options[name])
    if not (given or allow_none) or not all(type(number) is int and number > 0 for number in given):
        raise ConfigError(f"{name}={given}: give whole numbers above 0, such as [1,8]")
    if length is not None and len(given) != length:
        raise ConfigError(f"{name}={given}: give {length} numbers")
    return given


def _detectors(config: DictConfig) -> list[dict[str, Any]]:
    """Return the configuration of each chosen detector."""
    entries: Any = OmegaConf.to_container(config.detector, resolve=True)
    return list(entries["members"].values()) if "members" in entries else [entries]


def _detector(config: DictConfig) -> dict[str, Any]:
    found = _detectors(config)
    if len(found) > 1:
        raise ConfigError("several detectors are for detinv bench step and attribute; choose one")
    return found[0]


def _build(entries: dict[str, Any], config: DictConfig) -> AbstractDetector:
    return build_detector(entries).to(usable_device(config.device))


def _layouts(config: DictConfig, build: Build, detector: AbstractDetector, count: int) -> Sequence[Layout]:
    """Return the first layouts of the source, in pixels of the network's input."""
    found = layouts_for(build(config.layout), detector)
    if len(found) < count:
        raise ConfigError(f"the layout source gives only {len(found)} layouts, not {count}")
    return [layout.resized(detector.network_size(layout.image_size)) for layout in found[:count]]


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.1f} ms"
