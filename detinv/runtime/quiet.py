"""Lightning without the remarks that do not apply here."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Message and why it does not apply.
_BESIDE_THE_POINT = (
    ".*does not have many workers.*",  # there is no data to load
    ".*in eval mode at the start of training.*",  # the frozen detector is meant to be
    ".*smaller than the logging interval.*",  # terms are logged by a callback of our own
    ".*isinstance.treespec, LeafSpec.*",  # what Lightning asks torch by an older name
    ".*your dataloader is not resumable.*",  # samples follow the number of the step
    ".*`srun` command is available.*",  # a run on a cluster's login node is one's own business
    "Checkpoint directory .* exists and is not empty",  # that is how a run is continued
)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's greetings, and without advice that does not apply."""
    logs = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in _BESIDE_THE_POINT:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
