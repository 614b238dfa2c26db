"""Photographs stored in another orientation than they are shown in, as telephones store them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from detinv.cli import main
from detinv.layouts.layout import Layout
from detinv.results.io.images import read_images
from detinv.training.data import PhotographSource
from detinv.training.datasets import HeldOutPhotographs


def turned_photograph(path: Path, orientation: int) -> np.ndarray:
    """Save a photograph stored in an orientation, and return its pixels as programs show them."""
    notes = Image.Exif()
    notes[0x0112] = orientation
    stored = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    Image.fromarray(np.kron(stored, np.ones((8, 8, 1), np.uint8))).save(path, exif=notes)
    with Image.open(path) as file:
        shown = ImageOps.exif_transpose(file.convert("RGB"))
        assert shown is not None
        return np.asarray(shown)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_photographs_are_read_as_programs_show_them(orientation: int, ending: str, tmp_path: Path):
    shown = turned_photograph(tmp_path / f"a.{ending}", orientation)
    _, (image,) = read_images(tmp_path)
    assert np.array_equal(image.permute(1, 2, 0).numpy(), shown)


def test_photographs_of_a_telephone_held_upright(tmp_path: Path, caplog, capsys):
    """Browsers show a picture as its notes say, so boxes are drawn on the turned one."""
    shown = turned_photograph(tmp_path / "a.jpg", 6)
    annotations = tmp_path / "labels.json"

    def detect(width: int, height: int) -> int:
        """Run the command on annotations of this size."""
        image = {"id": 1, "file_name": "a.jpg", "width": width, "height": height}
        annotations.write_text(json.dumps({"images": [image], "annotations": [], "categories": []}))
        return main(("detect", f"images={tmp_path}", f"annotations={annotations}", f"out_dir={tmp_path}/out"))

    assert shown.shape == (72, 96, 3)
    assert detect(96, 72) == detect(72, 96) == 0
    assert "1 of 1 images, such as" in caplog.text and "a.jpg, are stored turned or mirrored" in caplog.text
    assert detect(95, 72) == 2
    assert "is annotated as 95 x 72 pixels, but its file has 96 x 72; use" in capsys.readouterr().err


def test_boxes_drawn_on_the_pixels_as_stored_stay_on_them(tmp_path: Path):
    """Programs that ignore the orientation annotate the picture on its side, which its annotated size tells."""
    shown = turned_photograph(tmp_path / "a.jpg", 6)
    as_stored, as_shown, other = (
        read_images(tmp_path, ["a.jpg"], sizes=[size])[1][0].permute(1, 2, 0).numpy()
        for size in ((96, 72), (72, 96), (50, 50))
    )
    assert np.array_equal(as_stored, np.rot90(shown))
    assert np.array_equal(as_shown, shown) and np.array_equal(other, shown)


def test_training_reads_photographs_as_annotated(tmp_path: Path):
    shown = turned_photograph(tmp_path / "a.jpg", 6)
    none = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    for size, expected in (((72, 96), shown), ((96, 72), np.rot90(shown))):
        layout = Layout(*none, size, "a")
        held_out, _ = HeldOutPhotographs([layout], [tmp_path / "a.jpg"])[0]
        assert np.array_equal(held_out.permute(1, 2, 0).numpy(), expected)
        same = PhotographSource([layout], [tmp_path / "a.jpg"], ("a",), size).fingerprint()
        Image.fromarray(expected).save(tmp_path / "b.png")
        assert same == PhotographSource([layout], [tmp_path / "b.png"], ("a",), size).fingerprint()


def test_a_broken_orientation_is_none(tmp_path: Path, caplog):
    Image.fromarray(np.zeros((128, 96, 3), np.uint8)).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert read_images(tmp_path)[1][0].shape == (3, 128, 96) and not caplog.records
