"""Lines of code in which one of torch's functions is another one, without touching any module."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.overrides import TorchFunctionMode


class ReplacedFunction(TorchFunctionMode):
    """Within it, every call of a function of torch, by whatever module, is a call of another function.

    Args:
        function: of torch, such as `torch.conv2d`.
        by: what is called instead, with the same arguments; within it, `function` is torch's own.
    """

    def __init__(self, function: Callable[..., Any], by: Callable[..., Any]) -> None:
        super().__init__()
        self._function, self._by = function, by

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the other function in place of the one; everything else runs as it is."""
        return (self._by if func is self._function else func)(*args, **(kwargs or {}))
