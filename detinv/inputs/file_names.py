"""File names in annotation files: they may not lead out of their folder, and not all systems write them alike."""

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

from detinv.errors import LayoutError
from detinv.inputs.printable import one_line, quoted, suggestion

# A message quotes this many characters of a name.
_LONGEST = 100


def within(folder: Path, name: str) -> Path:
    """Return the path of the file `name` in `folder`, or in a folder below it.

    Raises:
        LayoutError: when the name leads elsewhere: an absolute path, or one with `..` in it, on whatever system.
    """
    for path in (PurePosixPath(name), PureWindowsPath(name)):
        if path.anchor or ".." in path.parts or "\0" in name:
            raise LayoutError(
                f"file_name {quoted(name)} of the annotations leads out of {folder}; it must name a file in that folder"
            )
    return folder / name


def find_file(folder: Path, name: str) -> Path | None:
    r"""Return the file that an annotation file calls `name`; None if there is none.

    Besides the name as it is, it is found with the separators of Windows (`images\a.png`), and with its letters in
    another normal form of Unicode, as macOS writes them: both are the same name to whoever wrote it.

    Raises:
        LayoutError: see `within`.
    """
    path = within(folder, name)
    if os.path.isfile(path):
        return path
    return _walk(folder, PureWindowsPath(name).parts, _normal)


def where_else(folder: Path, name: str, option: str = "images") -> str:
    """Say what is like a file that is missing, and what to do; nothing if nothing is like it.

    Args:
        option: that names the folder.
    """
    parts = PureWindowsPath(name).parts
    if (found := _walk(folder, parts, _caseless)) is not None:
        same = _quoted(found.relative_to(folder))
        return f"; {same} differs only in upper and lower case: rename one of them"
    if find_file(folder.parent, name) is not None:
        return f"; it is in {folder.parent}: give {option}={folder.parent}"
    if len(parts) > 1 and (found := _walk(folder, parts[-1:], _normal)) is not None:
        return f"; there is {_quoted(found.name)}: take the folder out of the annotations' file_name"
    entries = sorted(folder.iterdir())
    below = [entry for entry in entries if entry.is_dir() and find_file(entry, name) is not None]
    if below:
        return f"; it is in {_quoted(below[0].name)} there: give {option}={below[0]}"
    return suggestion(name, [entry.name for entry in entries if len(entry.name) < _LONGEST])


def _walk(folder: Path, parts: tuple[str, ...], form: Callable[[str], str]) -> Path | None:
    """Go down to a file whose names have the same form; of several that have, the first."""
    if not parts:
        return folder if folder.is_file() else None
    if not folder.is_dir():
        return None
    alike = sorted(entry for entry in folder.iterdir() if form(entry.name) == form(parts[0]))
    return next((found for entry in alike if (found := _walk(entry, parts[1:], form)) is not None), None)


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _caseless(name: str) -> str:
    return _normal(name).casefold()


def _quoted(name: str | Path) -> str:
    return one_line(str(name), _LONGEST)
