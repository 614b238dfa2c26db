"""Text of unknown origin made safe to print, and the nearest known name for a mistyped one.

Nothing printable moves the cursor, changes colours or reorders text.
"""

import difflib
from collections.abc import Collection
from typing import Any

_LONGEST = 500
_VALUE = 80


def printable(text: str) -> str:
    r"""Return `text` with every invisible character (controls, marks of direction, line ends) written as \x1b."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def one_line(text: str, longest: int = _LONGEST) -> str:
    """Return `text` as one printable line; the middle of a long one is left out, because the end says what to do."""
    # White space first, so that line ends do not become escapes.
    line = printable(" ".join(text.split()))
    tail = longest // 3
    return line if len(line) <= longest else f"{line[: longest - tail - 5]} ... {line[-tail:]}"


def quoted(value: Any, longest: int = _VALUE) -> str:
    """Return `value` as error messages quote it: like `repr`, printable, and cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of too many digits; a list too deep
        text = f"a {type(value).__name__}"
    text = printable(text)
    return text if len(text) <= longest else f"{text[: longest - 4]} ..."


def reason_of(error: BaseException, longest: int = 200) -> str:
    """Return the first line of a library's error, or its type where it says nothing."""
    return one_line((str(error).strip().splitlines() or [type(error).__name__])[0], longest)


def is_text(name: str) -> bool:
    """Tell whether `name` can be written to a file at all: half of a surrogate pair cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def suggestion(name: object, known: Collection[str]) -> str:
    """Return `; did you mean 'x'?` with the entry of `known` nearest to `name`, or nothing when none is near."""
    by_lower = {entry.lower(): entry for entry in known}
    near = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean '{by_lower[near[0]]}'?" if near else ""
