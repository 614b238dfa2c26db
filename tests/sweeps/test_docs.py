"""The commands of docs/sweeps.md are sweeps as the page says."""

import re
import shlex
from pathlib import Path

import pytest

from detinv.cli import _override
from detinv.commands.execute import check_command
from detinv.config.commands import COMMANDS
from detinv.config.folders import choices, config_dir
from detinv.sweeps.grammar import combinations
from detinv.sweeps.launcher import is_launcher_option

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sweeps.md").read_text()
BLOCKS = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).replace("\\\n", " ")
COMMAND_LINES = [shlex.split(line) for line in BLOCKS.splitlines() if line.startswith("detinv ")]
# In the order of the page.
RUNS = [6, 4, 15, 1, 40, 128, 128]


@pytest.mark.parametrize(("words", "count"), list(zip(COMMAND_LINES, RUNS, strict=True)), ids=str)
def test_a_command_of_the_page_makes_the_runs_it_says(words, count):
    _, command, *words = words
    overrides = [_override(COMMANDS[command], word) for word in words if word != "-m"]
    found = combinations(command, [word for word in overrides if not is_launcher_option(word)])
    assert len(found) == count
    for combination in (found[0], found[-1]):
        check_command(command, combination.overrides)
    for word in filter(is_launcher_option, overrides):
        key, _, value = word.partition("=")
        name = next(w.partition("=")[2] for w in overrides if w.startswith("hydra/launcher="))
        options = (config_dir() / "launcher" / f"{name}.yaml").read_text()
        assert value in choices(config_dir(), "launcher") or f"\n{key.rpartition('.')[2]}: " in options
