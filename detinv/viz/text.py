"""Text in pictures: its font, its width in it, and what is written for letters that no font has."""

import re
from functools import cache
from itertools import groupby
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Not a character: every font draws it as the box that stands for what it lacks.
_LACKING = "\uffff"
# A font of the system is for Chinese, Japanese or Korean if it has one of these.
_EASTERN = "中あ한"
# The last font of macOS draws one placeholder for all letters of a script.
_NO_LETTERS = re.compile("lastresort", re.IGNORECASE)
_UNUSUAL = re.compile("bold|black|heavy|thin|light|italic|oblique|mono|serif", re.IGNORECASE)


def font(text: str, size: int) -> Font:
    """Return the font to draw a text in, `size` in pixels.

    It is Pillow's built-in one. That has little beyond the letters of English, so a text with others, as names of
    classes and files may have, is drawn in Matplotlib's DejaVu Sans (Latin, Greek, Cyrillic and some more). Chinese,
    Japanese and Korean need a font of the system; `legible` says what is written where there is none.
    """
    if all(map(_is_built_in, text)):
        return _built_in(size)
    path = _dejavu() if _has_all(_dejavu(), text) else _eastern_font(text)
    return _font_of(_dejavu() if path is None else path, size)


def legible(text: str) -> str:
    """Return a text with code points, such as U+732B, in place of letters that would all be the same empty box."""
    if all(map(_is_built_in, text)) or _has_all(_dejavu(), text) or _eastern_font(text) is not None:
        return text
    return in_dejavu(text)


def in_dejavu(text: str) -> str:
    """Return a text with code points in place of letters that DejaVu Sans, the font of charts, lacks."""
    parts = []
    for shown, run in groupby(text, lambda letter: _has(_dejavu(), letter)):
        letters = list(run)
        parts.append("".join(letters) if shown else "U+" + "+".join(f"{ord(letter):04X}" for letter in letters))
    return "".join(parts)


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
def _is_built_in(character: str) -> bool:
    built_in = _built_in(20)
    return bytes(built_in.getmask(character)) != bytes(built_in.getmask(_LACKING))


@cache
def _dejavu() -> Path:
    import matplotlib  # slow to import, and few texts need it

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


@cache
def _font_of(path: Path, size: int) -> Font:
    # As Pillow lays out its own font. Its other engine is not everywhere, and refuses some texts.
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


@cache
def _has(path: Path, character: str) -> bool:
    """Tell whether a font has a character; what leaves no ink, such as marks of direction, no font needs to have."""
    if character.isspace() or not character.isprintable():
        return True
    letters = _font_of(path, 20)
    return bytes(letters.getmask(character)) != bytes(letters.getmask(_LACKING))


def _has_all(path: Path, text: str) -> bool:
    return all(_has(path, character) for character in text)


@cache
def _eastern_font(text: str) -> Path | None:
    """Return the font of the system in which a text with Chinese, Japanese or Korean letters is drawn."""
    return next((path for path in _eastern_fonts() if _has_all(path, text)), None)


@cache
def _eastern_fonts() -> tuple[Path, ...]:
    """List the system's fonts for Chinese, Japanese or Korean, plain ones first."""
    from matplotlib.font_manager import findSystemFonts

    paths = [Path(path) for path in findSystemFonts() if not _NO_LETTERS.search(Path(path).name)]
    paths.sort(key=lambda path: (bool(_UNUSUAL.search(path.stem)), path))
    return tuple(path for path in paths if _is_eastern(path))


def _is_eastern(path: Path) -> bool:
    try:
        return any(_has(path, letter) for letter in _EASTERN)
    except OSError:  # no font of lines, or broken
        return False
