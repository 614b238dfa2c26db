"""torch.compile for a frozen detector: its parts are compiled for the input shapes of an inversion.

The outermost modules with parameters that `forward` calls are compiled, such as backbone, neck and head. What happens
between them depends on image sizes and layouts, and stays in Python.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from detinv.detectors.acceleration.full_precision import float32_products
from detinv.detectors.hooks import forward_hooks
from detinv.errors import ConfigError, DetectorError

MODES = ("default", "reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune")
"""Modes of `torch.compile`; the second and the last run CUDA graphs on a GPU."""

MOST_SHAPES = 1024
"""Programs that a compiled part may hold, one for each shape of its input; torch's own limit is 8."""

# How float32 products were rounded when something was last compiled.
_rounding: dict[str, str] = {}
# Of torch.compile; tests use a backend that needs no compiler.
_BACKEND = "inductor"


def check_mode(mode: object) -> None:
    """Raise ConfigError for anything but None (compile nothing) or a mode of `torch.compile`."""
    if mode is not None and mode not in MODES:
        raise ConfigError(f"compile_mode={mode}: choose null or one of {', '.join(MODES)}")


def compile_parts(network: nn.Module, run: Callable[[], object], mode: str) -> list[nn.Module]:
    """Have the parts of `network` compiled when they are next called, in place; call them within `many_shapes`.

    A part is compiled once for each shape of its input, and once more for its gradient: the first step of a batch takes
    a minute or so. Results agree with the uncompiled part's within rounding, but the last bits of an image may then
    depend on its batch.

    Args:
        network: in evaluation mode; not shared with a detector that is to stay uncompiled.
        run: runs `network` once, on any input.
        mode: one of `MODES`.

    Returns:
        The parts.
    """
    parts = _outermost(network, run)
    for part in parts:
        options = {"mode": mode} if _BACKEND == "inductor" else {}
        part.compile(backend=_BACKEND, dynamic=False, **options)
    return parts


def forget_other_rounding() -> None:
    """Drop what this process has compiled, if that was for another rounding of float32 products than that of now.

    torch itself compiles again when the rounding of matrix products has changed, but not when that of convolutions has:
    CUDA graphs would go on with the former.
    """
    now = float32_products()
    if _rounding and _rounding != now:
        torch.compiler.reset()
    _rounding.update(now)


@contextmanager
def many_shapes() -> Iterator[None]:
    """Let compiled parts be compiled for up to `MOST_SHAPES` input shapes, where torch would stop compiling after 8.

    Raises:
        DetectorError: when a part meets more shapes than that; torch would silently run it uncompiled.
    """
    # Imported late: it takes a second, and only compiled networks need it.
    import torch._dynamo.config
    from torch._dynamo.exc import FailOnRecompileLimitHit

    limits = {
        "recompile_limit": MOST_SHAPES,
        "accumulated_recompile_limit": max(MOST_SHAPES, torch._dynamo.config.accumulated_recompile_limit),
        "fail_on_recompile_limit_hit": True,
    }
    try:
        with torch._dynamo.config.patch(limits):
            yield
    except FailOnRecompileLimitHit as error:
        raise DetectorError(
            f"compile_mode: a part of the network met more than {MOST_SHAPES} input shapes; use compile_mode=null, or "
            "layouts of fewer sizes"
        ) from error


def _outermost(network: nn.Module, run: Callable[[], object]) -> list[nn.Module]:
    """Modules with parameters that are not called from within another such module, in the order of their calls."""
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

    parts = [
        module for module in network.modules() if module is not network and next(module.parameters(), None) is not None
    ]
    with torch.no_grad(), forward_hooks([(part, leave) for part in parts], [(part, enter) for part in parts]):
        run()
    return list(found)
