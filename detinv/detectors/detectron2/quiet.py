"""Suppresses warnings, of Detectron2 and of torch about it, that do not concern users of detinv."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def quiet_import() -> Iterator[None]:
    """Suppress torch's warning about scripting, which Detectron2's modules use when they are imported."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script.* is deprecated", category=FutureWarning)
        yield


@contextmanager
def quiet_log(name: str) -> Iterator[None]:
    """Suppress warnings from the logger `name`."""
    log = logging.getLogger(name)
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def trigger_first_warnings() -> None:
    """Trigger, and suppress, what torch warns of once per process about Detectron2's grids and poolers."""
    from detectron2.utils.tracing import is_fx_tracing

    with warnings.catch_warnings(), quiet_log("torch.fx._symbolic_trace"):
        warnings.filterwarnings("ignore", message="torch.meshgrid", category=UserWarning)
        torch.meshgrid(torch.zeros(1), torch.zeros(1))
        is_fx_tracing()
