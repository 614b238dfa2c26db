import string

from hypothesis import given
from hypothesis import strategies as st

from detinv.results.io.names import file_stems


def test_file_stems_keep_harmless_ids() -> None:
    assert file_stems(["plain-7-000003", "val_12", "a.b"]) == ["plain-7-000003", "val_12", "a.b"]


def test_file_stems_tame_the_others() -> None:
    assert file_stems(["../../etc/passwd", "", "a b", "a/b", "..", "con.txt"]) == [
        "_.._etc_passwd",
        "layout",
        "a_b",
        "a_b-2",
        "layout-2",
        "_con.txt",
    ]


def test_file_stems_leave_good_ids_alone_whatever_comes_before() -> None:
    assert file_stems(["a b", "a_b"]) == ["a_b-2", "a_b"]


@given(st.lists(st.text(max_size=6)))
def test_file_stems_are_safe_and_unique(ids: list[str]) -> None:
    stems = file_stems(ids)
    assert len({stem.lower() for stem in stems}) == len(ids)
    allowed = set(string.ascii_letters + string.digits + "._-")
    assert all(stem and set(stem) <= allowed and stem[0] not in ".-" for stem in stems)


def test_file_stems_are_short_enough() -> None:
    assert all(len(stem) < 120 for stem in file_stems(["x" * 500] * 12))
