"""What is kept is found again, whole; what is broken, or of another job, is not taken for it."""

from pathlib import Path

import pytest
import torch

from detinv.errors import OutputError
from detinv.inversion.resume import archive as module
from detinv.inversion.resume.archive import Archive, BatchResult, held_archive
from detinv.layouts.layout import Layout
from detinv.results.io.files import TEMPORARY
from tests.results.io.holder import another_holds

SOURCE = {"weights": "abc", "steps": 5}


def layout(name: str, x: float = 1.0) -> Layout:
    return Layout(torch.tensor([[x, 1.0, 9.0, 9.0]]), torch.tensor([0]), (16, 16), name)


LAYOUTS = [layout("a"), layout("../b"), layout("c")]


def batch_result(count: int, stopped=None) -> BatchResult:
    images = [torch.full((3, 16, 16), index, dtype=torch.uint8) for index in range(count)]
    return BatchResult(images, [{"step": 0, "total": 0.5}], stopped or {})


def test_what_is_kept_is_found_again(tmp_path: Path):
    Archive(tmp_path, LAYOUTS, SOURCE).keep([0, 1], batch_result(2, {"a": "why"}))
    ((batch, found),) = Archive(tmp_path, LAYOUTS, SOURCE).batches()
    assert batch == [0, 1]
    assert [torch.equal(a, b) for a, b in zip(found.images, batch_result(2).images, strict=True)] == [True, True]
    assert found.losses == [{"step": 0, "total": 0.5}]
    assert found.stopped == {"a": "why"}
    assert {path.parent.name for path in tmp_path.rglob("*.png")} == {"images"}, "no id leaves the folder"


@pytest.mark.parametrize("damage", ["missing", "truncated", "other size", "other pixels"])
def test_a_broken_image_makes_its_batch_unfinished(tmp_path: Path, damage: str):
    Archive(tmp_path, LAYOUTS, SOURCE).keep([0, 2], batch_result(2))
    image = tmp_path / "images" / "c.png"
    if damage == "missing":
        image.unlink()
    elif damage == "truncated":
        image.write_bytes(image.read_bytes()[:30])
    else:
        side = 8 if damage == "other size" else 16
        module.write_png(image, torch.zeros(3, side, side, dtype=torch.uint8))
    assert Archive(tmp_path, LAYOUTS, SOURCE).batches() == []


def test_a_broken_record_makes_its_batch_unfinished(tmp_path: Path):
    archive = Archive(tmp_path, LAYOUTS, SOURCE)
    archive.keep([0], batch_result(1))
    (record,) = (path for path in (tmp_path / "progress").glob("*.json") if path.name != "source.json")
    record.write_text(record.read_text()[:10])
    assert archive.batches() == []


@pytest.mark.parametrize("name", ["weights", "steps"])
def test_images_of_another_source_are_refused(tmp_path: Path, name: str):
    Archive(tmp_path, LAYOUTS, SOURCE)
    with pytest.raises(OutputError, match=name):
        Archive(tmp_path, LAYOUTS, {**SOURCE, name: "other"})


@pytest.mark.parametrize("left", ["", "{"])
def test_images_of_which_nobody_knows_the_source_are_refused(tmp_path: Path, left: str):
    Archive(tmp_path, LAYOUTS, SOURCE).keep([0], batch_result(1))
    path = tmp_path / "progress" / "source.json"
    path.write_text(left) if left else path.unlink()
    with pytest.raises(OutputError, match=r"source\.json is missing or broken"):
        Archive(tmp_path, LAYOUTS, {**SOURCE, "steps": 6})
    assert (tmp_path / "images" / "a.png").is_file()


@pytest.mark.parametrize("source", [{**SOURCE, "new": 1}, {"steps": SOURCE["steps"]}])
def test_a_folder_that_does_not_say_just_what_counts_is_refused(source: dict, tmp_path: Path):
    Archive(tmp_path, LAYOUTS, SOURCE)
    with pytest.raises(OutputError, match="holds images of another version of detinv; choose another out_dir"):
        Archive(tmp_path, LAYOUTS, source)


def test_a_folder_is_of_one_job_at_a_time(tmp_path: Path):
    with held_archive(tmp_path, LAYOUTS, SOURCE):
        Archive(tmp_path, LAYOUTS, SOURCE).keep([0], batch_result(1))
    with another_holds(tmp_path / "progress"):
        with pytest.raises(OutputError, match="in use by process 7"), held_archive(tmp_path, LAYOUTS, SOURCE):
            pytest.fail("two writers")
        (tmp_path / "images" / f".a.1{TEMPORARY}").touch()
    with held_archive(tmp_path, LAYOUTS, SOURCE):
        assert [path.name for path in (tmp_path / "images").iterdir()] == ["a.png"]


def test_an_image_of_another_layout_of_that_id_is_refused(tmp_path: Path):
    Archive(tmp_path, LAYOUTS, SOURCE).keep([0], batch_result(1))
    with pytest.raises(OutputError, match="another layout a"):
        Archive(tmp_path, [layout("a", 2.0)], SOURCE).batches()


