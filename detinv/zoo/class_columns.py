"""The number of classes that weights were trained on, read from the shape of the layer that scores classes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

_CLASS_LAYERS = re.compile(r"(cls_logits|cls_score|classification_head\.module_list\.\d+(\.\d+)?|cv3\.\d+\.\d+)\.bias$")
"""Of torchvision's, Detectron2's and ultralytics' heads."""


@dataclass(frozen=True)
class ClassColumns:
    """How a network counts its classes.

    Args:
        count: columns of class scores for each row.
        background: how many of them are no class.
        option: name under which a user gives `count`; None where users give names of classes only.
    """

    count: int
    background: int = 0
    option: str | None = None

    def difference(self, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
        """Describe in which number of classes two states by the same names differ; empty unless they do."""
        for key, value in own.items():
            other = given.get(key)
            if other is None or other.ndim != 1 or other.shape == value.shape or not _CLASS_LAYERS.search(key):
                continue
            rows, rest = divmod(len(value), self.count)
            columns, left = divmod(len(other), max(rows, 1))
            if rows and not rest and not left:
                return self._words(columns)
        return ""

    def _words(self, columns: int) -> str:
        if self.option is None:
            return f"the file has {columns - self.background} classes, the detector has {self.count - self.background}"
        return (
            f"the file has {columns} columns of classes, the detector has {self.count}: set "
            f"{self.option}={columns}, and class_names that suit it"
        )
