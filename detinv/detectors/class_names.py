"""Names of the classes that a detector reports: a list, COCO's, or from a file."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from detinv.errors import DetectorError
from detinv.inputs.printable import is_text, quoted

# fmt: off
COCO_CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator",
    "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)
# fmt: on
"""The 80 categories of COCO in the order of their ids, by the names its annotation files use."""

COCO = "coco"

_STRUCTURED = (".yaml", ".yml", ".json")


def read_class_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of the classes.

    Args:
        names: a list of them; "coco"; or the path of a text file with one name a line.

    Raises:
        DetectorError: when the file cannot be read or is YAML or JSON, a name is empty or occurs twice, or there are
            no names.
    """
    if isinstance(names, str):
        found = COCO_CLASSES if names == COCO else _from_file(Path(names))
    elif isinstance(names, Sequence):
        found = tuple(str(name) for name in names)
    else:
        raise DetectorError(f"class_names={quoted(names)}: give a list of names, {COCO!r} or the path of a text file")
    if not found or not all(map(str.strip, found)):
        raise DetectorError(f"class_names={quoted(names)}: there must be at least one name, and none may be empty")
    for name, uses in Counter(found).items():
        if uses > 1:
            raise DetectorError(f"class_names={quoted(names)}: {quoted(name)} occurs twice")
        if not is_text(name):
            raise DetectorError(f"class_names={quoted(names)}: {quoted(name)} cannot be written to a file")
    return found


def _from_file(path: Path) -> tuple[str, ...]:
    if path.suffix.lower() in _STRUCTURED:
        # Line by line, they would be names such as "nc: 3".
        raise DetectorError(
            f"class_names={path}: give a text file with one name a line, not {path.suffix}; or list the names: "
            "class_names=[car,bus]"
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise DetectorError(f"class_names={path}: neither a list, nor 'coco', nor a readable text file") from error
    return tuple(line.strip() for line in lines if line.strip())
