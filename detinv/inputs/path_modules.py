"""Modules imported by the path of their folder, so that files of one name in two folders are two modules.

`module_name("/home/me/mine", "adapter.build")` is "folder:/home/me/mine.adapter.build", which can be imported like any
dotted name once `importable_by_path` has been called. What such a module imports by a plain name is looked for beside
it first, and is such a module as well.
"""

import builtins
import importlib
import re
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote, unquote

_PREFIX = "folder:"
_FOLDER = re.compile(rf"{_PREFIX}[^.]*\.")
# Names that are never looked for beside a file: a copy of detinv would have classes of its own.
_INSTALLED = {"detinv", *sys.stdlib_module_names}


def module_name(folder: str | Path, name: str) -> str:
    """Return the name by which `name` is imported from `folder`, or `name` itself where the folder has no such module.

    Args:
        folder: absolute path.
        name: dotted; its first part is a file or a package of the folder, or is not.
    """
    return f"{_package(Path(folder))}.{name}" if _has(Path(folder), name) else name


def as_written(name: str) -> str:
    """Return a dotted name without the folder that it is imported from."""
    return _FOLDER.sub("", name)


def folder_of(name: str) -> Path | None:
    """Return the folder that a name of `module_name` is imported from; None for any other name."""
    return Path(unquote(name.partition(".")[0].removeprefix(_PREFIX))) if name.startswith(_PREFIX) else None


def importable_by_path() -> None:
    """Let Python import the names that `module_name` gives, from here on."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _package(folder: Path) -> str:
    return _PREFIX + quote(str(folder), safe="/\\: ").replace(".", "%2E")


def _has(folder: Path, name: str) -> bool:
    first = name.partition(".")[0]
    if not first.isidentifier() or first in _INSTALLED:
        return False
    return (folder / f"{first}.py").is_file() or (folder / first / "__init__.py").is_file()


class _Finder(MetaPathFinder):
    """Finds folders, as packages without a file, and the modules in them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(_PREFIX):
            return None
        package, _, module = fullname.partition(".")
        folder = unquote(package.removeprefix(_PREFIX))
        if not module:
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [folder]
            return spec
        found = PathFinder.find_spec(fullname, path, target)
        if found is not None and isinstance(found.loader, SourceFileLoader):
            found.loader = _Loader(found.loader.name, found.loader.path, Path(folder))
        return found


class _Loader(SourceFileLoader):
    """Runs a module whose imports are looked for in its folder first."""

    def __init__(self, fullname: str, path: str, folder: Path) -> None:
        super().__init__(fullname, path)
        self._folder = folder

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _importing_from(self._folder)}
        super().exec_module(module)


def _importing_from(folder: Path) -> Callable[..., Any]:
    """Return what `import` calls in the modules of a folder."""

    def beside_first(
        name: str, globals: Any = None, locals: Any = None, fromlist: Sequence[str] | None = (), level: int = 0
    ) -> ModuleType:
        if level or not _has(folder, name):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        own = module_name(folder, name)
        if fromlist:
            return builtins.__import__(own, globals, locals, fromlist, 0)
        importlib.import_module(own)
        return sys.modules[module_name(folder, name.partition(".")[0])]

    return beside_first
