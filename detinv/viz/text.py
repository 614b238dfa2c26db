"""Text in pictures: its font, and the width of text in it."""

from functools import cache
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Not a character: every font draws it as the box that stands for what it lacks.
_LACKING = "\uffff"


def font(text: str, size: int) -> Font:
    """Return the font to draw a text in, `size` in pixels; no font of the system is needed.

    It is Pillow's built-in one. That has little beyond the letters of English, so a text with others, as names of
    classes and files may have, is drawn in Matplotlib's DejaVu Sans (Latin, Greek, Cyrillic and some more, but no
    Chinese, Japanese or Korean).
    """
    return _built_in(size) if all(map(_is_built_in, text)) else _dejavu(size)


def text_width(text: str, size: int) -> int:
    """Return the width of one line of text in pixels, rounded up."""
    return -int(-font(text, size).getlength(text) // 1)


def line_height(size: int) -> int:
    """Return the distance between lines, in pixels."""
    return round(size * 1.35)


def shorten(text: str, size: int, width: int) -> str:
    """Return `text`, cut and ended with three dots if it is wider than `width` pixels."""
    if text_width(text, size) <= width:
        return text
    for end in range(len(text) - 1, 0, -1):
        cut = text[:end].rstrip() + "..."
        if text_width(cut, size) <= width:
            return cut
    return ""


def wrap(text: str, size: int, width: int) -> list[str]:
    """Break `text` between words into lines of at most `width` pixels; a single word that is too wide is shortened."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(shorten(word, size, width))
    return lines or [""]


@cache
def _built_in(size: int) -> Font:
    return ImageFont.load_default(size)


@cache
def _dejavu(size: int) -> Font:
    import matplotlib  # slow to import, and few texts need it

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    # As Pillow lays out its own font. Its other engine is not everywhere, and refuses some texts.
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


@cache
def _is_built_in(character: str) -> bool:
    built_in = _built_in(20)
    return bytes(built_in.getmask(character)) != bytes(built_in.getmask(_LACKING))
