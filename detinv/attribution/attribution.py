"""One map, and what it answers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from detinv.attribution.core.frames import placed
from detinv.results.io.files import encode_png, write_npz
from detinv.viz.image import Picture


@dataclass(frozen=True, eq=False)
class Attribution:
    """What one scalar of a detector depends on in an image.

    Args:
        image: number of the image.
        object: number of the object among those of its image that are explained.
        box: XYXY of the explained object, in pixels of the image.
        label: its class number.
        score: of that class at the raw prediction that is explained, in [0, 1].
        question: such as "class" or "left".
        against: what "contrast" compares with; None for other questions.
        value: the scalar itself.
        method: name of the method.
        layer: what the map was made from, such as "c3", or "image".
        map: at its own resolution, on the CPU, in fp32; signed where the method is, at least 0 otherwise.
        extent: (x0, y0, x1, y1) in pixels of the image that the map covers; it may reach beyond the image.
        signed: whether negative values of the map speak against the answer.
        photograph: the explained image.
        class_names: of the detector.
        seed: of whatever was random.
    """

    image: int
    object: int
    box: tuple[float, float, float, float]
    label: int
    score: float
    question: str
    against: str | int | None
    value: float
    method: str
    layer: str
    map: Float[Tensor, "rows columns"]
    extent: tuple[float, float, float, float]
    signed: bool
    photograph: UInt8[Tensor, "3 height width"]
    class_names: tuple[str, ...]
    seed: int = 0

    @property
    def asked(self) -> str:
        """The question in words, such as "left" or "contrast with ball"."""
        if self.against is None:
            return self.question
        other = self.class_names[self.against] if isinstance(self.against, int) else self.against.replace("_", "-")
        return f"{self.question} with {other}"

    def heat(self) -> Float[Tensor, "height width"]:
        """Return the map in the frame of the photograph, in the map's own units; 0 where it does not reach."""
        height, width = self.photograph.shape[1:]
        return placed(self.map, self.extent, (height, width))

    def show(self) -> Picture:
        """Return the photograph with the map and the box drawn on it, as 8-bit RGB of shape (height, width, 3)."""
        from detinv.attribution.pictures import heat_picture

        return heat_picture(self.photograph, self.heat(), self.box, signed=self.signed)

    def save(self, path: str | Path) -> None:
        """Write the map, and what is needed to place it, as an .npz file."""
        extent, size, box = (np.array(value) for value in (self.extent, self.photograph.shape[1:], self.box))
        write_npz(path, {"map": self.map.numpy(), "extent": extent, "image_size": size, "box": box})

    def __repr__(self) -> str:
        what = f"{self.asked} of {self.class_names[self.label]} {self.score:.2f}"
        return f"Attribution({what}; image {self.image}, object {self.object}; {self.method} from {self.layer})"

    def _repr_png_(self) -> bytes:
        """Return what `show` draws as PNG, for notebooks."""
        return encode_png(self.show())
