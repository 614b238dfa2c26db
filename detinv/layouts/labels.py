"""Class names to class numbers. The command line imports this module, so it imports nothing heavy."""

from collections.abc import Sequence

from detinv.errors import LayoutError
from detinv.inputs.printable import quoted, suggestion

# A detector may have ninety classes; a message lists this many.
_LISTED = 10
# Other names of COCO's classes, as in PASCAL VOC and in files that came with YOLO.
_ALIASES = {
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}


def label_of(name: str, class_names: Sequence[str], where: str) -> int:
    """Return the number of the class `name`, 0 ... K-1: its position in `class_names`.

    A name that the detector does not know may be another name of one of its classes, such as motorbike of motorcycle.

    Args:
        where: file and entry the name comes from; opens the error message.

    Raises:
        LayoutError: for an unknown name, suggesting the nearest one of the detector's.
    """
    number = known_label(name, class_names)
    if number is None:
        hint = suggestion(name, class_names)
        raise LayoutError(f"{where}: unknown class {quoted(name)}{hint} (the detector knows {listed(class_names)})")
    return number


def known_label(name: str, class_names: Sequence[str]) -> int | None:
    """Return the number of the class `name` as `label_of` does; None for a name that the detector does not know."""
    for match in (lambda known: known == name, lambda known: _canonical(known) == _canonical(name)):
        for number, known in enumerate(class_names):
            if match(known):
                return number
    return None


def listed(class_names: Sequence[str]) -> str:
    """Return the first few names, for a message."""
    return ", ".join(class_names[:_LISTED]) + (", ..." if len(class_names) > _LISTED else "")


def _canonical(name: str) -> str:
    return _ALIASES.get(name, name)
