"""The photographs that layouts were annotated on, found in a folder."""

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from detinv.errors import ConfigError
from detinv.layouts.layout import Layout
from detinv.results.io.images import read_images

_ENDINGS = (".png", ".jpg", ".jpeg")


def read_photographs(folder: str | Path, layouts: Sequence[Layout]) -> list[UInt8[Tensor, "3 _ _"]]:
    """Read the photograph of each layout.

    It is the file that the layout's `file_name` gives, sub-folders included; for a layout without one, the PNG or JPEG
    file that is called like the layout.

    Args:
        folder: that the file names start from.
        layouts: in the pixels of their photographs.

    Raises:
        ConfigError: when a photograph is missing, cannot be read, or has another size than its layout.
        LayoutError: for a file name that leads out of the folder.
    """
    names = [layout.file_name or _named_like(Path(folder), layout) for layout in layouts]
    _, images = read_images(folder, names, sizes=[layout.image_size for layout in layouts])
    for image, layout, name in zip(images, layouts, names, strict=True):
        if tuple(image.shape[1:]) != layout.image_size:
            raise ConfigError(
                f"images={folder}: {name} is of size {tuple(image.shape[1:])}, but its layout {layout.id} is of size "
                f"{layout.image_size}"
            )
    return images


def _named_like(folder: Path, layout: Layout) -> str:
    candidates = [f"{layout.id}{form(ending)}" for ending in _ENDINGS for form in (str, str.upper)]
    found = [name for name in candidates if (folder / name).is_file()]
    if len(found) != 1:
        problem = f"both {found[0]} and {found[1]} could be" if found else f"neither {layout.id}.png nor .jpg is"
        raise ConfigError(f"images={folder}: {problem} the photograph of layout {layout.id} there")
    return found[0]
