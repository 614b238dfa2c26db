"""Forward hooks that leave nothing behind, and the features they capture with their gradient."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from detinv.detectors.feature_layers import FeatureLayer
from detinv.detectors.tensor_tree import map_float_tensors
from detinv.errors import ConfigError

ForwardHook = Callable[[nn.Module, Any, Any], Any]
"""Called with a module, its positional arguments and its output; what it returns, unless None, replaces the output."""
ForwardPreHook = Callable[[nn.Module, Any], Any]
"""Called with a module and its positional arguments; what it returns, unless None, replaces the arguments."""

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@contextmanager
def forward_hooks(
    after: Iterable[tuple[nn.Module, ForwardHook]] = (), before: Iterable[tuple[nn.Module, ForwardPreHook]] = ()
) -> Iterator[None]:
    """Run modules with hooks, which are removed when the block is left, also by an error.

    Args:
        after: hooks to run when a module has been called.
        before: hooks to run when it is about to be.
    """
    with ExitStack() as stack:
        for module, pre_hook in before:
            stack.callback(module.register_forward_pre_hook(pre_hook).remove)
        for module, hook in after:
            stack.callback(module.register_forward_hook(hook).remove)
        yield


def count_hooks(network: nn.Module) -> int:
    """Return how many hooks all modules of `network` have."""
    return sum(len(getattr(module, kind)) for module in network.modules() for kind in _HOOKS)


class CapturedFeatures(Mapping[str, Tensor]):
    """Features by the name of their layer, filled by each forward pass within `capture_features`.

    `features[name]` is the one tensor of a layer. `every` gives all of them where a module is called several times, as
    a head is for every level, or returns several tensors.
    """

    def __init__(self, layers: Iterable[FeatureLayer]) -> None:
        self.layers = {layer.name: layer for layer in layers}
        self._found: dict[str, list[Tensor]] = {name: [] for name in self.layers}
        self._known: dict[str, set[str]] = {name: set() for name in self.layers}

    def __getitem__(self, name: str) -> Tensor:
        """Return the one tensor of a layer.

        Raises:
            KeyError: for a layer that is not captured.
            ConfigError: when the layer gave no tensor, or several.
        """
        found = self.every(name)
        if len(found) != 1:
            raise ConfigError(
                f"layer {name}: {len(found)} tensors in all calls of {self.layers[name].module}; use every()"
            )
        return found[0]

    def __contains__(self, name: object) -> bool:
        return name in self.layers

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def every(self, name: str) -> list[Tensor]:
        """Return all tensors of a layer, in the order of the calls and, within one, of what the module returned.

        Raises:
            KeyError: for a layer that is not captured.
            ConfigError: when the module was not called, or does not return the layer's output.
        """
        layer, found = self.layers[name], self._found[name]
        if not found and not self._known[name]:
            raise ConfigError(f"layer {name}: {layer.module} was not called in the forward pass")
        if not found:
            returned = ", ".join(sorted(self._known[name]))
            raise ConfigError(f"layer {name}: {layer.module} returns {returned}, not {layer.output!r}")
        return list(found)

    def clear(self) -> None:
        """Forget what has been captured so far, such as before another pass."""
        for name in self.layers:
            self._found[name].clear()
            self._known[name].clear()

    def keep(self, layers: Iterable[FeatureLayer], output: Any) -> Any:
        """Keep the tensors of `layers`, which share a module, and return the output with copies in their places."""

        def kept(key: str, tensor: Tensor) -> Tensor:
            wanted = False
            for layer in layers:
                self._known[layer.name].add(key or "one tensor")
                if layer.output in (None, key):
                    if not wanted and torch.is_grad_enabled() and not tensor.requires_grad:
                        tensor = tensor.detach().requires_grad_()
                    self._found[layer.name].append(tensor)
                    wanted = True
            return tensor.clone() if wanted else tensor

        return map_float_tensors(output, kept)


@contextmanager
def capture_features(detector: nn.Module, layers: Iterable[FeatureLayer]) -> Iterator[CapturedFeatures]:
    """Capture features during forward passes of a detector, such that gradients can be taken with respect to them.

        with capture_features(detector, detector.feature_layers()) as features:
            predictions = detector(pixels)
        (gradient,) = torch.autograd.grad(predictions.dense.logits[0, row, label], features["p3"])

    Captured are the very tensors that modules return, and the rest of the network continues with copies of them. So
    a rectifier that works in place does not overwrite a captured feature, and the network's numbers stay the same.
    Features that depend on nothing that requires a gradient start the graph: pixels need not require one.

    Call the detector itself: the `Network` of an inversion differentiates its images apart from each other, and no
    gradient of what it returns reaches a captured feature.

    Args:
        detector: whose forward is called inside the block, any number of times.
        layers: distinct names; several may share a module.

    Raises:
        ConfigError: when the detector has no such module.
    """
    features = CapturedFeatures(layers)
    modules: dict[str, list[FeatureLayer]] = {}
    for layer in features.layers.values():
        modules.setdefault(layer.module, []).append(layer)

    def hook_for(wanted: list[FeatureLayer]) -> ForwardHook:
        return lambda module, arguments, output: features.keep(wanted, output)

    hooks = []
    for path, wanted in modules.items():
        try:
            module = detector.get_submodule(path)
        except AttributeError as error:
            raise ConfigError(f"layer {wanted[0].name}: the detector has no module {path!r}") from error
        hooks.append((module, hook_for(wanted)))
    with forward_hooks(hooks):
        yield features
