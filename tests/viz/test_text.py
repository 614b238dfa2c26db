import pytest
from hypothesis import given
from hypothesis import strategies as st

from detinv.viz.text import font, shorten, text_width, wrap


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
