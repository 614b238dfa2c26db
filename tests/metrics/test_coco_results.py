"""COCO results made elsewhere: ids, rounding, and what is refused."""

import json
from pathlib import Path

import pytest
import torch

from detinv.errors import LayoutError
from detinv.metrics.coco_results import read_results
from detinv.metrics.coco_truth import AnnotatedImages, load_annotated


@pytest.fixture
def annotated(tmp_path: Path) -> AnnotatedImages:
    images = [{"id": number, "file_name": f"{number}.png", "width": 64, "height": 48} for number in (3, 8)]
    content = {"images": images, "annotations": [], "categories": [{"id": 5, "name": "cat"}, {"id": 9, "name": "dog"}]}
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(content))
    return load_annotated(path, ["dog", "cat"])


def entry(**changes):
    return {"image_id": 8, "category_id": 9, "bbox": [1.5, 2.25, 10.0, 20.0], "score": 0.25} | changes


def written(tmp_path: Path, content) -> Path:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content))
    return path


def test_detections_go_to_their_images_best_first(tmp_path, annotated):
    content = [entry(), entry(score=0.75, category_id=5.0), entry(image_id="3")]
    first, second = read_results(written(tmp_path, content), annotated).detections
    assert len(first) == 1 and first.image_size == (48, 64)
    assert second.scores.tolist() == [0.75, 0.25] and second.labels.tolist() == [1, 0]
    assert torch.equal(second.boxes[1], torch.tensor([1.5, 2.25, 11.5, 22.25]))


@pytest.mark.parametrize(
    ("box", "score", "expected"),
    [([1, 2, 3, 4], 1, (1.0, 0.5)), ([1.25, 2, 3, 4], 0.875, (0.01, 0.0005)), ([1e-7, 2, 3, 4], 0.5, (1e-7, 0.05))],
)
def test_rounding_is_that_of_the_written_digits(tmp_path, annotated, box, score, expected):
    found = read_results(written(tmp_path, [entry(bbox=box, score=score)]), annotated)
    assert found.rounding == pytest.approx(expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "expected COCO results"),
        ([1], "has no image_id"),
        ([entry(image_id=7)], "not among the annotated images"),
        ([entry(category_id=7)], "no class of the detector"),
        ([entry(score=1.5)], "no number from 0 to 1"),
        ([entry(score=True)], "no number from 0 to 1"),
        ([entry(bbox=[1, 2, 0, 4])], "has no area"),
        ([entry(bbox=[1, 2, 3])], "must be four numbers"),
    ],
)
def test_what_is_no_result_is_refused_by_its_place(tmp_path, annotated, content, message):
    with pytest.raises(LayoutError, match=message):
        read_results(written(tmp_path, content), annotated)


def test_a_file_that_is_no_json_is_refused(tmp_path, annotated):
    path = tmp_path / "results.json"
    path.write_text("[{")
    with pytest.raises(LayoutError, match="cannot be read as COCO results"):
        read_results(path, annotated)
