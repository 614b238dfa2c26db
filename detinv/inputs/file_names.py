"""File names in annotation files, which may not lead out of their folder."""

from pathlib import Path, PurePosixPath, PureWindowsPath

from detinv.errors import LayoutError
from detinv.inputs.printable import quoted


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
