"""COCO files: what is read, what is refused, and in which words."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as rle

from detinv.errors import LayoutError
from detinv.layouts import coco_file
from detinv.layouts.coco import load_coco
from detinv.layouts.segmentations import rasterised

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
NAMES = ("disc", "star", "ring")


def content(**changes):
    """Two images; category ids have gaps and another order than the detector's names."""
    base = {
        "images": [
            {"id": 7, "file_name": "folder/seven.jpg", "height": 40, "width": 60},
            {"id": 3, "file_name": "three.png", "height": 20, "width": 20},
        ],
        "categories": [{"id": 5, "name": "ring"}, {"id": 90, "name": "disc"}, {"id": 91, "name": "toaster"}],
        "annotations": [
            annotation(1, 7, 90, [10, 5, 20, 30], [[10, 5, 30, 5, 30, 35, 10, 35]]),
            annotation(2, 7, 5, [0, 0, 10, 10], [[0, 0, 10, 0, 10, 10, 0, 10]]),
            annotation(3, 3, 5, [2, 2, 8, 4], [[2, 2, 10, 2, 10, 6, 2, 6]]),
        ],
    }
    return base | changes


def annotation(id, image_id, category_id, box, segmentation=None, iscrowd=0):
    entry = {"id": id, "image_id": image_id, "category_id": category_id, "bbox": box, "iscrowd": iscrowd}
    return entry if segmentation is None else entry | {"segmentation": segmentation}


@pytest.fixture
def load(tmp_path):
    def call(data, **options):
        path = tmp_path / "some.json"
        path.write_text(data if isinstance(data, str) else json.dumps(data))
        return load_coco(path, NAMES, **options)

    return call


def test_a_file_is_parsed_once_until_it_changes(tmp_path, monkeypatch):
    """Two detectors ask for their layouts; then a file of the same size, changed at another time, takes its place."""
    path, parsed = tmp_path / "some.json", []
    monkeypatch.setattr(coco_file, "COCO", lambda *args, new=coco_file.COCO: parsed.append(1) or new(*args))

    def write(number, time):
        path.write_text(json.dumps(content()).replace('"bbox": [10, 5', f'"bbox": [1{number}, 5'))
        os.utime(path, (time, time))

    def first_side():
        return [load_coco(path, names)[1].boxes[0, 0].item() for names in (NAMES, NAMES[::-1])]

    write(1, time=1_000_000)
    assert first_side() == [11, 11] and len(parsed) == 1
    write(2, time=1_000_001)
    assert first_side() == [12, 12] and len(parsed) == 2
    # A moment ago: whether it has changed since cannot be seen.
    path.write_text(json.dumps(content()))
    assert first_side() == [10, 10]
    path.write_text(path.read_text().replace("[10, 5, 20", "[13, 5, 20"))
    assert first_side() == [13, 13]


def test_layouts_by_ascending_id_with_labels_by_name(load, capsys):
    three, seven = load(content())
    assert (three.id, seven.id) == ("three", "seven")
    assert seven.image_size == (40, 60) and seven.labels.tolist() == [0, 2] and three.labels.tolist() == [2]
    assert seven.boxes.tolist() == [[10, 5, 30, 35], [0, 0, 10, 10]]
    assert seven.masks[0, 5:35, 10:30].all() and seven.masks[0].sum() == 600
    assert capsys.readouterr().out == ""


def test_network_size_scales_boxes_with_masks(load):
    plain, scaled = load(content()), load(content(), network_size=lambda size: (2 * size[0], 3 * size[1]))
    assert scaled[1].image_size == (80, 180)
    assert scaled[1].boxes.tolist() == [[30, 10, 90, 70], [0, 0, 30, 20]]
    assert scaled[1].masks.sum() == 6 * plain[1].masks.sum()
    assert scaled[1].masks[0, 10:70, 30:90].all()


