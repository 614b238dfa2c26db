"""Class names to class numbers; the command line reads this file, so it imports nothing heavy."""

from collections.abc import Sequence

from detinv.config.printable import shown, suggestion
from detinv.errors import LayoutError

# A detector may know ninety classes; a message lists this many.
_LISTED = 10


def label_of(name: str, class_names: Sequence[str], where: str) -> int:
    """Number of the class `name`, 0 ... K-1, by its position in `class_names`.

    Args:
        where: file and entry the name comes from; opens the error message.

    Raises:
        LayoutError: for an unknown name, suggesting the nearest one the detector knows.
    """
    for number, known in enumerate(class_names):
        if known == name:
            return number
    listed = ", ".join(class_names[:_LISTED]) + (", ..." if len(class_names) > _LISTED else "")
    hint = suggestion(name, class_names)
    raise LayoutError(f"{where}: unknown class {shown(name)}{hint} (the detector knows {listed})")
