"""Annotation files that cannot be used: each is refused by name, with the entry that is wrong."""

import copy
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from detinv.errors import LayoutError
from detinv.layouts.coco import load_coco
from detinv.layouts.sources import CocoLayouts, layouts_for
from tests.inputs.conftest import QUIET

GOOD = {
    "images": [
        {"id": 1, "file_name": "a.png", "width": 64, "height": 48},
        {"id": 2, "file_name": "b.png", "width": 30, "height": 30},
    ],
    "categories": [{"id": 3, "name": "star"}, {"id": 5, "name": "ring"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": [4, 5, 20, 21]},
        {"id": 2, "image_id": 2, "category_id": 5, "bbox": [1, 2, 9, 9]},
    ],
}


def changed(*path, to):
    """The good file with the entry at `path` replaced."""
    content = copy.deepcopy(GOOD)
    node = content
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = to
    return content


def without(*path):
    """The good file without the entry at `path`."""
    content = copy.deepcopy(GOOD)
    node = content
    for key in path[:-1]:
        node = node[key]
    del node[path[-1]]
    return content


def box(*values):
    return changed("annotations", 0, "bbox", to=list(values))


def mask(segmentation):
    return changed("annotations", 0, "segmentation", to=segmentation)


def rle(counts, size=(48, 64)):
    return mask({"size": list(size), "counts": counts})


def zigzag(points):
    return mask([[value for number in range(points) for value in (number % 2 * 999_999, number % 2 * -999_999)]])


TEXTS = {
    # name: (what the file holds, what the refusal names)
    "empty": (b"", "is an empty file"),
    "blank": (b"  \n\n", "not valid JSON"),
    "words": (b"no annotations at all", "not valid JSON"),
    "truncated": (json.dumps(GOOD).encode()[:200], "not valid JSON"),
    "trailing comma": (b'{"images": [],}', "not valid JSON"),
    "single quotes": (b"{'images': []}", "not valid JSON"),
    "two documents": (b"{}{}", "not valid JSON"),
    "binary": (bytes(range(256)), "not a text file"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(40), "is a PNG picture"),
    "archive": (b"\x1f\x8b\x08" + bytes(40), "is a gzip archive"),
    "half of utf-16": (json.dumps(GOOD).encode("utf-16")[:-1], "not a text file"),
    "latin-1": (b'{"images": "\xe9"}', "not a text file"),
    "pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\n", "is a pointer of Git LFS"),
    "page": (b"<!DOCTYPE html><html></html>", "is a web page"),
    "only a byte order mark": (b"\xef\xbb\xbf", "not valid JSON"),
    "nul bytes": (bytes(64), "not valid JSON"),
    "nested without end": (b"[" * 100_000, "cannot be read"),
    "nested objects without end": (b'{"a":' * 100_000, "cannot be read"),
    "number of too many digits": (b'{"images": ' + b"9" * 5000 + b"}", "cannot be read"),
    "yaml": (b"images: []\n", "not valid JSON"),
}