def test_min_side_counts_network_pixels(load):
    options = {"min_side": 5.0, "masks": False}
    assert [len(layout) for layout in load(content(), **options)] == [0, 2]
    assert [len(layout) for layout in load(content(), network_size=lambda s: (2 * s[0], 2 * s[1]), **options)] == [1, 2]


def test_min_area_counts_the_areas_of_the_file(load):
    """The network's frame does not matter; an area that is none gives way to the box's."""
    data = content()
    for entry, area in zip(data["annotations"], (99.5, 100, None), strict=True):
        entry["area"] = area
    doubled = {"network_size": lambda size: (2 * size[0], 2 * size[1])}
    assert [layout.labels.tolist() for layout in load(data, min_area=100)] == [[], [2]]
    assert [len(layout.masks) for layout in load(data, min_area=99.5, **doubled) if len(layout)] == [2]
    assert [len(layout) for layout in load(data, min_area=32, **doubled)] == [1, 2]


def test_crowds_are_dropped(load):
    crowd = {"size": [20, 20], "counts": [0, 400]}
    data = content()
    data["annotations"].append(annotation(4, 3, 91, [0, 0, 20, 20], crowd, iscrowd=1))
    assert len(load(data)[0]) == 1


def test_masks_need_a_segmentation_of_every_object(load):
    data = content()
    data["annotations"][0].pop("segmentation")
    three, seven = load(data)
    assert seven.masks is None and three.masks is not None
    assert all(layout.masks is None for layout in load(content(), masks=False))


def test_masks_that_vanish_in_the_network_are_dropped(load):
    assert load(content(), network_size=lambda size: (1, 1))[1].masks is None


def test_image_without_objects_is_an_empty_layout(load):
    assert [len(layout) for layout in load(content(annotations=[]))] == [0, 0]


def test_box_off_by_rounding_is_clipped(load):
    data = content(annotations=[annotation(1, 3, 5, [-0.5, 3, 21.4, 5])])
    assert load(data)[0].boxes.tolist() == [[0, 3, 20, 8]]


def test_choice_of_images_by_seed(load):
    many = content(
        images=[{"id": 3 * k + 1, "file_name": f"{k}.jpg", "height": 9, "width": 9} for k in range(30)], annotations=[]
    )
    first, again, other = ([layout.id for layout in load(many, count=8, seed=seed)] for seed in (0, 0, 1))
    assert first == again != other
    assert len(set(first)) == 8 and first == sorted(first, key=int)
    assert sorted((layout.id for layout in load(many, count=30)), key=int) == [str(k) for k in range(30)]


def test_image_ids_keep_their_order(load):
    assert [layout.id for layout in load(content(), image_ids=[7, 3])] == ["seven", "three"]
    assert [layout.id for layout in load(content(), image_ids=[7], count=1)] == ["seven"]


def test_equal_file_names_fall_back_to_the_image_id(load):
    data = content(annotations=[])
    data["images"] = [
        {"id": k, "file_name": name, "height": 9, "width": 9} for k, name in enumerate(["a/x.jpg", "b/x.jpg", "1.jpg"])
    ]
    assert [layout.id for layout in load(data)] == ["0", "x-1", "1"]


def test_unknown_category_matters_only_where_it_occurs(load):
    load(content())
    data = content(categories=[{"id": 5, "name": "Rings"}, {"id": 90, "name": "disc"}])
    with pytest.raises(LayoutError, match=r"some.json: annotation 3 of image 3: unknown class 'Rings'.*mean 'ring'\?"):
        load(data)


@pytest.mark.parametrize(
    ("box", "problem"),
    [
        ([2, 2, -3, 4], "reversed or empty"),
        ([2, 2, 0, 4], "reversed or empty"),
        ([2, 2, 1e-9, 4], "reversed or empty"),
        ([float("nan"), 2, 3, 4], "four finite numbers"),
        ([2, 2, float("inf"), 4], "four finite numbers"),
        ([2, 2, 10**400, 4], "four finite numbers"),
        ([2, 2, 3], "four finite numbers"),
        ([2, 2, "3", 4], "four finite numbers"),
        (None, "four finite numbers"),
        ([10, 2, 12, 4], "outside its image of 20 x 20"),
        ([-1.5, 2, 12, 4], "outside its image.*clip the box"),
        ([12, 2, 18, 14], "outside its image.*if they are x0, y0, x1, y1"),
        ([20, 2, 0.5, 4], "reversed or empty"),
    ],
)
def test_bad_box_is_named(load, box, problem):
    with pytest.raises(LayoutError, match=f"some.json: annotation 9 of image 3: .*{problem}"):
        load(content(annotations=[annotation(9, 3, 5, box)]))


