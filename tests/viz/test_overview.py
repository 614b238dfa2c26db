import numpy as np
import pytest
import torch

from detinv.layouts.layout import Detections, Layout
from detinv.viz import overview as module
from detinv.viz.overview import detections_overview, overview
from detinv.worlds.plain import PlainWorld

NAMES = PlainWorld.class_names


def _row(index: int, size: tuple[int, int] = (48, 64)) -> tuple[Layout, torch.Tensor, Detections]:
    scene = PlainWorld(image_size=size, seed=1, max_side=30).scene(index)
    layout = scene.layout
    found = Detections(layout.boxes, torch.linspace(0.4, 0.9, len(layout)), layout.labels, size, layout.masks)
    return layout, scene.image, found


def _rows(count: int) -> tuple[list[Layout], list[torch.Tensor], list[Detections]]:
    layouts, images, detections = zip(*(_row(k) for k in range(count)), strict=True)
    return list(layouts), list(images), list(detections)


def _frame(picture: np.ndarray) -> np.ndarray:
    return np.concatenate([picture[:20].reshape(-1), picture[:, :20].reshape(-1), picture[:, -20:].reshape(-1)])


def test_overview_shows_the_saved_pixels_between_white_margins() -> None:
    layouts, images, detections = _rows(2)
    picture = overview(layouts, images, {"one": detections}, NAMES)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    assert (_frame(picture) == 255).all() and (picture[-20:] == 255).all()
    enlarged = images[0].permute(1, 2, 0).numpy().repeat(6, 0).repeat(6, 1)
    left = 24 + 384 + 16
    windows = [y for y in range(picture.shape[0] - 288) if np.array_equal(picture[y, left : left + 384], enlarged[0])]
    assert any(np.array_equal(picture[y : y + 288, left : left + 384], enlarged) for y in windows)


def test_overview_is_capped_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    table = module.sheet

    def spy(headings: tuple, rows: list, note: str) -> np.ndarray:
        notes.append(note)
        assert len(rows) <= 3
        return table(headings, rows, note)

    monkeypatch.setattr(module, "sheet", spy)
    five, three = (
        overview(layouts, images, {"one": detections}, NAMES, max_rows=3)
        for layouts, images, detections in (_rows(5), _rows(3))
    )
    assert notes == ["3 of 5 layouts shown", ""]
    assert five.shape[0] > three.shape[0]
    assert np.array_equal(five[: three.shape[0] - 24], three[:-24])
    # The line is really written.
    assert (five[three.shape[0] - 24 : -20] < 255).any()


def test_overview_takes_rows_of_different_sizes_and_empty_layouts() -> None:
    rows = [_row(0), _row(1, (480, 640)), _row(2, (640, 427))]
    empty = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    layout = Layout(*empty, (31, 17), "an id that is much, much longer than a line of this picture has room for " * 6)
    rows.append(
        (layout, torch.zeros(3, 31, 17, dtype=torch.uint8), Detections(empty[0], torch.zeros(0), empty[1], (31, 17)))
    )
    layouts, images, detections = (list(column) for column in zip(*rows, strict=True))
    picture = overview(layouts, images, {"one": detections}, NAMES)
    assert picture.shape[1] == 2 * 24 + 4 * 512 + 3 * 16
    assert (_frame(picture) == 255).all()


def test_overview_rejects_columns_of_different_length() -> None:
    layouts, images, detections = _rows(2)
    with pytest.raises(ValueError, match="images.: 1"):
        overview(layouts, images[:1], {"one": detections}, NAMES)
    with pytest.raises(ValueError, match="at least one"):
        overview([], [], {"one": []}, NAMES)


def test_detections_overview_has_a_column_of_truth_only_if_there_is_one() -> None:
    layouts, images, detections = _rows(2)
    with_truth = detections_overview(images, ["a", "b"], detections, NAMES, layouts)
    without = detections_overview(images, ["a", "b"], detections, NAMES, max_rows=1)
    assert with_truth.shape[1] - without.shape[1] == 384 + 16
    assert without.shape[0] < with_truth.shape[0]
    with pytest.raises(ValueError, match="layouts.: 1"):
        detections_overview(images, ["a", "b"], detections, NAMES, layouts[:1])
