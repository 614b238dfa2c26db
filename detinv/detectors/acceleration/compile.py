"""torch.compile for a frozen detector: its parts become programs for the one size that an inversion shows them.

Compiled are the outermost modules with parameters that `forward` calls, such as backbone, neck and head: what lies
between them hangs on image sizes and layouts, and stays Python.
"""

from collections.abc import Callable

import torch
from torch import nn

from detinv.errors import ConfigError

MODES = ("default", "reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune")
"""Modes of `torch.compile`; the second and the last run CUDA graphs on a GPU."""

# What turns the graphs into programs; tests take one that needs no compiler.
_BACKEND = "inductor"


def check_mode(mode: object) -> None:
    """Raise ConfigError for what is no mode of `torch.compile`; None is no mode, and allowed."""
    if mode is not None and mode not in MODES:
        raise ConfigError(f"compile_mode={mode}: choose null or one of {', '.join(MODES)}")


def compile_parts(network: nn.Module, look: Callable[[], object], mode: str) -> list[nn.Module]:
    """Let the parts of `network` be compiled when they are next called, in place.

    A part is compiled once for each shape of its input, and once more for its gradient: the first step of a batch takes
    a minute or so. Numbers are those of the part within rounding, but an image's last bits may then hang on its batch.

    Args:
        network: in evaluation mode; nobody else's.
        look: lets `network` look at something, once.
        mode: one of `MODES`.

    Returns:
        The parts.
    """
    parts = _outermost(network, look)
    for part in parts:
        options = {"mode": mode} if _BACKEND == "inductor" else {}
        part.compile(backend=_BACKEND, dynamic=False, **options)
    return parts


def _outermost(network: nn.Module, look: Callable[[], object]) -> list[nn.Module]:
    """Modules with parameters that are called while no other such module is at work, in the order of their calls."""
    found: dict[nn.Module, None] = {}
    depth = 0

    def enter(module: nn.Module, arguments: tuple) -> None:
        nonlocal depth
        if depth == 0:
            found[module] = None
        depth += 1

    def leave(module: nn.Module, arguments: tuple, output: object) -> None:
        nonlocal depth
        depth -= 1

    handles = []
    for module in network.modules():
        if module is not network and next(module.parameters(), None) is not None:
            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        with torch.no_grad():
            look()
    finally:
        for handle in handles:
            handle.remove()
    return list(found)
