"""Files that annotations name in the way of another system, and what is said where a name is only like one."""

import unicodedata
from pathlib import Path

import pytest

from detinv.errors import ConfigError, LayoutError
from detinv.inputs.file_names import find_file, within
from detinv.results.io.images import read_images

COMPOSED = unicodedata.normalize("NFC", "caf\u00e9.png")
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize(
    ("there", "named"),
    [
        ("a.png", "a.png"),
        ("images/a.png", "images\\a.png"),
        ("x/y/a.png", "x/y\\a.png"),
        (COMPOSED, DECOMPOSED),
        (DECOMPOSED, COMPOSED),
        (f"{DECOMPOSED}/b.png", f"{COMPOSED}\\b.png"),
        ("with\\backslash.png", "with\\backslash.png"),
    ],
)
def test_a_file_is_found_however_its_name_is_written(there, named, tmp_path: Path):
    file = touch(tmp_path / there)
    assert find_file(tmp_path, named) == file


def test_what_is_like_a_file_is_none(tmp_path: Path):
    touch(tmp_path / "A.PNG")
    (tmp_path / "b.png").mkdir()
    for name in ("a.png", "b.png", "A.PNG/c.png", ""):
        assert find_file(tmp_path, name) is None


@pytest.mark.parametrize("name", ["..\\a.png", "/a.png", "C:\\a.png", "x/../a.png"])
def test_no_name_leads_out(name, tmp_path: Path):
    for find in (find_file, within):
        with pytest.raises(LayoutError, match="leads out"):
            find(tmp_path, name)


@pytest.mark.parametrize(
    ("there", "named", "told"),
    [
        ("data/A.PNG", "a.png", "A.PNG differs only in upper and lower case: rename one of them"),
        ("data/a.png", "data/a.png", "it is in {folder}: give images={folder}$"),
        ("data/a.png", "data\\a.png", "it is in {folder}: give images={folder}$"),
        ("data/a.png", "train2017/a.png", "there is a.png: take the folder out of the annotations' file_name"),
        ("data/train2017/a.png", "a.png", "it is in train2017 there: give images={folder}/data/train2017$"),
        ("data/image_1.png", "image_01.png", "did you mean 'image_1.png'"),
        ("data/other.jpg", "a.png", "add it or remove its entry"),
    ],
)
def test_a_missing_image_says_what_to_do(there, named, told, tmp_path: Path):
    touch(tmp_path / there)
    with pytest.raises(ConfigError, match=told.format(folder=tmp_path)):
        read_images(tmp_path / "data", [named])
