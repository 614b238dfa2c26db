"""Presets are made of groups, each of which can be swapped alone; those that ship keep their values."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from detinv.config.composition.compose import compose_config
from detinv.config.folders import choices, config_dir
from detinv.config.instantiate import compose_choice, instantiate
from detinv.errors import ConfigError
from detinv.inversion.preset import Preset

GOLDEN = yaml.safe_load((Path(__file__).parent / "golden" / "presets.yaml").read_text())
GROUPS = (
    "rule", "matching", "objective", "pixels", "optimizer", "schedule", "updates", "augmentation", "regulariser",
)  # fmt: skip


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, dict):
        return {prefix: node}
    return {name: leaf for key, value in node.items() for name, leaf in flat(value, f"{prefix}.{key}").items()}


def values_of(name: str) -> dict[str, Any]:
    """The values of a preset in the form of the golden file, where regularisers were part of the objective."""
    node = OmegaConf.to_container(compose_choice("preset", name))
    found, weights = node.pop("regularisers"), node["objective"]["weights"]
    for regulariser, option, default in (("total_variation", "tv_exponent", 2), ("alpha_norm", "alpha_exponent", 6)):
        weights[regulariser] = found[regulariser]["weight"] if regulariser in found else None
        node["objective"][option] = found[regulariser]["exponent"] if regulariser in found else default
    assert node["_target_"] == "detinv.inversion.preset.Preset"
    return {key: value for key, value in flat(node).items() if key != "._target_"}


@pytest.mark.parametrize("name", GOLDEN)
def test_presets_have_the_values_they_always_had(name):
    golden = {key: value for key, value in flat(GOLDEN[name]).items() if key != "._target_"}
    assert values_of(name) == golden


def test_every_preset_has_golden_values():
    assert choices(config_dir(), "preset") == tuple(sorted(GOLDEN))


def preset_with(*words: str) -> dict[str, Any]:
    return OmegaConf.to_container(compose_config("invert", [*words, "logger=none"]).preset)


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    return preset_with("preset=code_maskrcnn")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "choice"), [(group, one) for group in GROUPS for one in choices(config_dir(), group)]
)
def test_every_choice_of_every_group_can_be_swapped_alone(group, choice, published):
    """All others stay; this one is what its file says, and keeps nothing of the one it replaces."""
    after = preset_with("preset=code_maskrcnn", f"{group}={choice}")
    assert isinstance(instantiate(after), Preset)
    name = "regularisers" if group == "regulariser" else group
    alone = OmegaConf.to_container(OmegaConf.create(compose_choice(group, choice)))
    assert after == published | {name: alone["updates"] if group == "updates" else alone}


def test_several_regularisers_are_one_choice():
    words = ["regulariser=[total_variation,alpha_norm]", "preset.regularisers.alpha_norm.weight=0.5"]
    found = preset_with(*words)["regularisers"]
    assert list(found) == ["total_variation", "alpha_norm"] and found["alpha_norm"]["weight"] == 0.5


@pytest.mark.slow
def test_one_number_of_steps_serves_all_commands():
    """Those of the preset, unless an experiment or the command line says otherwise."""
    for words, steps in ((["preset=fast"], 120), (["preset=code_fcos"], 1000), ([], 200), (["preset.steps=7"], 7)):
        assert compose_config("invert", words).steps == steps
        assert compose_config("run", ["experiment=fig13_texture", *words]).steps == steps
        assert compose_config("verify", words).sample_sizes.transfer.steps == steps
    assert compose_config("run", ["experiment=table1_transfer", "preset=fast"]).steps == 100
    assert compose_config("run", ["experiment=table1_transfer", "steps=5"]).steps == 5
    with pytest.raises(ConfigError, match=r"^preset.steps=1.5: expected a whole number"):
        compose_config("invert", ["preset.steps=1.5"])
