"""Short hashes of what an image depends on, by which a kept image is known again."""

import hashlib
import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from detinv.layouts.layout import Layout

_LENGTH = 16


def layout_hash(layout: Layout) -> str:
    """Of objects, masks and size; the id does not count."""
    digest = hashlib.sha256(repr(layout.image_size).encode())
    for tensor in (layout.boxes, layout.labels, layout.masks):
        digest.update(b"none" if tensor is None else tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:_LENGTH]


def settings_hash(settings: object) -> str:
    """Of every value in `settings`, whatever its parts are: a preset, an experiment."""
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
    # Private attributes are what a part has worked out for itself.
    settings = {name: item for name, item in vars(value).items() if not name.startswith("_")}
    return [type(value).__qualname__, _described(settings)]
