"""Methods by name, from `configs/method`."""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from detinv.attribution.methods.base import AbstractMethod, ActivationMethod
from detinv.attribution.methods.default import ByQuestion
from detinv.attribution.methods.product import Product
from detinv.config.folders import choices, config_dir
from detinv.config.instantiate import compose_choice, instantiate
from detinv.errors import ConfigError
from detinv.inputs.printable import quoted, suggestion


def method_names() -> tuple[str, ...]:
    """Return the names of all methods."""
    return choices(config_dir(), "method")


def load_method(name: str) -> AbstractMethod:
    """Return a method by name.

    Raises:
        ConfigError: for an unknown one, naming the nearest.
    """
    known = method_names()
    if name not in known:
        raise ConfigError(f"method={quoted(name)}: choose one of {', '.join(known)}{suggestion(name, known)}")
    found: AbstractMethod = instantiate(compose_choice("method", name))
    return found


def as_method(method: str | AbstractMethod, layers: Sequence[str | int] | None = None) -> AbstractMethod:
    """Return a method, or the one of that name, with other layers where these are given.

    Raises:
        ConfigError: for an unknown name, or layers for a method that has none.
    """
    if isinstance(layers, str | int):
        raise ConfigError(f"layers={quoted(layers)}: give several layers, or one as [{quoted(layers)}]")
    found = load_method(method) if isinstance(method, str) else method
    return found if layers is None else with_layers(found, tuple(layers))


def with_layers(method: AbstractMethod, layers: Sequence[str | int]) -> AbstractMethod:
    """Return the method with other layers.

    Raises:
        ConfigError: when its maps are not made from layers.
    """
    if isinstance(method, ByQuestion):
        return replace(method, of_class=with_layers(method.of_class, layers), of_box=with_layers(method.of_box, layers))
    if isinstance(method, Product):
        raise ConfigError("layers: each method of a product has its own; choose one of these, such as odam")
    changeable: Any = method
    if not isinstance(method, ActivationMethod) or not is_dataclass(method):
        raise ConfigError(f"layers: {type(method).__name__} changes the image, and has no layers")
    if "layers" not in {field.name for field in fields(changeable)}:
        raise ConfigError(f"layers: {type(method).__name__} has its own")
    return replace(changeable, layers=layers)