CONTENTS = {
    "null": (None, "holds a NoneType"),
    "number": (3, "holds a int"),
    "list": ([GOOD], "holds a list"),
    "string": ("images", "holds a str"),
    "results instead of truth": ([{"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 1}], "a list"),
    "nothing": ({}, "has no 'images'"),
    "no images": (without("images"), "has no 'images'"),
    "no annotations": (without("annotations"), "has no 'annotations'"),
    "no categories": (without("categories"), "has no 'categories'"),
    "images by name": (changed("images", to={"1": {}}), "'images' must be a list"),
    "images null": (changed("images", to=None), "'images' must be a list"),
    "annotation is a list": (changed("annotations", 0, to=[1, 2]), "'annotations' must be a list of objects"),
    "no image at all": ({**GOOD, "images": [], "annotations": []}, "no image"),
    "image without id": (without("images", 0, "id"), "images[0]: 'id' is missing"),
    "image without name": (without("images", 1, "file_name"), "images[1]: 'file_name' is missing"),
    "image without width": (without("images", 0, "width"), "images[0]: 'width' is missing"),
    "image id is text": (changed("images", 0, "id", to="one"), "images[0]: its id 'one' must be a whole number"),
    "image id is nothing in quotes": (changed("images", 0, "id", to=""), "images[0]: its id"),
    "image id is negative in quotes": (changed("images", 0, "id", to="-1"), "images[0]: its id"),
    "image id twice, once in quotes": (changed("images", 0, "id", to="2"), "image id 2 occurs twice"),
    "image id is true": (changed("images", 0, "id", to=True), "images[0]: its id"),
    "image id is a fraction": (changed("images", 0, "id", to=1.5), "images[0]: its id"),
    "image id is a list": (changed("images", 0, "id", to=[1]), "images[0]: its id"),
    "image id twice": (changed("images", 1, "id", to=1), "image id 1 occurs twice"),
    "image name is null": (changed("images", 0, "file_name", to=None), "its file_name None must be a text"),
    "image name is half a character": (changed("images", 0, "file_name", to="a\ud800.png"), "images[0]: its file_name"),
    "width zero": (changed("images", 0, "width", to=0), "images[0]: width 0"),
    "height negative": (changed("images", 0, "height", to=-48), "height -48"),
    "width a fraction": (changed("images", 0, "width", to=64.5), "width 64.5"),
    "width text": (changed("images", 0, "width", to="64"), "width '64'"),
    "width not a number": (changed("images", 0, "width", to=float("nan")), "width nan"),
    "height infinite": (changed("images", 0, "height", to=float("inf")), "height inf"),
    "more pixels than memory": (changed("images", 0, "width", to=10**12), "images[0]: width 1000000000000"),
    "width of 4000 digits": (changed("images", 0, "width", to=10**4000), "images[0]: width 1000"),
    "narrow as a line": (changed("images", 1, "width", to=1_000_000), "too narrow for this detector"),
    "category without name": (without("categories", 0, "name"), "categories[0]: 'name' is missing"),
    "category name a number": (changed("categories", 0, "name", to=7), "its name 7 must be a text, in quotes"),
    "category id null": (changed("categories", 0, "id", to=None), "categories[0]: its id"),
    "category id twice": (changed("categories", 1, "id", to=3), "category id 3 occurs twice"),
    "category half a character": (changed("categories", 0, "name", to="\udfff"), "categories[0]: its name"),
    "category that no detector knows": (changed("categories", 0, "name", to="stra"), "did you mean 'star'?"),
    "category of a thousand letters": (changed("categories", 0, "name", to="s" * 1000), "unknown class 'sss"),
    "category that clears the screen": (changed("categories", 0, "name", to="\x1b[2J\x1b]0;x\x07"), r"\x1b[2J"),
    "category that turns text round": (changed("categories", 0, "name", to="\u202egnir"), r"'\u202egnir'"),
    "annotation without box": (without("annotations", 1, "bbox"), "annotations[1]: 'bbox' is missing"),
    "annotation without image": (without("annotations", 0, "image_id"), "annotations[0]: 'image_id' is missing"),
    "annotation of no image": (changed("annotations", 0, "image_id", to=9), "image 9 is not among"),
    "annotation of no category": (changed("annotations", 0, "category_id", to=4), "category 4 is not among"),
    "annotation id is text": (changed("annotations", 0, "id", to="one"), "annotations[0]: its id"),
    "crowd is text": (changed("annotations", 0, "iscrowd", to="no"), "iscrowd 'no' must be 0 or 1"),
    "box of three": (box(1, 2, 3), "annotation 1 of image 1: its box [1, 2, 3]"),
    "box of five": (box(1, 2, 3, 4, 5), "four finite numbers"),
    "box is null": (changed("annotations", 0, "bbox", to=None), "its box None"),
    "box by name": (changed("annotations", 0, "bbox", to={"x": 1}), "its box {'x': 1}"),
    "box of text": (box("1", 2, 3, 4), "four finite numbers"),
    "box of truth values": (box(True, 2, 3, 4), "four finite numbers"),
    "box of lists": (box([1], 2, 3, 4), "four finite numbers"),
    "box not a number": (box(1, 2, float("nan"), 4), "four finite numbers"),
    "box infinite": (box(1, 2, 3, float("inf")), "four finite numbers"),
    "box huge": (box(1, 2, 1e30, 4), "four finite numbers"),
    "box of 4000 digits": (box(1, 2, 10**4000, 4), "four finite numbers"),
    "box empty": (box(1, 2, 0, 4), "reversed or empty"),
    "box reversed": (box(20, 20, -10, 4), "reversed or empty"),
    "box a hair's breadth": (box(1, 2, 1e-30, 4), "reversed or empty"),
    "box beyond the image": (box(50, 5, 20, 20), "outside its image of 64 x 48"),
    "box left of the image": (box(-9, 5, 20, 20), "outside its image"),
}


MASKS = {
    "mask is a number": (mask(7), "segmentation is a int"),
    "mask of two points": (mask([[1, 1, 2, 2]]), "no polygon of its segmentation has three points"),
    "mask of no point": (mask([[]]), "no polygon of its segmentation has three points"),
    "mask of odd numbers": (mask([[1, 1, 2, 2, 3, 3, 4]]), "polygon 0"),
    "mask of text": (mask([["1", 1, 2, 2, 3, 3]]), "not a finite number"),
    "mask not flat": (mask([[[1, 1], [2, 2], [3, 3]]]), "must be a list of x, y pairs"),
    "mask without end": (zigzag(50), "outline of more than"),
    "runs without counts": (mask({"size": [48, 64]}), "must be a string or a list"),
    "runs of another size": (rle([3072], (64, 48)), "its mask has size [64, 48]"),
    "runs of text": (rle("not runs \x7f"), "not a run-length encoding"),
    "runs cut short": (rle("0" * 3 + "P"), "in the middle of a number"),
    "runs too few": (rle([10, 10]), "have 20 pixels"),
    "runs negative": (rle([4000, -928]), "have 3072 pixels"),
    "runs of truth values": (rle([True, 3071]), "must be a string or a list"),
    "runs of 4000 digits": (rle([10**4000]), "the runs of its mask have 1000"),
    "runs of fractions": (rle([3071.5, 0.5]), "must be a string or a list"),
}


def invert(refused, path, naming):
    return refused("invert", "layout=coco", f"layout.annotations={path}", *QUIET, naming=(str(path), naming))


@pytest.mark.parametrize(("data", "naming"), TEXTS.values(), ids=TEXTS)
def test_what_is_no_json_is_refused(data, naming, refused, tmp_path: Path):
    (tmp_path / "instances.json").write_bytes(data)
    invert(refused, "instances.json", naming)


@pytest.mark.parametrize(("content", "naming"), CONTENTS.values(), ids=CONTENTS)
def test_what_is_no_coco_file_is_refused(content, naming, refused, tmp_path: Path):
    (tmp_path / "instances.json").write_text(json.dumps(content))
    invert(refused, "instances.json", naming)


@pytest.mark.parametrize(("content", "problem"), MASKS.values(), ids=MASKS)
def test_a_broken_segmentation_costs_a_detector_without_masks_no_box(content, problem, tmp_path: Path, caplog):
    (tmp_path / "instances.json").write_text(json.dumps(content))
    with pytest.raises(LayoutError, match=f"annotation 1 of image 1: .*{re.escape(problem)}.*layout.masks=false"):
        load_coco(tmp_path / "instances.json", ("star", "ring"))
    assert not caplog.records
    for _ in range(2):
        layouts = load_coco(tmp_path / "instances.json", ("star", "ring"), masks_needed=False)
        assert [(len(layout), layout.masks) for layout in layouts] == [(1, None), (1, None)]
    (said,) = caplog.messages
    assert problem in said and "1 such segmentation is left out" in said and said.isprintable()


def test_broken_segmentations_are_counted(tmp_path: Path, caplog):
    content = copy.deepcopy(GOOD)
    for entry in content["annotations"]:
        entry["segmentation"] = [[]]
    (tmp_path / "instances.json").write_text(json.dumps(content))
    source = CocoLayouts(tmp_path / "instances.json")
    detector = SimpleNamespace(class_names=("star", "ring"), detections_per_image=5, has_masks=True)
    detector.network_size = lambda size: size
    with pytest.raises(LayoutError, match="no polygon"):
        layouts_for(source, detector)
    detector.has_masks = False
    assert [len(layout) for layout in layouts_for(source, detector)] == [1, 1]
    assert "2 such segmentations are left out" in caplog.text
    with pytest.raises(LayoutError, match="no polygon"):
        source.layouts(("star", "ring"), lambda size: size, 5)


def test_polygons_without_area_are_passed_over_beside_others(tmp_path: Path):
    square = [4, 5, 24, 5, 24, 26, 4, 26]
    for segmentation in ([square], [[], square, [7, 7], [9, 9, 12, 12]]):
        (tmp_path / "instances.json").write_text(json.dumps(mask(segmentation)))
        (first, _) = load_coco(tmp_path / "instances.json", ("star", "ring"))
        assert first.masks is not None and int(first.masks.sum()) == 20 * 21


def written(number: int, form: str) -> int | float | str:
    return {"1": number, "1.0": float(number), '"1"': str(number), '"01"': f"0{number}"}[form]


@pytest.mark.parametrize("form", ["1.0", '"1"', '"01"'])
def test_whole_numbers_may_be_written_otherwise(form, tmp_path: Path):
    """Tables of numbers turn 1 into 1.0, and keys of JSON objects into "1"."""
    content = copy.deepcopy(GOOD)
    for section, keys in {"images": "id", "categories": "id", "annotations": "id image_id category_id"}.items():
        for entry in content[section]:
            entry |= {key: written(entry[key], form) for key in keys.split()}
    content["images"][0] |= {"width": 64.0, "height": 48.0}
    content["annotations"][0] |= {"iscrowd": 0.0, "segmentation": {"size": [48.0, 64.0], "counts": [72.0, 3000.0]}}
    for name, some in (("plain.json", rle([72, 3000])), ("other.json", content)):
        (tmp_path / name).write_text(json.dumps(some))
    (mine, second), (expected, _) = (
        load_coco(tmp_path / name, ("star", "ring"), image_ids=[1, 2]) for name in ("other.json", "plain.json")
    )
    assert mine.masks is not None and torch.equal(mine.masks, expected.masks)
    assert torch.equal(mine.boxes, expected.boxes) and torch.equal(mine.labels, expected.labels)
    assert second.labels.tolist() == [1] and mine.image_size == (48, 64)


def test_a_folder_is_refused(refused, tmp_path: Path):
    (tmp_path / "instances.json").mkdir()
    invert(refused, "instances.json", "cannot be read (Is a directory)")


@pytest.mark.parametrize("path", ["nowhere.json", "no/such/folder/instances.json", "x" * 300, "a\x1b[31m.json"])
def test_a_file_that_is_not_there_is_refused(path, refused):
    refused("invert", "layout=coco", f"layout.annotations='{path}'", *QUIET, naming="annotation")


def test_a_file_that_may_not_be_read_is_refused(refused, tmp_path: Path, monkeypatch):
    (tmp_path / "instances.json").write_text(json.dumps(GOOD))

    def read_bytes(self: Path, *arguments, **options):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        # Not by its mode, which does not keep an administrator out.
        patch.setattr("detinv.layouts.coco_file.Path.read_bytes", read_bytes)
        with pytest.raises(LayoutError, match=r"instances.json: .* cannot be read \(Permission denied\)"):
            load_coco("instances.json", ("star", "ring"))


@pytest.mark.parametrize(
    ("word", "naming"),
    [
        ("layout.count=3", "3 images requested, there are 2"),
        ("layout.count=0", "layout.count=0"),
        ("layout.count=-1", "layout.count=-1"),
        ("layout.seed=-1", "layout.seed=-1"),
        ("layout.seed=99999999999999999999", "layout.seed=99999999999999999999"),
        ("layout.min_side=-2", "layout.min_side=-2"),
        ("layout.min_side=nan", "layout.min_side=nan"),
        ("layout.min_area=-2", "layout.min_area=-2"),
        ("layout.image_ids=[7]", "no image with id 7"),
        ("layout.image_ids=[1,1]", "image id 1 is given twice"),
        ("layout.image_ids=[]", "no image to make a layout of"),
        # Whether the class says it or, in this suite, the check of its types before it.
        ("layout.count=many", "ayout"),
        ("layout.count=1.5", "ayout"),
        ("layout.image_ids=1", "ayout"),
        ("layout.image_ids=[a]", "ayout"),
        ("layout.annotations=[a]", "annotation"),
        ("layout.annotations=null", "ayout"),
    ],
)
def test_what_cannot_be_chosen_from_a_file_is_refused(word, naming, refused, tmp_path: Path):
    (tmp_path / "instances.json").write_text(json.dumps(GOOD))
    refused("invert", "layout=coco", "layout.annotations=instances.json", word, *QUIET, naming=naming)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path):
    (tmp_path / "instances.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode())
    assert [layout.id for layout in load_coco(tmp_path / "instances.json", ("star", "ring"))] == ["a", "b"]


def test_masks_that_would_fill_the_memory_are_refused(tmp_path: Path):
    """A file of a few kilobytes may claim hundreds of masks of a huge image."""
    content = copy.deepcopy(GOOD)
    content["images"][0] |= {"width": 9000, "height": 9000}
    thing = {"image_id": 1, "category_id": 3, "bbox": [1, 1, 5, 5]}
    runs = {"size": [9000, 9000], "counts": [0, 81_000_000]}
    content["annotations"] = [{**thing, "id": number, "segmentation": runs} for number in range(100)]
    (tmp_path / "bomb.json").write_text(json.dumps(content))
    with pytest.raises(LayoutError, match=r"bomb.json: the masks of image 1 .* layout.masks=false"):
        load_coco(tmp_path / "bomb.json", ("star", "ring"))
    assert len(load_coco(tmp_path / "bomb.json", ("star", "ring"), masks=False)[0]) == 100
