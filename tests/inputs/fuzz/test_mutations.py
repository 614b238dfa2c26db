"""Configurations with something changed at random: they are read, or refused in words. Nothing else."""

from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from detinv.config.composition.compose import compose_config
from detinv.config.detectors import detector_node
from detinv.config.folders import config_dir
from detinv.config.instantiate import instantiate
from detinv.config.trust import check_resolved, trusting
from tests.inputs.fuzz.mutations import (
    EXAMPLES,
    attempt,
    changed,
    damaged,
)


def own_detector(path: Path) -> None:
    with trusting(False):
        node = detector_node(str(path))
        check_resolved({key: value for key, value in node.items() if "${" not in str(value)})


DETECTOR = (config_dir() / "detector" / "shapes_fcos.yaml").read_bytes()


@EXAMPLES
@given(damaged(DETECTOR) | changed(yaml.safe_load(DETECTOR)).map(lambda content: yaml.safe_dump(content).encode()))
def test_detector_files_with_anything_in_them(tmp_path: Path, data):
    (tmp_path / "mine.yaml").write_bytes(data)
    attempt(own_detector, tmp_path / "mine.yaml")


PRESET = yaml.safe_load((config_dir() / "preset" / "default.yaml").read_text())


@settings(EXAMPLES, max_examples=40)
@given(changed(PRESET))
def test_presets_with_other_entries(content):
    """Whatever a configuration says, nothing is built but what it may name."""

    def build() -> None:
        with trusting(False):
            built = instantiate(content)
        assert "${" not in str(content) or built is not None

    attempt(build)


words = st.sampled_from(
    [
        "steps",
        "+steps",
        "~steps",
        "rounds",
        "detector",
        "layout",
        "layout.seed",
        "preset",
        "preset.rule.topk",
        "a.b",
        "experiment",
    ]
)
givens = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["3", "-1", "null", "[", "[1,2]", "{a: 1}", "${steps}", "${oc.env:HOME}", "a=b", "'", "1,2", "shapes_fcos"]
    ),
)


@settings(EXAMPLES, max_examples=12)
@given(st.builds(lambda key, sign, value: f"{key}{sign}{value}", words, st.sampled_from(["=", "", "=="]), givens))
def test_overrides_of_any_kind(word):
    def compose() -> None:
        with trusting(False):
            compose_config("bench", [word] if "=" in word or word.startswith("~") else [f"benchmark={word}"])

    attempt(compose)
