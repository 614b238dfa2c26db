"""Command lines of any kind: a run, or one line that says what is wrong; nothing is written either way."""

import io
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import cache

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from detinv.cli import main
from detinv.config.commands import COMMANDS
from detinv.config.composition.texts import as_typed
from detinv.config.folders import choices, config_dir
from detinv.config.help import groups, options
from detinv.errors import ConfigError
from tests.inputs.surroundings import Surroundings
from tests.sweeps.stand_ins import stand_in

_LONGEST = 520
_MULTIRUN = {"-m", "--multirun"}
# What ten thousand command lines may add to the memory of one process.
MOST_MEMORY = 2**29
# What means something to Hydra, OmegaConf, YAML, shells or terminals.
_PIECES = (
    *"=,:;[](){}'\"\\$~+-_./@#%&*!?|<>^ \t\n\r\x00\x1b\u202e\u00e9\u6f22\ud800", "null", "true", "None", "1e3",
    "-1", "0x1f", "2024_01_01", "nan", "inf", "???", "${", "${seed}", "${oc.env:HOME}", "range(", "choice(a,b)", "[[",
    "glob(*)", "~/", "..", ".yaml", "--", "-m", "9" * 30, "_target_", "os.system", "shapes_fcos", "a", "b c",
)  # fmt: skip


@cache
def _keys(command: str) -> list[str]:
    """Options and groups of a command, but for those that let files run code."""
    found = [option.key for option in options(config_dir(), command)]
    found += [group.name for group in groups(config_dir(), command)]
    return [key for key in found if "trust" not in key]


TEXTS = st.lists(st.sampled_from(_PIECES), max_size=6).map("".join) | st.text(max_size=12)


def _words(command: str) -> st.SearchStrategy[list[str]]:
    """A command with some words: known and unknown options, choices of groups, values of any kind, and mere text."""
    chosen = [f"{key}={name}" for key in _keys(command) for name in choices(config_dir(), key)]
    signed = st.sampled_from(["", "", "", "+", "++", "~"])
    option = st.builds("{}{}={}".format, signed, st.sampled_from(_keys(command)), TEXTS)
    flag = st.sampled_from(["--help", "-h", "-m", "--multirun"])
    plain = st.sampled_from(chosen)
    word = st.one_of(option, option, option, st.builds("{}={}".format, TEXTS, TEXTS), plain, plain, TEXTS | flag)
    words = st.lists(word.filter(lambda text: "trust" not in text), max_size=3).filter(_stays)
    return words.map(lambda found: [command, *found])


def _stays(words: list[str]) -> bool:
    """A sweep makes the folder that it is told, which had better not be the root of this machine."""
    return _MULTIRUN.isdisjoint(words) or not any("out_dir" in word and set(word) & set("/~$.") for word in words)


def _any_line() -> st.SearchStrategy[list[str]]:
    return st.one_of(*map(_words, sorted(COMMANDS)))


@pytest.fixture
def run(surroundings: Surroundings, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], str]:
    """Runs a command line in this process, with commands that do nothing; what it says on being refused."""
    for command in COMMANDS:
        stand_in(monkeypatch, command, lambda config, build: None)

    def call(words: list[str]) -> str:
        out, err = io.StringIO(), io.StringIO()
        sweeps = not _MULTIRUN.isdisjoint(words)
        with surroundings.watched("." if sweeps else None), redirect_stdout(out), redirect_stderr(err):
            status = main(words)
        told = err.getvalue()
        assert status in (0, 2), words
        if status == 0:
            assert told == "", (words, told)
        else:
            assert told.startswith("detinv: ") and told.endswith("\n") and len(told) <= _LONGEST, (words, told)
            assert told.removesuffix("\n").isprintable(), (words, told)
        return told

    return call


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


def test_some_command_lines(fuzz, run):
    fuzz(10, _any_line(), run, MOST_MEMORY)


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_ten_thousand_command_lines(command, fuzz, run):
    fuzz(10_000 // len(COMMANDS), _words(command), run, MOST_MEMORY)


@pytest.mark.slow
def test_command_lines_in_a_shell(surroundings, fuzz, run):
    """The program as a shell starts it refuses the same words in the same line."""

    def starts(words: list[str]) -> None:
        refused = run(words)
        if not refused or not all(_can_be_given(word) for word in words):
            return
        with surroundings.watched():
            ended = subprocess.run([sys.executable, "-m", "detinv", *words], capture_output=True, check=False)
        assert (ended.returncode, ended.stdout, ended.stderr.decode()) == (2, b"", refused)

    # Matplotlib writes its list of fonts into an empty home, once.
    subprocess.run([sys.executable, "-m", "detinv", "check", "seed="], capture_output=True, check=False)
    fuzz(40, _any_line(), starts, MOST_MEMORY)


def _can_be_given(word: str) -> bool:
    """Tell whether the system can hand this word to a program."""
    return "\0" not in word and "\ud800" not in word
