"""Reading images from files."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from detinv.errors import ConfigError
from detinv.inputs.contents import HEAD, described
from detinv.inputs.file_names import find_file, where_else
from detinv.inputs.notes import say_once
from detinv.inputs.printable import is_text, one_line, quoted, reason_of

_ENDINGS = (".png", ".jpg", ".jpeg")
_OTHER_PICTURES = frozenset(
    (".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif", ".avif", ".jp2", ".ppm", ".jfif", ".jpe", ".dng")
)
_FORMATS = ("PNG", "JPEG")
Size = tuple[int, int]
"""(height, width) in pixels."""

# Number of the orientation among the notes of a picture (EXIF), and what its values ask of a program that shows it.
_ORIENTATION = 0x0112
_SHOWN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Those that exchange height and width.
_ON_ITS_SIDE = (5, 6, 7, 8)
# A message quotes this many characters of a name.
_NAME = 100


def read_images(
    folder: str | Path,
    file_names: Sequence[str] | None = None,
    most: int | None = None,
    sizes: Sequence[Size] | None = None,
) -> tuple[list[str], list[UInt8[Tensor, "3 _ _"]]]:
    """Read the images of a folder and return their file names and 8-bit RGB pixels.

    Args:
        folder: its path.
        file_names: the files to read, in this order, as an annotation file names them; by default every PNG and JPEG
            file of the folder, sorted by name.
        most: files to read, the first of these; None for all.
        sizes: (height, width) of each of `file_names`, as annotated; see `read_image`.

    Raises:
        ConfigError: naming a folder or file that is missing, or a file that is not an image.
        LayoutError: for a file name in the annotations that leads out of the folder.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        problem = "is a file, not a folder" if os.path.exists(folder) else "does not exist"
        raise ConfigError(f"images folder {folder} {problem}; give a folder of PNG or JPEG files with images=DIR")
    if file_names is None:
        try:
            entries = [entry for entry in folder.iterdir() if entry.suffix.lower() in _ENDINGS]
            found = sorted(entry.name for entry in entries if not entry.is_dir())
        except OSError as error:
            raise ConfigError(
                f"images folder {folder} cannot be listed: {error.strerror}; check its permissions"
            ) from error
        # Operating systems and interrupted copies leave hidden files behind.
        file_names = [name for name in found if not name.startswith(".")]
        for name in file_names:
            if not is_text(name):
                raise ConfigError(f"images folder {folder}: the name {quoted(name)} is not valid text; rename the file")
        others = sorted({Path(name).suffix.lower() for name in os.listdir(folder)} & _OTHER_PICTURES)
        if not file_names:
            there = f", but {', '.join(others)}, which can be converted" if others else ""
            below = next((entry for entry in sorted(folder.iterdir()) if _holds_pictures(entry)), None)
            advice = f"images={below}, which does" if below and is_text(str(below)) else "another one with images=DIR"
            raise ConfigError(f"images folder {folder} holds no PNG or JPEG file{there}; give {advice}")
        if others:
            say_once(
                f"images folder {folder}: only PNG and JPEG files are read, not {', '.join(others)}; convert those"
            )
    file_names = file_names[:most]
    paths = [_existing(folder, name) for name in file_names]
    annotated = [None] * len(paths) if sizes is None else sizes[:most]
    read = [_read(path, size) for path, size in zip(paths, annotated, strict=True)]
    turned = [path for path, (_, orientation) in zip(paths, read, strict=True) if orientation in _SHOWN]
    if turned:
        say_once(
            f"{len(turned)} of {len(paths)} images, such as {turned[0]}, are stored turned or mirrored; they are read "
            "as programs show them, by their EXIF orientation, except where the annotated size is that of the pixels "
            "as stored"
        )
    return list(file_names), [image for image, _ in read]


