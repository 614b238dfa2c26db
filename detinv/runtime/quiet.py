"""Silencing Lightning's messages and advice that do not apply here."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Patterns of messages, and why they do not apply.
_IRRELEVANT = (
    ".*does not have many workers.*",  # there is no data to load
    ".*in eval mode at the start of training.*",  # the frozen detector is meant to be
    ".*smaller than the logging interval.*",  # terms are logged by a callback of our own
    ".*isinstance.treespec, LeafSpec.*",  # Lightning uses a name that torch has deprecated
    ".*your dataloader is not resumable.*",  # samples depend on the step number only
    ".*`srun` command is available.*",  # running on a login node is the user's decision
    "Checkpoint directory .* exists and is not empty",  # runs are resumed in the same folder
)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's start-up messages, and advice that does not apply, within the block."""
    logs = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in _IRRELEVANT:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
