"""What users are told beside results: a line on the terminal for what was left out or decided for them."""

import logging
from functools import lru_cache

_LOG = logging.getLogger("detinv")


@lru_cache(maxsize=1000)
def say_once(message: str) -> None:
    """Log `message` as a warning, unless the same was said before: every detector of a run reads the same files."""
    _LOG.warning("detinv: %s", message)
