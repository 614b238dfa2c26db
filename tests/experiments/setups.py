"""Setups of experiments with tiny detectors, for tests."""

from dataclasses import replace
from pathlib import Path

import torch

from detinv.experiments.common.setup import ExperimentSetup
from detinv.inversion.preset import load_preset
from detinv.layouts.random import RandomLayouts
from tests.fakes import tiny_detector

CPU = {"accelerator": "cpu"}
SIZE = (64, 64)


def setup_of(out_dir: Path, families=("retinanet",), **options) -> ExperimentSetup:
    """A setup with tiny detectors of random weights, one of each family and called like it."""
    options = {"steps": 2, "batch_size": 2, "trainer": CPU} | options
    source = options.pop("source", RandomLayouts(count=3, objects=2, image_size=SIZE))
    preset = options.pop("preset", load_preset())
    detectors = {family: tiny_detector(family) for family in families}
    return ExperimentSetup(out_dir, families, source, preset, detectors=detectors, **options)


def classes_only(preset):
    return replace(preset, objective=preset.objective.only(["cls"]))


def same(first, second):
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
