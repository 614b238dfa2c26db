"""A COCO annotation file, read through pycocotools after its entries were checked."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO

from detinv.errors import LayoutError
from detinv.layouts.numbers import is_count


def read_coco(path: Path) -> COCO:
    """The indexed file; every entry has the keys that a layout needs, and ids that refer to each other.

    Raises:
        LayoutError: for a missing file, broken JSON, missing keys or sections, doubled image ids, or an annotation
            of an image or category that the file does not list.
    """
    content = _parsed(path)
    if not isinstance(content, dict):
        raise LayoutError(f"{path}: holds a {type(content).__name__}, expected a COCO file (a JSON object)")
    images, annotations, categories = (_section(path, content, key) for key in ("images", "annotations", "categories"))
    image_ids: set[int] = set()
    for number, image in enumerate(images):
        where = f"{path}: images[{number}]"
        _require(where, image, "id", "file_name", "width", "height")
        if not isinstance(image["id"], int) or not isinstance(image["file_name"], str):
            raise LayoutError(f"{where}: its id must be a whole number and its file_name a text")
        if not is_count(image["width"]) or not is_count(image["height"]):
            raise LayoutError(f"{where}: width {image['width']} and height {image['height']} must be positive numbers")
        if image["id"] in image_ids:
            raise LayoutError(f"{where}: image id {image['id']} occurs twice; give each image its own")
        image_ids.add(image["id"])
    category_ids = set()
    for number, category in enumerate(categories):
        where = f"{path}: categories[{number}]"
        _require(where, category, "id", "name")
        if not isinstance(category["id"], int) or not isinstance(category["name"], str):
            raise LayoutError(f"{where}: its id must be a whole number and its name a text")
        category_ids.add(category["id"])
    for number, annotation in enumerate(annotations):
        where = f"{path}: annotations[{number}]"
        _require(where, annotation, "id", "image_id", "category_id", "bbox")
        if not all(isinstance(annotation[key], int) for key in ("id", "image_id", "category_id")):
            raise LayoutError(f"{where}: id, image_id and category_id must be whole numbers")
        if annotation["image_id"] not in image_ids:
            raise LayoutError(f"{where}: image {annotation['image_id']} is not among the file's images")
        if annotation["category_id"] not in category_ids:
            raise LayoutError(f"{where}: category {annotation['category_id']} is not among the file's categories")
    coco = COCO()
    coco.dataset = content
    # pycocotools reports its progress with print.
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise LayoutError(f"{path}: no such annotation file; check the path") from error
    except OSError as error:
        raise LayoutError(f"{path}: the annotation file cannot be read ({error.strerror})") from error
    except json.JSONDecodeError as error:
        raise LayoutError(
            f"{path}: not valid JSON (line {error.lineno}, column {error.colno}: {error.msg}); expected a COCO file"
        ) from error
    except UnicodeDecodeError as error:
        raise LayoutError(f"{path}: not a text file; expected a COCO file in JSON") from error


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
