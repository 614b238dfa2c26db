"""Text in pictures: the built-in font, and the width of text in it."""

from functools import cache

from PIL import ImageFont


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's built-in scalable font, `size` in pixels; no font of the system is needed."""
    return ImageFont.load_default(size)


def text_width(text: str, size: int) -> int:
    """Return the width of one line of text in pixels, rounded up."""
    return -int(-font(size).getlength(text) // 1)


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
