"""Command lines of any kind: a run, or one line that says what is wrong; nothing is written either way."""

import io
import os
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detinv.cli import main
from detinv.config import composition
from detinv.config.commands import COMMANDS
from detinv.config.folders import choices, config_dir
from detinv.config.help import groups, options
from detinv.config.texts import as_typed
from detinv.errors import ConfigError
from tests.sweeps.stand_ins import stand_in

_LONGEST = 520
# What means something to Hydra, OmegaConf, YAML, shells or terminals.
_PIECES = (
    *"=,:;[](){}'\"\\$~+-_./@#%&*!?|<>^ \t\n\r\x00\x1b\u202e\u00e9\u6f22\ud800", "null", "true", "None", "1e3",
    "-1", "0x1f", "2024_01_01", "nan", "inf", "???", "${", "${seed}", "${oc.env:HOME}", "range(", "choice(a,b)", "[[",
    "glob(*)", "~/", "..", ".yaml", "--", "-m", "9" * 30, "_target_", "os.system", "shapes_fcos", "a", "b c",
)  # fmt: skip


def _keys(command: str) -> list[str]:
    """Options and groups of a command, but for those that let files run code."""
    found = [option.key for option in options(config_dir(), command)]
    found += [group.name for group in groups(config_dir(), command)]
    return [key for key in found if "trust" not in key]


KEYS = {command: _keys(command) for command in COMMANDS}
TEXTS = st.lists(st.sampled_from(_PIECES), max_size=6).map("".join) | st.text(max_size=12)


def _words(command: str) -> st.SearchStrategy[list[str]]:
    """A command with some words: known and unknown options, choices of groups, values of any kind, and mere text."""
    chosen = [f"{key}={name}" for key in KEYS[command] for name in choices(config_dir(), key)]
    signed = st.sampled_from(["", "", "", "+", "++", "~"])
    option = st.builds("{}{}={}".format, signed, st.sampled_from(KEYS[command]), TEXTS)
    word = st.one_of(option, option, option, st.builds("{}={}".format, TEXTS, TEXTS), st.sampled_from(chosen), TEXTS)
    words = st.lists(word.filter(lambda text: "trust" not in text), max_size=3)
    return words.map(lambda found: [command, *found])


COMMAND_LINES = st.one_of([_words(command) for command in sorted(COMMANDS)])


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], None]:
    """Runs a command line in an empty folder, with commands that do nothing."""
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS:
        stand_in(monkeypatch, command, lambda config, build: None)
    compose, known = composition._compose, {}

    def remembered(command: str, overrides: list[str], chosen: dict[str, str]) -> Any:
        """What Hydra makes of choices alone is asked for again and again, and is the same."""
        key = (command, *overrides)
        if {word.split("=")[0] for word in overrides} - set(chosen) or any("=_" in word for word in overrides):
            return compose(command, overrides, chosen)
        if key not in known:
            known[key] = compose(command, overrides, chosen)
        return known[key].copy()

    monkeypatch.setattr(composition, "_compose", remembered)

    def call(words: list[str]) -> None:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = main(words)
        told = err.getvalue()
        assert status in (0, 2), words
        if status == 0:
            assert told == "", words
        else:
            assert told.startswith("detinv: ") and told.endswith("\n") and len(told) <= _LONGEST, (words, told)
            assert told.removesuffix("\n").isprintable(), (words, told)
        # A sweep has a folder of its own; all else would be of the commands, which do nothing.
        left = {name for name in os.listdir(tmp_path) if "-m" not in words}
        assert not left, (words, left)

    return call


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(words=COMMAND_LINES)
def test_some_command_lines(run, words):
    run(words)


@settings(max_examples=200)
@given(st.sampled_from(("out_dir", "logger.group")), TEXTS)
def test_some_texts_are_typed_so_that_hydra_reads_them(key, text):
    stays_a_text(key, text)


@pytest.mark.slow
@settings(max_examples=10_000)
@given(st.sampled_from(("out_dir", "logger.group")), TEXTS)
def test_ten_thousand_texts_are_typed_so_that_hydra_reads_them(key, text):
    stays_a_text(key, text)


def stays_a_text(key: str, text: str) -> None:
    """A text, or one line that says what is wrong with it."""
    try:
        (word,) = as_typed("invert", [f"{key}={text}"], {"logger.group": "a"})
    except ConfigError as error:
        assert "lists several values" in str(error) or not text
        return
    read = OverridesParser.create().parse_overrides([word])[0].value()
    assert read is None if text == "null" else isinstance(read, str)
    if not set(text) & set("'\"\\~"):
        assert read == (None if text == "null" else text)


@pytest.mark.slow
@settings(max_examples=10_000, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(words=COMMAND_LINES)
def test_ten_thousand_command_lines(run, words):
    run(words)
