"""detinv as it is used from Python: sources of layouts, results that save themselves, layouts built from names."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import detinv
from detinv.errors import LayoutError, OutputError

NAMES = ("circle", "square", "star")
CPU = {"accelerator": "cpu"}


@pytest.fixture(scope="module")
def result() -> detinv.InversionResult:
    source = detinv.WorldLayouts("plain", count=2)
    return detinv.invert("shapes_retinanet", source, steps=0, trainer=CPU, progress=False)


def test_a_source_is_asked_for_layouts_of_the_detector(result):
    detector = detinv.load_detector("shapes_retinanet")
    source = detinv.WorldLayouts("plain", count=2)
    layouts = source.layouts(detector.class_names, detector.network_size, detector.detections_per_image)
    from_list = detinv.invert(detector, layouts, steps=0, trainer=CPU, progress=False)
    assert [layout.id for layout in result.layouts] == [layout.id for layout in layouts]
    assert all(torch.equal(a, b) for a, b in zip(result.images, from_list.images, strict=True))
    # A world says which stripes to look for; a list of layouts does not.
    assert result.metrics["striped_objects"] > 0 and "striped_objects" not in from_list.metrics


def test_a_result_saves_what_the_command_line_writes(result, tmp_path: Path):
    report = result.save(tmp_path / "out")
    assert report == tmp_path / "out" / "report.html"
    assert {path.name for path in report.parent.iterdir()} == {
        "images", "layouts.json", "detections.json", "metrics.json", "losses.csv", "overview.png", "report.html"
    }  # fmt: skip
    for layout, image in zip(result.layouts, result.images, strict=True):
        with Image.open(tmp_path / "out" / "images" / f"{layout.id}.png") as file:
            assert np.array_equal(np.asarray(file), image.permute(1, 2, 0).numpy())
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["steps"] == 0
    assert "shapes_retinanet inverted" in report.read_text() and "Configuration" not in report.read_text()
    assert "my title" in result.save(tmp_path / "out", title="my title").read_text()


def test_a_result_does_not_overwrite_a_run_of_the_command_line(result, tmp_path: Path):
    (tmp_path / "config.yaml").write_text("steps: 3\n")
    with pytest.raises(OutputError, match="holds a run of the command line"):
        result.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_result_without_an_image_saves_its_metrics(tmp_path: Path):
    nothing = detinv.InversionResult([], [], {"tiny": []}, NAMES, {"missing": {"a": "out of memory"}})
    assert nothing.save(tmp_path) == tmp_path / "metrics.json"
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
    assert nothing._repr_png_() is None


def test_a_result_is_short_in_a_terminal_and_a_picture_in_a_notebook(result):
    assert repr(result).startswith("InversionResult(2 images; shapes_retinanet; AP ")
    picture = result._repr_png_()
    assert picture is not None and picture.startswith(b"\x89PNG")


def test_layout_from_objects():
    layout = detinv.Layout.from_objects(
        [("star", (6, 6, 58, 56)), ("circle", np.float32([78, 8, 120, 50])), ("star", torch.tensor([0, 0, 128, 100]))],
        size=(100, 128),
        class_names=NAMES,
    )
    assert layout.boxes.dtype == torch.float32
    assert layout.boxes.tolist() == [[6, 6, 58, 56], [78, 8, 120, 50], [0, 0, 128, 100]]
    assert layout.labels.tolist() == [2, 0, 2]
    assert (layout.image_size, layout.id, layout.masks) == ((100, 128), "layout", None)
    assert len(detinv.Layout.from_objects([], size=(8, 8), class_names=NAMES, id="empty")) == 0


@pytest.mark.parametrize(
    ("label", "box", "problem"),
    [
        ("sqare", (0, 0, 5, 5), "object 1: unknown class 'sqare'; did you mean 'square'"),
        ("star", (0, 0, 5), "object 1: its box .* must be four finite numbers"),
        ("star", (0, 0, 5, float("nan")), "object 1: its box .* must be four finite numbers"),
        ("star", (5, 0, 5, 5), "object 1: box .* is reversed or empty"),
        ("star", (0, 0, 11, 5), "object 1: box .* lies outside its image of 10 x 20 pixels"),
    ],
)
def test_layout_from_objects_names_the_mistake(label, box, problem):
    with pytest.raises(LayoutError, match=f"layout mine: {problem}"):
        detinv.Layout.from_objects([("star", (0, 0, 5, 15)), (label, box)], size=(20, 10), class_names=NAMES, id="mine")


@pytest.mark.parametrize("size", [(0, 8), (8, -1), (10**6, 10**6)])
def test_layout_from_objects_needs_a_possible_size(size):
    with pytest.raises(LayoutError, match=r"size .* must be \(height, width\) in whole pixels"):
        detinv.Layout.from_objects([], size=size, class_names=NAMES)