def test_an_image_begun_for_another_layout_of_that_id_is_refused(tmp_path: Path):
    Archive(tmp_path, LAYOUTS, SOURCE).save_state([0], lambda path, entries: torch.save(entries, path))
    with pytest.raises(OutputError, match="another layout a"):
        Archive(tmp_path, [layout("a", 2.0)], SOURCE).interrupted()


def test_a_layout_that_is_no_longer_asked_for_is_passed_over(tmp_path: Path):
    Archive(tmp_path, LAYOUTS, SOURCE).keep([0, 1], batch_result(2))
    assert Archive(tmp_path, LAYOUTS[1:], SOURCE).batches() == []


def test_a_full_disk_costs_nothing(tmp_path: Path, monkeypatch, caplog):
    archive = Archive(tmp_path, LAYOUTS, SOURCE)

    def full(path, image):
        raise OutputError(f"{path} cannot be written: no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_png", full)
        archive.keep([0], batch_result(1))
        assert "no space left" in caplog.text
        assert Archive(tmp_path, LAYOUTS, SOURCE).batches() == []
    archive.keep([1], batch_result(1))
    assert sorted(batch for batch, _ in archive.batches()) == [[0], [1]]


def test_a_vanished_folder_is_made_again(tmp_path: Path):
    folder = tmp_path / "run"
    archive = Archive(folder, LAYOUTS, SOURCE)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()
    archive.keep([0], batch_result(1))
    assert [batch for batch, _ in archive.batches()] == [[0]]


def test_state_is_whole_or_absent(tmp_path: Path, caplog):
    archive = Archive(tmp_path, LAYOUTS, SOURCE)
    assert archive.save_state([0, 2], lambda path, entries: torch.save({"x": torch.ones(2), **entries}, path))
    assert archive.interrupted() == [[0, 2]]

    def half(path: Path, entries: dict) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    assert not archive.save_state([0, 2], half)
    assert "no space left" in caplog.text.lower()
    assert archive.interrupted() == [[0, 2]], "the state before is still there"
    assert {path.suffix for path in (tmp_path / "progress").iterdir()} == {".json", ".ckpt"}


def test_a_broken_state_is_thrown_away(tmp_path: Path, caplog):
    archive = Archive(tmp_path, LAYOUTS, SOURCE)
    archive.save_state([0], lambda path, entries: torch.save(entries, path))
    state = archive.state([0])
    state.write_bytes(state.read_bytes()[:50])
    assert archive.interrupted() == []
    assert "started again" in caplog.text
    assert archive.state([0]) is None


def test_a_state_whose_numbers_have_changed_on_the_disk_is_thrown_away(tmp_path: Path, caplog):
    archive, pixels = Archive(tmp_path, LAYOUTS, SOURCE), torch.full((1000,), 7.0)
    archive.save_state([0], lambda path, entries: torch.save({"pixels": pixels, **entries}, path))
    assert archive.interrupted() == [[0]]
    content = archive.state([0]).read_bytes()
    place = content.index(pixels.numpy().tobytes()) + 500
    archive.state([0]).write_bytes(content[:place] + b"\1" + content[place + 1 :])
    assert archive.interrupted() == []
    assert "started again" in caplog.text


def test_a_state_that_would_run_code_is_thrown_away(tmp_path: Path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    archive = Archive(tmp_path, LAYOUTS, SOURCE)
    archive.save_state([0], lambda path, entries: torch.save({**entries, "x": Evil()}, path))
    assert archive.interrupted() == []
    assert not (tmp_path / "touched").exists()


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path):
    archive = Archive(tmp_path, LAYOUTS, SOURCE)
    archive.keep([0], batch_result(1))
    for place in (tmp_path, tmp_path / "images", tmp_path / "progress"):
        (place / ".a.png.123-abc.tmp").write_bytes(b"half")
    mine = tmp_path / "images" / "mine.tmp"
    mine.touch()
    archive.tidy()
    assert list(tmp_path.rglob("*.tmp")) == [mine]
    assert [batch for batch, _ in archive.batches()] == [[0]]


def test_finishing_a_batch_forgets_its_state(tmp_path: Path):
    archive = Archive(tmp_path, LAYOUTS, SOURCE)
    archive.save_state([0, 1], lambda path, entries: torch.save(entries, path))
    archive.keep([0, 1], batch_result(2))
    assert archive.interrupted() == []


def test_the_state_of_a_finished_batch_goes_when_it_is_found(tmp_path: Path):
    """A process may die after the record is written and before the state is removed."""
    archive = Archive(tmp_path, LAYOUTS, SOURCE)
    archive.keep([0, 1], batch_result(2))
    archive.save_state([0, 1], lambda path, entries: torch.save(entries, path))
    assert [batch for batch, _ in archive.batches()] == [[0, 1]]
    assert archive.state([0, 1]) is None
