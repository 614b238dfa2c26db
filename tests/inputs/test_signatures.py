"""What a class takes is read from its source text as Python itself understands it."""

import inspect
from dataclasses import MISSING, fields
from importlib import import_module

import pytest
import yaml

from detinv.inputs.signatures import parameters_of

TARGETS = [
    "detinv.inversion.pixels.augmentation.Augmentation",
    "detinv.inversion.targets.code.CodeRule",
    "detinv.inversion.targets.matching.HungarianRule",
    "detinv.inversion.optim.schedules.Cosine",
    "detinv.layouts.random.RandomLayouts",
    "detinv.detectors.load.assemble_detector",
    "detinv.zoo.models.build_retinanet",
    "detinv.detectors.heads.codec.DeltaCodec",
]


@pytest.mark.parametrize("target", TARGETS)
def test_defaults_are_those_of_python(target):
    module, _, name = target.rpartition(".")
    made = getattr(import_module(module), name)
    wanted = {
        one.name: one.default
        for one in inspect.signature(made).parameters.values()
        if one.default is not inspect.Parameter.empty
    }
    if hasattr(made, "__dataclass_fields__"):
        wanted = {one.name: one.default for one in fields(made) if one.default is not MISSING}
    found = {one.name: yaml.safe_load(one.default) for one in parameters_of(target)}
    plain = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in wanted.items()
        if isinstance(value, bool | int | float | str | tuple | None)
    }
    # Defaults that are computed are left out.
    assert found.items() <= plain.items()
    assert len(found) >= len(plain) - 1


def test_comments_are_those_of_the_docstring():
    found = {one.name: one.comment for one in parameters_of("detinv.inversion.pixels.augmentation.Augmentation")}
    assert found["flip"] == "probability of a horizontal mirror image"
    assert found["hold"] == "steps for which a view is kept"
    shared = {one.name: one.comment for one in parameters_of("detinv.inversion.targets.code.CodeRule")}
    assert shared["proposals_per_image"] == shared["proposals_foreground"] != ""


@pytest.mark.parametrize("target", ["torch.optim.Adam", "detinv.nothing.There", "detinv.errors.Nothing", "adapter", ""])
def test_of_other_targets_nothing_is_known(target):
    assert parameters_of(target) == ()
