"""Class names to class numbers; the command line reads this file, so it imports nothing heavy."""

import difflib
from collections.abc import Collection, Sequence

from detinv.errors import LayoutError
from detinv.printable import shown

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


def suggestion(name: object, known: Collection[str]) -> str:
    """`; did you mean 'x'?` with the entry of `known` nearest to `name`, or nothing when none is near."""
    by_lower = {entry.lower(): entry for entry in known}
    near = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean '{by_lower[near[0]]}'?" if near else ""
