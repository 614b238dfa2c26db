"""The same value everywhere."""

from dataclasses import dataclass

from torch import Tensor

from detinv.attribution.controls.base import AbstractControl


@dataclass(frozen=True)
class Uniform(AbstractControl):
    """A map without any preference."""

    def maps(self, canvas: Tensor, boxes: Tensor, seed: int) -> Tensor:
        return canvas.new_ones(len(boxes), *canvas.shape[1:])
