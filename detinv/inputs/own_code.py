"""The code of modules that are not installed, such as an adapter beside its YAML file: what results depend on as well.

Such a file is edited between two runs, while installed packages change with their version. Nothing is imported here:
files are found by name, and only read.
"""

import ast
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path

from detinv.inputs.path_modules import as_written, folder_of, module_name

_LIBRARY = Path(sysconfig.get_path("stdlib")).resolve()
_PACKAGES = {"site-packages", "dist-packages"}
# The program itself changes for reasons that have nothing to do with a detector; detinv has versions.
_NEVER = ("detinv", "__main__")


def own_code(module: str) -> str | None:
    """Hash the code of a module, and of those that it imports, as far as they are not installed.

    Comments and layout do not count. A process that has imported a file does not see later changes before it loads the
    module again, as notebooks do, and nor does this.

    Args:
        module: dotted name, or one that `detinv.inputs.path_modules.module_name` gives.

    Returns:
        Hexadecimal digits; None for an installed module, or one whose source is not known.
    """
    if module not in _known or any(_loading(name) is not one for name, one in _known[module].loadings.items()):
        found, loadings = dict[str, str](), {module: _loading(module)}
        _collect(module, found, loadings)
        code = hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest() if found else None
        _known[module] = _Known(code, loadings)
    return _known[module].code


@dataclass(frozen=True)
class _Known:
    """The hash of a module's code, and what says by which loading of it, and of those it imports, this was found."""

    code: str | None
    loadings: dict[str, ModuleSpec | None]


_known: dict[str, _Known] = {}
# By path: the loading, and what `_parsed` found.
_files: dict[Path, tuple[ModuleSpec | None, tuple[str, tuple[tuple[str, int], ...]]]] = {}


def _loading(module: str) -> ModuleSpec | None:
    """Return the specification that Python makes each time it loads a module; None while it is not loaded."""
    return getattr(sys.modules.get(module), "__spec__", None)


def _collect(module: str, found: dict[str, str], loadings: dict[str, ModuleSpec | None]) -> None:
    path = _source(module)
    if path is None or as_written(module) in found:
        return
    loading = loadings[module] = _loading(module)
    if path not in _files or _files[path][0] is not loading:
        _files[path] = loading, _parsed(path)
    code, imports = _files[path][1]
    found[as_written(module)] = code
    folder = folder_of(module)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for name, level in imports:
        if level:
            # Beyond its packages there is nothing to import.
            above = package.rsplit(".", level - 1)[0] if level - 1 <= package.count(".") else ""
            full = f"{above}.{name}" if above else ""
        else:
            full = name if folder is None else module_name(folder, name)
        # Each package on the way is run as well.
        for end in range(1, full.count(".") + 2) if full else ():
            _collect(".".join(full.split(".")[:end]), found, loadings)


def _parsed(path: Path) -> tuple[str, tuple[tuple[str, int], ...]]:
    """Return a hash of a file's code, and what it imports: dotted name, and how many packages up it is looked for."""
    data = path.read_bytes()
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError):
        # Whoever imports it is told.
        return hashlib.sha256(data).hexdigest(), ()
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(_imports(tree))


def _imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # What is imported from a package may be a module of it.
            stem = f"{node.module}." if node.module else ""
            yield from ((f"{stem}{alias.name}", node.level) for alias in node.names)


def _source(module: str) -> Path | None:
    """Return the file of a module that is not installed; None for any other, or one that does not exist."""
    first, *rest = module.split(".")
    try:
        path, places = _root(first)
    except (ImportError, ValueError):
        return None
    for part in rest:
        inside = [place / part / "__init__.py" for place in places] + [place / f"{part}.py" for place in places]
        path = next((one for one in inside if one.is_file()), None)
        places = [place / part for place in places if (place / part).is_dir()]
    return path if path is not None and path.suffix == ".py" and path.is_file() else None


@cache
def _root(name: str) -> tuple[Path | None, list[Path]]:
    """Return the file and the folders of a module without dots; neither where it is installed.

    Raises:
        ImportError: when there is no such module.
        ValueError: when nothing is known about where it came from.
    """
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ImportError(name)
    path = Path(spec.origin) if spec.has_location and spec.origin is not None else None
    places = [Path(place) for place in spec.submodule_search_locations or ()]
    if name in _NEVER or any(_is_installed(one) for one in (*places, *([] if path is None else [path]))):
        return None, []
    return path, places


def _is_installed(path: Path) -> bool:
    path = path.resolve()
    return path.is_relative_to(_LIBRARY) or not _PACKAGES.isdisjoint(path.parts)
