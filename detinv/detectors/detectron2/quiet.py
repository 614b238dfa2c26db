"""Detectron2 without the remarks of torch and of itself that are not meant for the people who use it through us."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def quiet_import() -> Iterator[None]:
    """Without torch's word on the scripting that Detectron2's modules are made with."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script.* is deprecated", category=FutureWarning)
        yield


@contextmanager
def quiet_log(name: str) -> Iterator[None]:
    """Without warnings from the logger `name`."""
    log = logging.getLogger(name)
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def use_up_remarks() -> None:
    """Let torch say unheard what it says once in a process about Detectron2's grids and poolers."""
    from detectron2.utils.tracing import is_fx_tracing

    with warnings.catch_warnings(), quiet_log("torch.fx._symbolic_trace"):
        warnings.filterwarnings("ignore", message="torch.meshgrid", category=UserWarning)
        torch.meshgrid(torch.zeros(1), torch.zeros(1))
        is_fx_tracing()
