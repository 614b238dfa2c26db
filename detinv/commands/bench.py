"""`detinv bench step`: what an inversion step costs beyond the bare network."""

import platform

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from detinv.benchmarks.step import bench_step
from detinv.commands import Build
from detinv.detectors.load import build_detector
from detinv.errors import ConfigError
from detinv.inversion.devices import usable_device
from detinv.results.files import prepare_out_dir, write_json, write_text


def run(config: DictConfig, build: Build) -> None:
    """Measure, print the ratio, write the figures to `config.out_dir`."""
    if config.benchmark != "step":
        raise ConfigError(f"unknown benchmark {config.benchmark!r} (there are: step)")
    if config.rounds < 2:
        raise ConfigError(f"rounds={config.rounds}: quartiles need at least 2")
    detector = build_detector(config.detector).to(usable_device(config.device))
    layouts = build(config.layout).layouts(detector.class_names, detector.network_size, detector.detections_per_image)
    if len(layouts) < config.batch_size:
        raise ConfigError(f"batch_size={config.batch_size}: the layout source gives only {len(layouts)} layouts")
    figures = bench_step(
        detector,
        layouts[: config.batch_size],
        build(config.preset),
        rounds=config.rounds,
        steps_per_round=config.steps_per_round,
        warmup=config.warmup,
        seed=config.seed,
    )
    machine = {
        "detector": config.detector.name,
        "device": torch.cuda.get_device_name() if config.device == "cuda" else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    out_dir = prepare_out_dir(config.out_dir)
    write_json(out_dir / "bench_step.json", figures | machine)
    write_text(out_dir / "config.yaml", OmegaConf.to_yaml(config))
    console = Console()
    console.print(
        f"{config.detector.name}, batch {config.batch_size}: {1e3 * figures['step_seconds']:.1f} ms a step, "
        f"{1e3 * figures['bare_seconds']:.1f} ms bare forward and backward, ratio {figures['ratio']:.3f} "
        f"(quartiles {figures['ratio_low']:.3f} to {figures['ratio_high']:.3f})",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"figures: {out_dir / 'bench_step.json'}", soft_wrap=True)
