from hypothesis import given
from hypothesis import strategies as st

from detinv.viz.text import shorten, text_width, wrap


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
