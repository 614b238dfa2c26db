"""Notes for the user, one line each on the terminal: what was left out, or decided without being asked for."""

import logging
from functools import lru_cache

from detinv.inputs.printable import printable

_LOG = logging.getLogger("detinv")


@lru_cache(maxsize=1000)
def say_once(message: str) -> None:
    """Log `message` as a warning, unless the same was said before: every detector of a run reads the same files."""
    _LOG.warning("detinv: %s", printable(message))
