"""The files of docs/extend.md do what the page says."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from detinv.commands.execute import check_command
from detinv.config.instantiate import instantiate
from detinv.config.trust import trusting

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "extend.md").read_text()
# Blocks of code that begin with a comment that names their file.
FILES = {
    text[2:].split()[0].rstrip(":"): text for text in re.findall(r"```(?:python|yaml)\n(# .*?)```", PAGE, re.DOTALL)
}
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
EXPERIMENT = """
from detinv.experiments.common.base import AbstractExperiment
from detinv.results.reports.findings import Findings


class MyExperiment(AbstractExperiment):
    def __init__(self, threshold: float = 0.0) -> None:
        self.threshold = threshold

    def run(self, setup):
        return Findings(numbers={"threshold": self.threshold})
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the files of the page, and with the module that one of them names."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "my_module.py").write_text(EXPERIMENT)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("brightness", "my_module"):
        sys.modules.pop(name, None)


def test_the_page_has_its_files():
    assert set(FILES) == {"brightness.py", "brightness.yaml", "mine.yaml"} and len(COMMANDS) == 4


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_page_composes(line, folder):
    _, command, *words = shlex.split(line)
    subject = ["experiment=" + words.pop(0)] if command == "run" else []
    config = check_command(command, [*subject, *words])
    if "trust_config=true" in words:
        with trusting(True):
            built = instantiate(config.experiment if command == "run" else config.preset)
        if command == "run":
            assert built.threshold == 0.3
        else:
            wanted = 0.2 if "preset.regularisers.brightness.wanted=0.2" in words else 0.1
            assert built.regularisers["brightness"].wanted == wanted
