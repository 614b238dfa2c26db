"""Short hashes of everything that an image depends on, by which saved images are recognised."""

import hashlib
import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from detinv.layouts.layout import Layout

_LENGTH = 16


def layout_hash(layout: Layout) -> str:
    """Hash a layout's objects, masks and size, on whatever device; its id does not count."""
    digest = hashlib.sha256(repr(layout.image_size).encode())
    for tensor in (layout.boxes, layout.labels, layout.masks):
        digest.update(b"none" if tensor is None else tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:_LENGTH]


def settings_hash(settings: object) -> str:
    """Hash every value in `settings`, a preset or an experiment for instance, whatever its parts are."""
    return hashlib.sha256(repr(_described(settings)).encode()).hexdigest()[:_LENGTH]


def _described(value: Any) -> Any:
    """Nested plain values that are equal for equal settings, without addresses."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return sorted((str(key), _described(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return [_described(item) for item in value]
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, partial):
        return [_described(value.func), _described(value.args), _described(value.keywords)]
    if inspect.isroutine(value) or inspect.isclass(value):
        return f"{value.__module__}.{value.__qualname__}"
    # Private attributes are derived from the public ones.
    settings = {name: item for name, item in vars(value).items() if not name.startswith("_")}
    return [f"{type(value).__module__}.{type(value).__qualname__}", _described(settings)]
