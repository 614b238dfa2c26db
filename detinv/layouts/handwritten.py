"""Layouts written by hand, in YAML or JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from detinv.errors import LayoutError
from detinv.inputs.numbers import is_image_size, whole
from detinv.inputs.plain_yaml import YAML_ERRORS, check_plain_yaml, yaml_problem
from detinv.inputs.printable import quoted, reason_of, suggestion
from detinv.layouts.layout import Layout
from detinv.layouts.objects import parse_object

_LAYOUT_KEYS = ("image_size", "id", "objects")
_FILE_KEYS = ("image_size", "layouts")
_OBJECT_KEYS = ("label", "box")
_LARGEST_ID = 10**18


def load_handwritten(path: str | Path, class_names: Sequence[str], image_size: tuple[int, int]) -> list[Layout]:
    """Read the layouts of one file, which holds a list of objects, one layout or several layouts.

    A list is one layout, `[]` an empty one:

        - {label: star, box: [x0, y0, x1, y1]}

    A mapping `{image_size: [height, width], id: name, objects: [...]}` is one layout with its size and name, and
    `{image_size: [height, width], layouts: [...]}` holds several layouts of either form. Boxes are in
    pixels of the image.

    Args:
        class_names: names of the detector's classes; labels are matched by name.
        image_size: (height, width) of layouts for which the file gives none.

    Returns:
        Layouts without masks, named by their `id`, or else after the file, numbered from 1 if there are several.

    Raises:
        LayoutError: one line that names the file, the entry (counted from 1) and what to change.
    """
    path = Path(path)
    content = _parsed(path)
    if isinstance(content, dict) and "layouts" in content:
        _check_keys(str(path), content, _FILE_KEYS)
        image_size = _image_size(str(path), content, image_size)
        entries = content["layouts"]
        if not isinstance(entries, list) or not entries:
            raise LayoutError(f"{path}: 'layouts' must be a list of layouts, at least one")
        layouts = [
            _layout(f"{path}: layout {number}", entry, class_names, image_size, f"{path.stem}-{number}")
            for number, entry in enumerate(entries, 1)
        ]
    else:
        layouts = [_layout(str(path), content, class_names, image_size, path.stem)]
    seen: set[str] = set()
    for number, layout in enumerate(layouts, 1):
        if layout.id in seen:
            raise LayoutError(f"{path}: layout {number}: id '{layout.id}' occurs twice; give each layout its own")
        seen.add(layout.id)
    return layouts


def _parsed(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise LayoutError(f"{path}: no such layout file; check the path") from error
    except OSError as error:
        raise LayoutError(f"{path}: the layout file cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise LayoutError(f"{path}: not a text file; expected a layout in YAML or JSON") from error
    except ValueError as error:  # a path with a NUL
        raise LayoutError(f"{path}: no such layout file ({reason_of(error)}); check the path") from error
    return _from_json(path, text) if path.suffix.lower() == ".json" else _from_yaml(path, text)


def _from_json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise LayoutError(f"{path}: not valid JSON (line {error.lineno}, column {error.colno}: {error.msg})") from error
    except (ValueError, RecursionError) as error:
        raise LayoutError(f"{path}: not valid JSON ({reason_of(error)})") from error


def _from_yaml(path: Path, text: str) -> Any:
    try:
        check_plain_yaml(text)
        return yaml.safe_load(text)
    except YAML_ERRORS as error:
        raise LayoutError(f"{path}: not valid YAML ({yaml_problem(error)})") from error


def _layout(where: str, entry: Any, class_names: Sequence[str], image_size: tuple[int, int], name: str) -> Layout:
    if isinstance(entry, dict):
        _check_keys(where, entry, _LAYOUT_KEYS)
        if "objects" not in entry:
            raise LayoutError(f"{where}: 'objects' is missing; an empty layout has `objects: []`")
        image_size = _image_size(where, entry, image_size)
        name = _name(where, entry.get("id", name))
        objects = entry["objects"]
    else:
        objects = entry
    if not isinstance(objects, list):
        raise LayoutError(f"{where}: expected a list of objects like `- {{label: star, box: [x0, y0, x1, y1]}}`")
    labels, boxes = [], []
    for number, thing in enumerate(objects, 1):
        label, box = _object(f"{where}: object {number}", thing, class_names, image_size)
        labels.append(label)
        boxes.append(box)
    return Layout(torch.tensor(boxes).reshape(-1, 4), torch.tensor(labels, dtype=torch.int64), image_size, name)


def _object(where: str, thing: Any, class_names: Sequence[str], image_size: tuple[int, int]) -> tuple[int, list[float]]:
    if not isinstance(thing, dict):
        raise LayoutError(f"{where}: expected `{{label: star, box: [x0, y0, x1, y1]}}`, got {quoted(thing)}")
    _check_keys(where, thing, _OBJECT_KEYS)
    for key in _OBJECT_KEYS:
        if key not in thing:
            raise LayoutError(f"{where}: '{key}' is missing")
    return parse_object(thing["label"], thing["box"], class_names, image_size, where)


def _image_size(where: str, entry: dict[str, Any], default: tuple[int, int]) -> tuple[int, int]:
    given = entry.get("image_size", default)
    height, width = map(whole, given) if isinstance(given, list | tuple) and len(given) == 2 else (None, None)
    if height is None or width is None or not is_image_size(height, width):
        raise LayoutError(f"{where}: image_size {quoted(given)} must be [height, width] in whole pixels")
    return height, width


def _name(where: str, given: Any) -> str:
    # Files are named after the id.
    number = whole(given)
    name = given if isinstance(given, str) else "" if number is None or abs(number) >= _LARGEST_ID else str(number)
    if not name.strip() or not name.isprintable() or name.startswith(".") or set(name) & set('/\\:*?"<>|'):
        raise LayoutError(f"{where}: id {quoted(given)} must be a name that a file can have")
    return name


def _check_keys(where: str, entry: dict[Any, Any], known: tuple[str, ...]) -> None:
    for key in entry:
        if not isinstance(key, str):
            raise LayoutError(f"{where}: unknown entry {quoted(key)} (expected {', '.join(known)})")
        if key not in known:
            raise LayoutError(
                f"{where}: unknown entry {quoted(key)}{suggestion(key, known)} (expected {', '.join(known)})"
            )
