"""A COCO annotation file, read through pycocotools after its entries were checked."""

import codecs
import contextlib
import io
import json
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO

from detinv.errors import LayoutError
from detinv.inputs.contents import HEAD, described
from detinv.inputs.numbers import is_coordinate, is_image_size, whole
from detinv.inputs.printable import is_text, quoted, reason_of

# Nanoseconds after which another change of a file shows in its time, however coarse the clock of the file system.
_SETTLED = 2_000_000_000
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Digits of an id that is written as text.
_LONGEST_NUMBER = 18

WRITTEN_ID = "written_id"
"""Key under which images and categories have their id as the file writes it, in quotes or not."""


def read_coco(path: Path) -> COCO:
    """Read and index a COCO file; every entry has the keys that a layout needs, and ids refer to each other.

    Ids and sizes are whole numbers, also where the file writes `1.0`, or an id as `"1"`.

    The last file is remembered until it changes on disk, because every detector of a run asks for it. The result is
    shared: do not change it.

    Raises:
        LayoutError: for a missing file, broken JSON, missing keys or sections, doubled image or category ids, or an
            annotation of an image or category that the file does not list, or boxes that are fractions of their image.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):  # reading says what is wrong
        return _indexed(path)
    if time.time_ns() - status.st_mtime_ns < _SETTLED:
        return _indexed(path)
    return _remembered(path.absolute(), status.st_ino, status.st_mtime_ns, status.st_size, path)


@lru_cache(maxsize=1)
def _remembered(_absolute: Path, _inode: int, _changed: int, _size: int, path: Path) -> COCO:
    return _indexed(path)


def _indexed(path: Path) -> COCO:
    content = _parsed(path)
    if not isinstance(content, dict):
        raise LayoutError(f"{path}: holds a {type(content).__name__}, expected a COCO file (a JSON object)")
    images, annotations, categories = (_section(path, content, key) for key in ("images", "annotations", "categories"))
    image_ids: set[int] = set()
    for number, image in enumerate(images):
        where = f"{path}: images[{number}]"
        _require(where, image, "id", "file_name", "width", "height")
        _check_named(where, image, "file_name")
        width, height = image["width"], image["height"]
        image["width"], image["height"] = whole(width), whole(height)
        if not is_image_size(image["height"], image["width"]):
            raise LayoutError(
                f"{where}: width {quoted(width)} and height {quoted(height)} must be positive whole numbers that an "
                "image can have"
            )
        _add(where, "image", image["id"], image_ids)
    category_ids: set[int] = set()
    for number, category in enumerate(categories):
        where = f"{path}: categories[{number}]"
        _require(where, category, "id", "name")
        _check_named(where, category, "name")
        _add(where, "category", category["id"], category_ids)
    for place, annotation in enumerate(annotations):
        where = f"{path}: annotations[{place}]"
        _require(where, annotation, "id", "image_id", "category_id", "bbox")
        for key in ("id", "image_id", "category_id"):
            referred = _number(annotation[key])
            if referred is None:
                raise LayoutError(f"{where}: its {key} {quoted(annotation[key])} must be a whole number")
            annotation[key] = referred
        if annotation["image_id"] not in image_ids:
            raise LayoutError(f"{where}: image {quoted(annotation['image_id'])} is not among the file's images")
        if annotation["category_id"] not in category_ids:
            unknown = quoted(annotation["category_id"])
            raise LayoutError(f"{where}: category {unknown} is not among the file's categories")
        if annotation.get("iscrowd") not in (None, 0, 1):
            raise LayoutError(f"{where}: iscrowd {quoted(annotation['iscrowd'])} must be 0 or 1")
    boxes = [annotation["bbox"] for annotation in annotations]
    # Whole numbers are the one pixel of a tiny image.
    if all(map(_within_a_pixel, boxes)) and any(value % 1 for box in boxes for value in box):
        raise LayoutError(
            f"{path}: every box lies within the first pixel of its image, so they are fractions of it, as "
            f"{quoted(annotations[0]['bbox'])}; COCO's are in pixels: multiply x and width by the image's width, y and "
            "height by its height"
        )
    coco = COCO()
    coco.dataset = content
    # pycocotools reports its progress with print.
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _within_a_pixel(box: Any) -> bool:
    """Return whether a box x, y, width, height would be a speck in the corner, were its numbers pixels."""
    numbers = isinstance(box, list) and len(box) == 4 and all(map(is_coordinate, box))
    return numbers and bool(min(box) >= 0 and min(box[2:]) > 0 and max(box) <= 1)


def _parsed(path: Path) -> Any:
    try:
        data = path.read_bytes()
        if found := described(data[:HEAD]):
            raise LayoutError(f"{path}: is {found}; expected a COCO file in JSON")
        # Some programs begin a text with a mark of its encoding, as PowerShell does with what it redirects.
        return json.loads(data.decode("utf-16" if data.startswith(_UTF_16) else "utf-8-sig"))
    except FileNotFoundError as error:
        raise LayoutError(f"{path}: no such annotation file; check the path") from error
    except OSError as error:
        raise LayoutError(f"{path}: the annotation file cannot be read ({error.strerror})") from error
    except json.JSONDecodeError as error:
        raise LayoutError(
            f"{path}: not valid JSON (line {error.lineno}, column {error.colno}: {error.msg}); expected a COCO file"
        ) from error
    except UnicodeDecodeError as error:
        raise LayoutError(f"{path}: not a text file in UTF-8; expected a COCO file in JSON") from error
    except (ValueError, RecursionError) as error:  # a number of too many digits, lists too deep, a path with a NUL
        raise LayoutError(f"{path}: cannot be read ({reason_of(error)}); expected a COCO file in JSON") from error


def _section(path: Path, content: dict[str, Any], key: str) -> list[dict[str, Any]]:
    if key not in content:
        raise LayoutError(f"{path}: has no '{key}'; expected a COCO file with images, annotations and categories")
    section = content[key]
    if not isinstance(section, list) or not all(isinstance(entry, dict) for entry in section):
        raise LayoutError(f"{path}: '{key}' must be a list of objects")
    return section


def _require(where: str, entry: dict[str, Any], *keys: str) -> None:
    for key in keys:
        if key not in entry:
            raise LayoutError(f"{where}: '{key}' is missing")


def _check_named(where: str, entry: dict[str, Any], key: str) -> None:
    number = _number(entry["id"])
    if number is None:
        raise LayoutError(f"{where}: its id {quoted(entry['id'])} must be a whole number")
    if not isinstance(entry[key], str):
        raise LayoutError(f"{where}: its {key} {quoted(entry[key])} must be a text, in quotes")
    entry[WRITTEN_ID], entry["id"] = entry["id"], number
    if not is_text(entry[key]):
        raise LayoutError(f"{where}: its {key} {quoted(entry[key])} is no text that could be written to a file")


def _number(written: Any) -> int | None:
    """Return the whole number that an id is; some programs put it in quotes, or add `.0`."""
    if isinstance(written, str) and len(written) <= _LONGEST_NUMBER and written.isascii() and written.isdigit():
        return int(written)
    return whole(written)


def _add(where: str, what: str, number: int, seen: set[int]) -> None:
    if number in seen:
        raise LayoutError(f"{where}: {what} id {quoted(number)} occurs twice; give each {what} its own")
    seen.add(number)
