"""The pages of the documentation keep their word: Python runs, commands compose, and linked files exist."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from detinv import cli
from detinv.commands.execute import check_command
from detinv.worlds.registry import load_world

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = sorted([README, *ROOT.glob("docs/*.md"), *ROOT.glob("experiments/*.md")])
# Names in capitals stand for what the reader has; where a choice is needed, this one is taken.
EXAMPLES = {"EXPERIMENT": "table1_transfer", "NAME": "shapes_fcos", "ROW": "shapes_retinanet", "COLUMN": "shapes_fcos"}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _commands(page: Path) -> list[str]:
    """Lines of code that call detinv, without comments; those that end in a backslash go on in the next line."""
    code, fenced = [], False
    for line in page.read_text().replace("\\\n", " ").splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            code.append(line.strip())
    return [shlex.join(shlex.split(line, comments=True)) for line in code if line.startswith("detinv ")]


def _anchors(page: Path) -> set[str]:
    """Names by which links reach the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_is_short():
    assert len(README.read_text().split()) <= 1300


def test_the_python_of_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert code.count("steps=200") == 2
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(code.replace("steps=200", "steps=1"), "README.md", "exec"), names)
    assert len(names["result"].images) == 4  # type: ignore[attr-defined]
    assert (tmp_path / "out" / "report.html").is_file()


def test_the_python_of_the_page_on_detectors_runs():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "detectors.md").read_text(), re.DOTALL)
    scene = load_world("plain").scene(0)
    names: dict[str, Any] = {"image": scene.image}
    exec(compile(code, "docs/detectors.md", "exec"), names)
    assert len(names["values"]) == len(scene.layout) and (names["values"] > 0).all()
    assert names["gradient"].isfinite().all() and names["gradient"].any()


# The sweeps of docs/sweeps.md and the files of docs/extend.md have tests of their own.
_ELSEWHERE = ("sweeps.md", "extend.md")
COMMANDS = [
    pytest.param(_name(page), line, marks=() if page == README else pytest.mark.slow)
    for page in PAGES
    if page.name not in _ELSEWHERE
    for line in _commands(page)
]


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_command_of_the_documentation_composes(page, line, monkeypatch, capsys):
    def compose(name, overrides):
        check_command(name, overrides)
        return 0

    monkeypatch.setattr(cli, "run_command", compose)
    words = [re.sub(r"\b[A-Z]{3,}\b", lambda m: EXAMPLES.get(m[0], m[0]), word) for word in shlex.split(line)[1:]]
    assert cli.main(words) == 0, capsys.readouterr().err


def test_readme_has_six_commands():
    assert len(_commands(README)) == 6


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_to_files_and_headings_that_exist(page: Path):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if re.match(r"[a-z]+://", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in _anchors(linked), target


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_modules_that_are_named_exist(page: Path):
    for name in re.findall(r"`((?:detinv|configs|tests)/[\w/.*-]+)`", page.read_text()):
        assert list(ROOT.glob(name.rstrip("/"))), name
