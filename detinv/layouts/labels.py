"""Class names to class numbers. The command line imports this module, so it imports nothing heavy."""

from collections.abc import Sequence

from detinv.errors import LayoutError
from detinv.inputs.printable import quoted, suggestion

# A detector may have ninety classes; a message lists this many.
_LISTED = 10


def label_of(name: str, class_names: Sequence[str], where: str) -> int:
    """Return the number of the class `name`, 0 ... K-1: its position in `class_names`.

    Args:
        where: file and entry the name comes from; opens the error message.

    Raises:
        LayoutError: for an unknown name, suggesting the nearest one of the detector's.
    """
    for number, known in enumerate(class_names):
        if known == name:
            return number
    listed = ", ".join(class_names[:_LISTED]) + (", ..." if len(class_names) > _LISTED else "")
    hint = suggestion(name, class_names)
    raise LayoutError(f"{where}: unknown class {quoted(name)}{hint} (the detector knows {listed})")
