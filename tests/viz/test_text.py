from pathlib import Path

import pytest
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from hypothesis import given
from hypothesis import strategies as st

from detinv.layouts.layout import Layout
from detinv.viz import text as of_pictures
from detinv.viz.draw import draw_layout
from detinv.viz.text import font, legible, shorten, text_width, wrap


@given(st.text(alphabet="abc XYZ.09", max_size=30), st.integers(5, 300))
def test_shorten_never_exceeds_the_width(text: str, width: int) -> None:
    cut = shorten(text, 12, width)
    assert text_width(cut, 12) <= width
    if text_width(text, 12) <= width:
        assert cut == text


def test_shorten_marks_the_cut() -> None:
    assert shorten("a very long name of a class", 12, 60).endswith("...")


def test_wrap_breaks_between_words_and_keeps_all_of_them() -> None:
    text = "contrast stretched (for viewing only)"
    lines = wrap(text, 16, 160)
    assert len(lines) > 1
    assert " ".join(lines) == text
    assert all(text_width(line, 16) <= 160 for line in lines)
    assert wrap("", 16, 100) == [""]


@pytest.mark.parametrize("text", ["Größe", "vélo", "łódź", "κύκλος", "велосипед", "40 × 30", "a – b"])
def test_letters_beyond_english_are_drawn(text: str) -> None:
    """A letter that a font lacks is drawn as the box of a character that no font has."""
    letters = font(text, 20)
    box = bytes(letters.getmask("\uffff"))
    assert all(bytes(letters.getmask(letter)) != box for letter in text)


def test_english_text_keeps_its_font() -> None:
    assert font("person 0.75 (a_b-c/d)", 12) is font("star", 12)
    assert font("person 0.75", 12) is not font("Größe", 12)


@pytest.mark.parametrize("text", ["é\n", "é\x00", "e\u202eé", "😀é", "عé"])
def test_any_text_has_a_width(text: str) -> None:
    assert text_width(text, 12) > 0


@pytest.fixture
def system_fonts(tmp_path, monkeypatch):
    """Return a function that lets the system have these fonts: the letters that each has, all squares."""

    def have(**fonts: str) -> None:
        paths = []
        for name, letters in fonts.items():
            paths.append(str(tmp_path / f"{name}.ttf"))
            pen = TTGlyphPen(None)
            pen.moveTo((0, 0))
            for corner in ((0, 800), (800, 800), (800, 0)):
                pen.lineTo(corner)
            pen.closePath()
            square = pen.glyph()
            glyphs = {f"u{ord(letter):04X}": square for letter in letters}
            builder = FontBuilder(1000)
            builder.setupGlyphOrder([".notdef", *glyphs])
            builder.setupCharacterMap({ord(letter): f"u{ord(letter):04X}" for letter in letters})
            builder.setupGlyf({".notdef": TTGlyphPen(None).glyph()} | glyphs)
            builder.setupHorizontalMetrics({glyph: (1000, 0) for glyph in [".notdef", *glyphs]})
            builder.setupHorizontalHeader(ascent=900, descent=-100)
            builder.setupPost()
            builder.save(paths[-1])
        (tmp_path / "broken.ttf").write_bytes(b"no font")
        found = [str(tmp_path / "broken.ttf"), *paths]
        monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: found)
        forget()

    def forget() -> None:
        of_pictures._eastern_fonts.cache_clear()
        of_pictures._eastern_font.cache_clear()

    yield have
    forget()


def test_letters_that_no_font_has_are_given_by_their_code_points(system_fonts) -> None:
    system_fonts()
    names = ["\u732b", "\u72ac", "\u81ea\u884c\u8f66", "Größe \u732b", "\U0001f9ff"]
    written = [legible(name) for name in names]
    assert written == ["U+732B", "U+72AC", "U+81EA+884C+8F66", "Größe U+732B", "U+1F9FF"]
    assert [legible(name) for name in ("star 0.5", "Größe", "a\nb", "e\u202eé")] == [
        "star 0.5", "Größe", "a\nb", "e\u202eé",
    ]  # fmt: skip


def test_a_font_of_the_system_draws_letters_of_the_east(system_fonts) -> None:
    system_fonts(LastResort="中猫犬 a", ABold="中猫 a", Few="中", Plain="中猫 a", Other="xyz")
    assert [legible(name) for name in ("猫 a", "犬", "star")] == ["猫 a", "U+72AC", "star"]
    assert Path(font("猫 a", 12).path).stem == "Plain"
    assert font("star", 12) is font("a", 12)


def test_labels_of_classes_that_no_font_can_write_differ(system_fonts) -> None:
    system_fonts()
    layout = Layout(torch.tensor([[8.0, 30.0, 120.0, 90.0]]), torch.tensor([0]), (100, 160), "a")
    cat, dog = (draw_layout(layout, (name,), scale=1) for name in ("猫", "犬"))
    assert (cat != dog).any()
