"""Reading a folder of images."""

import difflib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from detinv.errors import ConfigError

_ENDINGS = (".png", ".jpg", ".jpeg")


def read_images(
    folder: str | Path, file_names: Sequence[str] | None = None
) -> tuple[list[str], list[UInt8[Tensor, "3 _ _"]]]:
    """File names and 8-bit RGB images of a folder.

    Args:
        file_names: which files, in this order, as an annotation file names them; by default every PNG and JPEG
            file of the folder, sorted by name.

    Raises:
        ConfigError: naming the folder or file that is missing or no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        problem = "is a file, not a folder" if folder.exists() else "does not exist"
        raise ConfigError(f"images folder {folder} {problem}; give a folder of PNG or JPEG files with images=DIR")
    if file_names is None:
        try:
            found = sorted(entry.name for entry in folder.iterdir() if entry.suffix.lower() in _ENDINGS)
        except OSError as error:
            raise ConfigError(
                f"images folder {folder} cannot be listed: {error.strerror}; check its permissions"
            ) from error
        # Hidden files are what systems and interrupted copies leave behind.
        file_names = [name for name in found if not name.startswith(".")]
        if not file_names:
            raise ConfigError(f"images folder {folder} holds no PNG or JPEG file; give another one with images=DIR")
    return list(file_names), [read_image(_existing(folder, name)) for name in file_names]


def read_image(path: str | Path) -> UInt8[Tensor, "3 height width"]:
    """One PNG or JPEG file as 8-bit RGB, its pixels as stored; grey values are repeated, transparency is dropped.

    Raises:
        ConfigError: naming the file, if it is missing or broken.
    """
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as file:
            pixels = np.array(file.convert("RGB"))
    except FileNotFoundError as error:
        raise ConfigError(f"image {path} does not exist; check the path") from error
    # Pillow reports broken files as any of these.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ConfigError(
            f"image {path} cannot be read as PNG or JPEG: {_one_line(error)}; repair or remove it"
        ) from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _existing(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        near = difflib.get_close_matches(name, sorted(entry.name for entry in folder.iterdir()), n=1)
        hint = f" (the nearest name there is {near[0]})" if near else ""
        raise ConfigError(f"image {name} of the annotations is not in {folder}{hint}; add it or remove its entry")
    return path


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