def read_image(path: str | Path, annotated: Size | None = None) -> UInt8[Tensor, "3 height width"]:
    """Read a PNG or JPEG file as 8-bit RGB; grey values are repeated, transparency is dropped.

    The picture is as programs show it, turned and mirrored as its EXIF orientation says. Of a JPEG with further
    pictures behind the first (MPO), it is the first.

    Args:
        path: of the file.
        annotated: (height, width) that annotations of the file give. Where only the pixels as stored have that size,
            boxes were drawn on those, and they are returned.

    Raises:
        ConfigError: naming the file, if it is missing or broken, is an animation, or has more than 8 bits per channel,
            which a conversion would cut off.
    """
    return _read(path, annotated)[0]


def _read(path: str | Path, annotated: Size | None) -> tuple[UInt8[Tensor, "3 height width"], int]:
    """Return the pixels of a picture, see `read_image`, and its orientation, see `_orientation`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # A file of a few bytes can claim to have more pixels than memory can hold.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as file:
                # Telephones put further pictures behind that of a JPEG: depth, a larger preview.
                kind, frames = file.mode, 1 if file.format == "MPO" else getattr(file, "n_frames", 1)
                stored = file.convert("RGB")
                orientation = _orientation(file)
                pixels = np.array(_as_shown(stored, orientation, annotated))
    except FileNotFoundError as error:
        raise ConfigError(f"image {path} does not exist; check the path") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        most = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise ConfigError(
            f"image {path} has more than {most} megapixels; make it smaller, or cut it into several"
        ) from error
    except UnidentifiedImageError as error:
        # The error itself says no more than the name of the file.
        found = described(_head(path)) or "neither"
        raise ConfigError(
            f"image {path} cannot be read as PNG or JPEG: it is {found}; convert, replace or remove it"
        ) from error
    except Exception as error:  # Pillow raises many kinds of error for broken files
        raise ConfigError(
            f"image {path} cannot be read as PNG or JPEG: {reason_of(error)}; repair or remove it"
        ) from error
    if kind.startswith(("I", "F")) or _is_deep_png(_head(path)):
        raise ConfigError(f"image {path} has more than 8 bits per channel; convert it to 8 bits")
    if frames > 1:
        raise ConfigError(f"image {path} is an animation of {frames} images; save a single one of them")
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), orientation


def _head(path: str | Path) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(HEAD)


def _is_deep_png(head: bytes) -> bool:
    """Tell whether a PNG has 16 bits per channel, of which Pillow silently keeps 8 where there are several channels."""
    return head.startswith(b"\x89PNG") and head[24] > 8


def _orientation(file: Image.Image) -> int:
    """Return how a picture asks to be shown: a key of `_SHOWN`, or another number for as it is stored."""
    try:
        return int(file.getexif().get(_ORIENTATION, 1))
    except Exception:  # Pillow raises many kinds of error for broken notes, which leave the pixels as they are
        return 1


def _as_shown(stored: Image.Image, orientation: int, annotated: Size | None) -> Image.Image:
    size = (stored.height, stored.width)
    annotated_as_stored = orientation in _ON_ITS_SIDE and annotated == size != size[::-1]
    return stored if annotated_as_stored or orientation not in _SHOWN else stored.transpose(_SHOWN[orientation])


def _holds_pictures(entry: Path) -> bool:
    """Tell whether a folder holds PNG or JPEG files; not where it may not be looked into."""
    if not entry.is_dir() or not os.access(entry, os.R_OK | os.X_OK):
        return False
    return any(file.suffix.lower() in _ENDINGS and not file.name.startswith(".") for file in entry.iterdir())


def _existing(folder: Path, name: str) -> Path:
    path = find_file(folder, name)
    if path is None:
        # Spaces at an end, and a name of nothing, are seen in quotes only.
        given = one_line(name, _NAME) if name and name == name.strip() else quoted(name, _NAME)
        if os.path.islink(folder / name):
            raise ConfigError(f"image {folder / given} is a link that leads to no file; repair or remove it")
        hint = where_else(folder, name) or "; add it or remove its entry"
        raise ConfigError(f"image {given} of the annotations is not in {folder}{hint}")
    return path
