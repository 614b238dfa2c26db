"""Words of the command line: what stands in quotes, in lists, and behind a backslash."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detinv.config.words import bracketed, names_in, plain_text, split_words, unquoted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a", ["a"]),
        ("", [""]),
        ("a, b", ["a", "b"]),
        ("[a,b],[c]", ["[a,b]", "[c]"]),
        ("'a,b',c", ["'a,b'", "c"]),
        ("'it\\'s, a',x", ["'it\\'s, a'", "x"]),
        ("Bob's,Al's", ["Bob's", "Al's"]),
        ("a[1,b", ["a[1", "b"]),
        ("a(1,2).json,b", ["a(1,2).json", "b"]),
        ("{a: 'x,}', b: 2},c", ["{a: 'x,}', b: 2}", "c"]),
        ("a\\,b,c", ["a\\,b", "c"]),
    ],
)
def test_words_are_split_at_commas_that_separate(text, words):
    assert split_words(text) == words


@given(st.text(max_size=30))
def test_splitting_loses_nothing_but_space(text):
    assert "".join(",".join(split_words(text)).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("'a b'", "a b"),
        ('"x=1"', "x=1"),
        ("'it\\'s'", "it's"),
        ("'a'b'", None),
        ("'a','b'", None),
        ("a", None),
        ("'", None),
    ],
)
def test_one_text_in_quotes_is_told_from_others(value, text):
    assert unquoted(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("epoch=3-step=10.ckpt", "epoch=3-step=10.ckpt"),
        ("a b, (1) [2] {3}", "a b, (1) [2] {3}"),
        ("Bob's", "Bob's"),
        ("2024_01_01", "2024_01_01"),
        ("a\\,b\\=c", "a,b=c"),
        ("images\\a.png", "images\\a.png"),
        ("\u6f22\u5b57", "\u6f22\u5b57"),
    ],
)
def test_a_text_is_what_is_typed(value, text):
    assert plain_text(value) == text


def test_the_home_folder_is_completed(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path / "my home"))
    assert plain_text("~/a=b") == plain_text("'~/a=b'") == str(tmp_path / "my home" / "a=b")
    assert plain_text("a~") == "a~" and plain_text("~a") == "~a" and plain_text("./~") == "./~"


def test_names_stand_alone_or_in_brackets():
    assert names_in("a b.yaml") == ["a b.yaml"]
    assert names_in("[a, 'b,c', d=1]") == ["a", "b,c", "d=1"]
    assert names_in("[]") == [] and bracketed("[a].yaml") is None
