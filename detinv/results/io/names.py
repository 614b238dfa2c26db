"""File names for layouts whose ids may be anything."""

import re
from collections.abc import Sequence

# Names that Windows reserves, whatever follows the first dot.
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{k}" for port in ("com", "lpt") for k in range(1, 10))}
_LONGEST = 100


def file_stems(ids: Sequence[str]) -> list[str]:
    """Return a file name without ending for each id, safe on every file system and unique regardless of case.

    Letters, digits, `.`, `_` and `-` stay; everything else becomes `_`; a repeated name gets `-2`, `-3`, ...
    """
    taken: set[str] = set()
    stems = []
    # Ids that need no change keep their name, even if an earlier id would be changed to it.
    untouched = {name.lower() for name in ids if _safe(name) == name}
    for name in ids:
        stem = _safe(name)
        number = 1
        candidate = stem
        while candidate.lower() in taken or (candidate != name and candidate.lower() in untouched):
            number += 1
            candidate = f"{stem}-{number}"
        taken.add(candidate.lower())
        stems.append(candidate)
    return stems


def _safe(name: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:_LONGEST].lstrip(".-").rstrip(".")
    if stem.lower().split(".")[0] in _RESERVED:
        stem = f"_{stem}"
    return stem or "layout"
