"""Atomic writing of files: whoever opens a file finds the old one or the new one, whole."""

import csv
import io
import json
import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from detinv.errors import OutputError

TEMPORARY = ".tmp"
"""Ending of the names of files that are being written; such names begin with a dot."""

PixelArray = UInt8[np.ndarray, "_ _ 3"] | UInt8[Tensor, "3 _ _"]
"""An 8-bit RGB picture (height, width, 3), or an image tensor (3, height, width)."""


def prepare_out_dir(path: str | Path) -> Path:
    """Create a folder with its parents, check that files can be written into it, and return its path.

    Raises:
        OutputError: if it cannot be created, is a file, or is read-only.
    """
    folder = Path(path)
    probe = folder / _temporary_name("probe")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"detinv")
        probe.unlink()
    except OSError as error:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
        reason = _reason(error, folder)
        raise OutputError(f"out_dir {folder} cannot be used: {reason}; choose another with out_dir=PATH") from error
    return folder


@contextmanager
def removed_if_empty(folder: Path) -> Iterator[None]:
    """Remove a folder and its parents, as far as they did not exist before the block and are empty after it."""
    created = [one for one in (folder, *folder.parents) if not os.path.exists(one)]
    try:
        yield
    finally:
        for one in created:
            # Fails, as it should, where there are results, or another process has begun to use the folder.
            with suppress(OSError):
                one.rmdir()


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` under a temporary name in the same folder and rename it to `path`.

    Raises:
        OutputError: naming the path; what was there before is untouched and nothing temporary is left.
    """
    write_with(path, lambda temporary: temporary.write_bytes(data))


def write_with(path: str | Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary path in the same folder and rename that file to `path`; see `write_bytes`."""
    target = Path(path)
    temporary = target.with_name(_temporary_name(target.name))
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        reason = _reason(error, target.parent)
        raise OutputError(f"{target} cannot be written: {reason}; solve that or choose another out_dir=PATH") from error
    finally:
        # After success there is nothing left to remove; after an interruption there may be.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_file(path: str | Path) -> None:
    """Remove a file, if there is one.

    Raises:
        OutputError: naming the path, when it cannot be removed.
    """
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        reason = _reason(error, Path(path).parent)
        raise OutputError(f"{path} cannot be removed: {reason}; solve that or choose another out_dir=PATH") from error


def write_npz(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name, compressed, in NumPy's format; see `write_bytes`."""
    named: dict[str, Any] = dict(arrays)

    def write(temporary: Path) -> None:
        # Given a path, NumPy would append an ending to it.
        with temporary.open("wb") as file:
            np.savez_compressed(file, **named)

    write_with(path, write)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: object, *, indent: int | None = 2) -> None:
    """Write plain data as JSON in the order given; see `write_bytes`.

    NaN and infinities, which JSON does not have, become null; NumPy scalars and one-element tensors become numbers.

    Raises:
        TypeError: for an object that is not data, naming its type.
    """
    write_text(path, json.dumps(plain(value), indent=indent, allow_nan=False, ensure_ascii=False) + "\n")


def write_csv(path: str | Path, rows: Sequence[Mapping[str, object]], columns: Sequence[str] = ()) -> None:
    """Write one line per row below a header; see `write_bytes`.

    The header has `columns`, then all other keys in the order in which they first appear. Missing values and NaN
    become empty fields.
    """
    columns = list(dict.fromkeys([*columns, *(key for row in rows for key in row)]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        values = [plain(row.get(column)) for column in columns]
        writer.writerow(["" if value is None else value for value in values])
    write_text(path, text.getvalue())


def write_png(path: str | Path, image: PixelArray) -> None:
    """Write 8-bit RGB pixels, exactly; see `write_bytes`."""
    write_bytes(path, encode_png(image))


def encode_png(image: PixelArray, texts: Mapping[str, str] | None = None) -> bytes:
    """Encode 8-bit RGB pixels as a PNG file.

    Args:
        texts: stored in the file with the pixels, by keyword.
    """
    pixels = image.permute(1, 2, 0).cpu().numpy() if isinstance(image, Tensor) else image
    info = PngInfo()
    for keyword, text in (texts or {}).items():
        info.add_text(keyword, text)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, format="PNG", pnginfo=info)
    return file.getvalue()


def plain(value: object) -> object:
    """Convert `value` to mappings, lists, strings, numbers, booleans and None, as JSON has them; NaN becomes None.

    Raises:
        TypeError: for anything else.
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic | Tensor):
        return plain(value.tolist())
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        number = float(value)
        return number if math.isfinite(number) else None
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")


def _temporary_name(name: str) -> str:
    # The name is cut, so that a long one does not become too long for the file system.
    return f".{name[:80]}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}"


def _reason(error: OSError, folder: Path) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        in_the_way = [path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()]
        if in_the_way:
            return f"{in_the_way[0]} is a file, not a folder"
    return (error.strerror or str(error)).lower()
