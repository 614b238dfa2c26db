import csv
import errno
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from detinv.errors import OutputError
from detinv.results.io.files import prepare_out_dir, write_bytes, write_csv, write_json, write_png, write_text


def _fail(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_write_bytes_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("function", ["replace", "fsync"])
def test_write_bytes_on_a_full_disk_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")
    monkeypatch.setattr(os, function, _fail)
    with pytest.raises(OutputError, match="a.json cannot be written: no space left on device") as caught:
        write_text(path, "new")
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_write_bytes_interrupted_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "a", b"new")
    assert list(tmp_path.iterdir()) == []


def test_write_bytes_below_a_file_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file, not a folder"):
        write_bytes(tmp_path / "file" / "a.json", b"")
    with pytest.raises(OutputError, match="no such file or directory"):
        write_bytes(tmp_path / "missing" / "a.json", b"")


def test_write_bytes_takes_names_as_long_as_the_system_allows(tmp_path: Path) -> None:
    write_bytes(tmp_path / ("n" * 255), b"x")
    assert (tmp_path / ("n" * 255)).read_bytes() == b"x"


def test_files_are_readable_by_others(tmp_path: Path) -> None:
    previous = os.umask(0o022)
    try:
        write_text(tmp_path / "a", "x")
    finally:
        os.umask(previous)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_write_json_has_no_nan_and_keeps_the_order(tmp_path: Path) -> None:
    value = {"z": math.nan, "a": [1.5, float("inf")], "t": torch.tensor([1, 2]), "n": np.float32(0.5), "p": Path("x")}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text()
    assert list(json.loads(text)) == ["z", "a", "t", "n", "p"]
    assert json.loads(text) == {"z": None, "a": [1.5, None], "t": [1, 2], "n": 0.5, "p": "x"}
    assert "NaN" not in text and "Infinity" not in text


def test_write_json_rejects_what_is_not_data_before_writing(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="object"):
        write_json(tmp_path / "a.json", {"a": object()})
    assert list(tmp_path.iterdir()) == []


@given(
    st.dictionaries(
        st.text(),
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    )
)
def test_write_json_round_trip(tmp_path_factory: pytest.TempPathFactory, value: dict) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    write_json(path, value)
    assert json.loads(path.read_text()) == value


def test_write_csv_has_all_columns(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [{"step": 0, "total": 0.1}, {"step": 1, "total": math.nan, "late, term": 1e-9}])
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["step", "total", "late, term"], ["0", "0.1", ""], ["1", "", "1e-09"]]
    write_csv(tmp_path / "empty.csv", [])
    assert (tmp_path / "empty.csv").read_text().strip() == ""


def test_write_csv_has_its_header_without_a_row(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", [], ["b", "a"])
    assert (tmp_path / "t.csv").read_text() == "b,a\n"
    write_csv(tmp_path / "t.csv", [{"a": 1, "c": 2}], ["b", "a"])
    assert (tmp_path / "t.csv").read_text() == "b,a,c\n,1,2\n"


def test_write_png_is_exact_for_tensors_and_arrays(tmp_path: Path) -> None:
    image = torch.randint(0, 256, (3, 13, 17), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    expected = image.permute(1, 2, 0).numpy()
    for pixels in (image, expected):
        write_png(tmp_path / "a.png", pixels)
        with Image.open(tmp_path / "a.png") as file:
            assert file.mode == "RGB"
            assert np.array_equal(np.asarray(file), expected)


def test_prepare_out_dir_creates_parents_and_leaves_no_trace(tmp_path: Path) -> None:
    folder = prepare_out_dir(tmp_path / "a" / "b")
    assert folder.is_dir() and list(folder.iterdir()) == []
    assert prepare_out_dir(folder) == folder


def test_prepare_out_dir_names_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="out_dir .*: .*/file is a file, not a folder") as caught:
            prepare_out_dir(path)
        assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "kept"


def test_prepare_out_dir_notices_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "write_bytes", deny)
    with pytest.raises(OutputError, match="permission denied; choose another with out_dir=PATH"):
        prepare_out_dir(tmp_path)