@pytest.mark.parametrize(
    ("segmentation", "problem"),
    [
        ({"size": [20, 21], "counts": [0, 420]}, r"size \[20, 21\], but its image is 20 high and 20 wide"),
        ({"size": [20, 20], "counts": [0, 399]}, "have 399 pixels, its image has 400"),
        ({"size": [20, 20], "counts": [401, -1]}, "have 400 pixels"),
        ({"size": [20, 20], "counts": "05"}, "have 5 pixels"),
        ({"size": [20, 20], "counts": "\u00ff!"}, "not a run-length encoding"),
        ({"size": [20, 20], "counts": "o"}, "middle of a number"),
        ({"size": [20, 20]}, "counts of its mask must be"),
        ({"size": [20, 20], "counts": [0, 400.5]}, "counts of its mask must be"),
        ([[1, 2, 3]], "polygon 0 .*at least three"),
        ([[1, 2, 3, 4]], "no polygon .*three points"),
        ([[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 7]], "polygon 1 .*x, y pairs"),
        ([[1, 2, 3, 4, 5, float("nan")]], "polygon 0 .*not a finite number"),
        ("polygon", "segmentation is a str"),
    ],
)
def test_bad_segmentation_is_named(load, segmentation, problem):
    with pytest.raises(LayoutError, match=f"some.json: annotation 9 of image 3: .*{problem}"):
        load(content(annotations=[annotation(9, 3, 5, [2, 2, 5, 5], segmentation)]))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("{", "not valid JSON .line 1"),
        ("[]", "holds a list"),
        ({"images": [], "annotations": []}, "has no 'categories'"),
        (content(images={}), "'images' must be a list"),
        (content(images=[{"id": 1, "file_name": "a.jpg", "height": 4}]), r"images\[0\]: 'width' is missing"),
        (content(images=[{"id": 1, "file_name": "a", "height": 4, "width": 0}]), r"images\[0\]: .*positive"),
        (content(images=[{"id": "one", "file_name": "a", "height": 4, "width": 4}]), r"images\[0\]: its id"),
        (content(images=content()["images"][:1] * 2), r"images\[1\]: image id 7 occurs twice"),
        (content(annotations=[{"id": 1, "image_id": 3, "category_id": 5}]), r"annotations\[0\]: 'bbox' is missing"),
        (content(annotations=[annotation(1, 4, 5, [0, 0, 1, 1])]), r"annotations\[0\]: image 4 is not among"),
        (content(annotations=[annotation(1, 3, 6, [0, 0, 1, 1])]), r"annotations\[0\]: category 6 is not among"),
        (content(categories=[{"id": 5}]), r"categories\[0\]: 'name' is missing"),
        (content(annotations=[annotation(1, 3, 5, [0.1, 0.1, 0.4, 0.2])]), "every box .* fractions .* multiply x"),
    ],
)
def test_broken_file_is_named(load, data, problem):
    with pytest.raises(LayoutError, match=f"some.json: {problem}") as caught:
        load(data)
    assert "\n" not in str(caught.value)


def test_an_image_may_be_one_pixel(load):
    image = {"id": 3, "file_name": "a.png", "height": 1, "width": 1}
    (layout,) = load(content(images=[image], annotations=[annotation(1, 3, 5, [0, 0, 1, 1])]))
    assert layout.boxes.tolist() == [[0, 0, 1, 1]]


