"""Data flows one way: a file imports only from its own stage or from earlier ones, and no folders form a circle."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "detinv"

_CHAIN = ["foundation", "layouts", "worlds", "zoo", "detectors"]
ALLOWED = {
    "foundation": ["foundation"],
    **{stage: _CHAIN[: number + 1] for number, stage in enumerate(_CHAIN) if number},
    "metrics": ["foundation", "layouts", "metrics"],
    "viz": ["foundation", "layouts", "viz"],
    "results": ["foundation", "layouts", "metrics", "viz", "results"],
    "runtime": ["foundation", "layouts", "viz", "runtime"],
    "inversion": [*_CHAIN, "runtime", "metrics", "viz", "results", "inversion"],
    "attribution": [*_CHAIN, "runtime", "metrics", "viz", "results", "attribution"],
    "training": [*_CHAIN, "runtime", "metrics", "viz", "results", "training"],
    "benchmarks": [*_CHAIN, "runtime", "metrics", "viz", "results", "inversion", "attribution", "benchmarks"],
    "experiments": [*_CHAIN, "runtime", "metrics", "viz", "results", "inversion", "attribution", "experiments"],
    "verification": [
        *_CHAIN,
        "runtime",
        "metrics",
        "viz",
        "results",
        "inversion",
        "attribution",
        "experiments",
        "verification",
    ],
    "checks": [*_CHAIN, "runtime", "metrics", "viz", "results", "inversion", "checks"],
}
EVERYTHING = [*ALLOWED, "cli"]
_FOUNDATION = {"__init__", "types", "errors", "inputs", "config"}
# The command line: it may import everything, and nothing else imports it.
_CLI = {"__main__", "cli", "commands", "sweeps"}
# The package offers its public names lazily, from wherever they live.
_LAZY = PACKAGE / "__init__.py"


def _files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _stage(module: str) -> str:
    """Of a dotted name inside the package, `detinv` itself included."""
    name = module.split(".")[1] if "." in module else "__init__"
    if name in _FOUNDATION:
        return "foundation"
    return name if name in ALLOWED else "cli"


def _module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imports(source: str) -> Iterator[str]:
    """Dotted names of all imported modules, those inside functions included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            # `from detinv import layouts` imports the folder; `from detinv import __version__` a value of the package.
            yield from (
                f"detinv.{alias.name}" if node.module == "detinv" and not alias.name.startswith("__") else node.module
                for alias in node.names
            )


def _violations(module: str, source: str) -> list[str]:
    allowed = ALLOWED.get(_stage(module), EVERYTHING)
    return [
        f"{module} imports {name}"
        for name in _imports(source)
        if name.split(".")[0] == "detinv" and _stage(name) not in allowed
    ]


@pytest.mark.parametrize("file", _files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_come_from_earlier_stages(file):
    if file != _LAZY:
        assert not _violations(_module(file), file.read_text())


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("detinv.layouts.layout", "from detinv.detectors.base import AbstractDetector"),
        ("detinv.errors", "import detinv.layouts.layout"),
        ("detinv.metrics.coco_ap", "def late():\n    from detinv.inversion.run import invert"),
        ("detinv.training.fit", "from detinv.inversion import run"),
        ("detinv.inversion.run", "from detinv.training.fit import fit"),
        ("detinv.viz.draw", "from detinv.metrics.redetection import redetection"),
        ("detinv.results.reports.write_inversion", "from detinv import cli"),
        ("detinv.detectors.load", "from detinv.commands import train"),
        ("detinv.zoo.models", "from detinv.detectors.base import AbstractDetector"),
    ],
)
def test_a_wrong_import_is_found(module, source):
    assert len(_violations(module, source)) == 1


def _folder(module: str) -> str:
    """The folder of a module; a package's own `__init__` lies in it."""
    return module if (ROOT / module.replace(".", "/")).is_dir() else module.rpartition(".")[0]


def _circles(arrows: set[tuple[str, str]]) -> list[str]:
    """Folders from which one comes back to them."""
    reached = {start: {end for begin, end in arrows if begin == start} for start, _ in arrows}
    for middle in reached:
        for start in reached:
            if middle in reached[start]:
                reached[start] |= reached[middle]
    return sorted(folder for folder, ends in reached.items() if folder in ends)


def test_no_folders_import_in_a_circle():
    """A folder, and the folder it lies in, are two."""
    arrows = set()
    for file in _files():
        if file == _LAZY:
            continue
        module = _module(file)
        for name in _imports(file.read_text()):
            start, end = _folder(module), _folder(name)
            if name.split(".")[0] == "detinv" and start != end and end != "detinv":
                arrows.add((start, end))
    assert len(arrows) > 50
    assert _circles(arrows) == []


def test_a_circle_of_folders_is_found():
    assert _circles({("a", "b"), ("b", "a.c"), ("a.c", "a"), ("d", "a")}) == ["a", "a.c", "b"]


def test_few_files_import_hydra():
    users = {
        str(file.relative_to(PACKAGE))
        for file in _files()
        if any(name.split(".")[0] == "hydra" for name in _imports(file.read_text()))
    }
    assert users == {
        "config/composition/chosen.py",
        "config/composition/compose.py",
        "config/hydra_context.py",
        "config/instantiate.py",
        "config/words.py",
        "sweeps/grammar.py",
        "sweeps/launcher.py",
    }


def test_every_folder_is_a_known_stage():
    folders = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    assert folders - set(ALLOWED) == (_FOUNDATION | _CLI) - {"__init__", "__main__", "types", "errors", "cli"}