def test_file_that_cannot_be_read(tmp_path):
    with pytest.raises(LayoutError, match="missing.json: no such annotation file"):
        load_coco(tmp_path / "missing.json", NAMES)
    with pytest.raises(LayoutError, match="cannot be read"):
        load_coco(tmp_path, NAMES)
    (tmp_path / "binary.json").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(LayoutError, match="is a JPEG picture"):
        load_coco(tmp_path / "binary.json", NAMES)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"count": 3}, "3 images requested, there are 2"),
        ({"count": 0}, "0 images requested, there are 2"),
        ({"image_ids": [3, 8]}, "no image with id 8"),
        ({"image_ids": [3, 3]}, "image id 3 is given twice"),
        ({"image_ids": []}, "no image to make a layout of"),
        ({"detections_per_image": 1}, "layout seven: 2 objects, larger than the detector allows .at most 1"),
    ],
)
def test_impossible_choice_is_explained(load, options, problem):
    with pytest.raises(LayoutError, match=f"some.json: {problem}"):
        load(content(), **options)


def test_all_three_segmentation_formats_agree():
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(31, 47, generator=generator) > 0.6
    mask[5:25, 10:40] = True
    compressed = rle.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
    flat = mask.T.flatten().tolist()
    counts, current, run = [], False, 0
    for value in flat:
        if value != current:
            counts.append(run)
            current, run = value, 0
        run += 1
    counts.append(run)
    for text in (compressed["counts"].decode(), counts):
        assert torch.equal(rasterised({"size": [31, 47], "counts": text}, (31, 47), "here"), mask)
    square = rasterised([[2, 3, 12, 3, 12, 9, 2, 9], [20, 20, 25, 20, 25, 24, 20, 24]], (31, 47), "here")
    expected = torch.zeros(31, 47, dtype=torch.bool)
    expected[3:9, 2:12] = expected[20:24, 20:25] = True
    assert torch.equal(square, expected)


@pytest.mark.parametrize("nothing", [None, [], [[50, 50, 60, 50, 60, 60]], {"size": [9, 9], "counts": [81]}])
def test_segmentation_that_covers_nothing_is_none(nothing):
    assert rasterised(nothing, (9, 9), "here") is None


@pytest.mark.skipif(not (SHARED / "coco_val40").exists(), reason="needs shared/data/coco_val40")
def test_real_coco_file():
    path = SHARED / "coco_val40" / "instances.json"
    data = json.loads(path.read_text())
    names = [category["name"] for category in data["categories"]]
    layouts = load_coco(path, names)
    kept = [entry for entry in data["annotations"] if not entry["iscrowd"]]
    assert len(layouts) == 40 and sum(map(len, layouts)) == len(kept)
    for layout in layouts:
        entries = [entry for entry in kept if entry["image_id"] == int(layout.id)]
        boxes = torch.tensor([entry["bbox"] for entry in entries]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        torch.testing.assert_close(layout.boxes, boxes)
        for mask, entry in zip(layout.masks if entries else [], entries, strict=True):
            own = rle.merge(rle.frPyObjects(entry["segmentation"], *layout.image_size))
            assert rle.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))["counts"] == own["counts"]
    halves = load_coco(path, names, network_size=lambda size: (size[0] // 2, size[1] // 2))
    assert [layout.image_size for layout in halves] == [(h // 2, w // 2) for h, w in (x.image_size for x in layouts)]
    assert sum(layout.masks is not None for layout in halves) >= 30


@pytest.mark.skipif(not (SHARED / "bccd").exists(), reason="needs shared/data/bccd")
def test_real_blood_cells():
    layouts = load_coco(SHARED / "bccd" / "val.json", ["RBC", "WBC", "Platelets"])
    assert len(layouts) == 87 and sum(map(len, layouts)) == 1137 and layouts[0].masks is None
    with pytest.raises(LayoutError, match=re.escape("unknown class 'WBC' (the detector knows disc, star, ring)")):
        load_coco(SHARED / "bccd" / "val.json", NAMES)
