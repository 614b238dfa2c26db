"""Small annotation files in the form in which annotation programs export COCO: two images, a star and a ring."""

from typing import Any

CLASSES = ("star", "ring")
SQUARE = [4, 5, 24, 5, 24, 26, 4, 26]
BOXES = {"star": [4, 5, 20, 21], "ring": [1, 2, 9, 9]}
# Column by column: four columns of 48 pixels, then 5 pixels, 21 inside, and so on.
RUNS = [4 * 48 + 5, *([21, 27] * 19), 21, 48 * 40 + 22]
SIZES = {"a": (64, 48), "b": (30, 30)}

Content = dict[str, Any]


def images(start: int = 1, names: str = "{}.png", **more: Any) -> list[Content]:
    return [
        {"id": start + number, "file_name": names.format(stem), "width": width, "height": height, **more}
        for number, (stem, (width, height)) in enumerate(SIZES.items())
    ]


def things(start: int = 1, image: int = 1, star: int = 1, ring: int = 2, **more: Any) -> list[Content]:
    """One object in each image."""
    found = []
    for number, (name, category) in enumerate((("star", star), ("ring", ring))):
        box = list(BOXES[name])
        found.append(
            {"id": start + number, "image_id": image + number, "category_id": category, "bbox": box}
            | {"area": box[2] * box[3], "iscrowd": 0, "segmentation": [], **more}
        )
    return found


def cvat() -> Content:
    """CVAT, "COCO 1.0", rectangles."""
    return {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": dict.fromkeys(("contributor", "date_created", "description", "url", "version", "year"), ""),
        "categories": [{"id": 1, "name": "star", "supercategory": ""}, {"id": 2, "name": "ring", "supercategory": ""}],
        "images": images(license=0, flickr_url="", coco_url="", date_captured=0),
        "annotations": things(attributes={"occluded": False, "rotation": 0.0, "track_id": 3, "keyframe": True}),
    }


def cvat_polygons() -> Content:
    """CVAT, polygons with coordinates of two decimals."""
    content = cvat()
    content["annotations"][0]["segmentation"] = [[value + 0.25 for value in SQUARE]]
    content["annotations"][1]["segmentation"] = [[1.0, 2.0, 10.0, 2.0, 10.0, 11.0]]
    return content


def cvat_masks() -> Content:
    """CVAT, brush masks: run lengths, marked as crowds."""
    content = cvat()
    content["annotations"] = [
        content["annotations"][0] | {"iscrowd": 1, "segmentation": {"counts": RUNS, "size": [48, 64]}}
    ]
    return content


def datumaro() -> Content:
    """Datumaro: ids of images from 1, file names with folders, categories with `keypoints` of no use here."""
    content = cvat() | {"images": images(names="set/sub/{}.png", license=0, flickr_url="", coco_url="")}
    for entry in content["annotations"]:
        entry |= {"attributes": {}, "score": 1}
    return content


def roboflow() -> Content:
    """Roboflow: everything from 0, and the data set's own name as a category without objects."""
    return {
        "info": {"year": "2024", "version": "3", "description": "Exported from roboflow.com", "contributor": ""},
        "licenses": [{"id": 1, "url": "https://creativecommons.org/licenses/by/4.0/", "name": "CC BY 4.0"}],
        "categories": [
            {"id": 0, "name": "star", "supercategory": "none"},
            {"id": 1, "name": "ring", "supercategory": "star"},
            {"id": 2, "name": "star", "supercategory": "star"},
        ],
        "images": images(
            0, "{}_png.rf.0f3a.png", license=1, extra={"name": "a.png"}, date_captured="2024-05-01T10:00:00"
        ),
        "annotations": things(0, 0, star=2, ring=1),
    }


def label_studio() -> Content:
    """Label Studio: everything from 0, fractions of pixels, a key `ignore`."""
    content = {
        "images": images(0, "images/5f3a-{}.png"),
        "categories": [{"id": 0, "name": "ring"}, {"id": 1, "name": "star"}],
        "annotations": things(0, 0, star=1, ring=0, ignore=0),
        "info": {"year": 2024, "version": "1.0", "contributor": "Label Studio", "date_created": "2024-05-01 10:00:00"},
    }
    content["annotations"][0]["bbox"] = [3.999999999999999, 5.000000000000002, 19.999999999999996, 21.000000000000004]
    return content


def fiftyone() -> Content:
    """FiftyOne: null where a value is not known, a score of each object."""
    return {
        "info": {
            "year": "",
            "version": "",
            "description": "Exported from FiftyOne",
            "url": "https://voxel51.com/fiftyone",
        },
        "licenses": [],
        "categories": [
            {"id": 0, "name": "ring", "supercategory": None},
            {"id": 1, "name": "star", "supercategory": None},
        ],
        "images": images(license=None, coco_url=None),
        "annotations": things(star=1, ring=0, score=None, supercategory=None),
    }


def fiftyone_masks() -> Content:
    """FiftyOne: masks as polygons whose points are floats, the second of which is a mere line."""
    content = fiftyone()
    content["annotations"][0]["segmentation"] = [[float(value) for value in SQUARE], [3.5, 3.5, 4.5, 4.5]]
    content["annotations"][1]["segmentation"] = [[1.5, 2.5, 9.5, 2.5, 9.5, 10.5]]
    return content


def via() -> Content:
    """VGG Image Annotator: image ids in quotes, polygons without the list around them, keys of metadata last."""
    content = {
        "info": {"year": 2019, "version": "1.0", "description": "VIA project exported to COCO format"},
        "images": images(0, license=0, flickr_url="a.png", coco_url="a.png", date_captured=""),
        "annotations": things(0, 0),
        "licenses": [{"id": 0, "name": "Unknown License", "url": ""}],
        "categories": [
            {"supercategory": "kind", "id": 1, "name": "star"},
            {"supercategory": "kind", "id": 2, "name": "ring"},
        ],
    }
    for number, entry in enumerate(content["annotations"]):
        entry |= {"image_id": str(number), "segmentation": SQUARE if number == 0 else [1, 2, 10, 2, 10, 11]}
    return content


def pandas() -> Content:
    """A table turned into records: all numbers are floats, and NaN stands where nothing was."""
    content = {
        "images": images(license=float("nan")),
        "annotations": things(area=float("nan")),
        "categories": cvat()["categories"],
    }
    for section in content.values():
        for entry in section:
            entry |= {key: float(value) for key, value in entry.items() if type(value) is int}
    return content


def sam() -> Content:
    """Segment Anything and other programs on pycocotools: compressed run lengths, boxes of masks."""
    content = cvat()
    content["annotations"][0] |= {"segmentation": {"size": [48, 64], "counts": rle_text()}, "predicted_iou": 0.97}
    content["annotations"][1] |= {"segmentation": {"size": [30, 30], "counts": [32, *([9, 21] * 8), 9, 619]}}
    return content


def rle_text() -> str:
    from pycocotools import mask

    return mask.frPyObjects({"size": [48, 64], "counts": RUNS}, 48, 64)["counts"].decode()


def bare() -> Content:
    """Written by hand with no more than a detector needs: no crowds, areas, segmentations, licences or info."""
    content = cvat()
    content["annotations"] = [
        {key: entry[key] for key in ("id", "image_id", "category_id", "bbox")} for entry in content["annotations"]
    ]
    return {key: content[key] for key in ("images", "annotations", "categories")}


def keypoints() -> Content:
    """COCO's keypoints: skeletons of categories, points of objects."""
    content = cvat()
    for category in content["categories"]:
        category |= {"keypoints": ["tip"], "skeleton": []}
    for entry in content["annotations"]:
        entry |= {"keypoints": [5, 5, 2], "num_keypoints": 1}
    return content


def detectron2_converted() -> Content:
    """Detectron2's convert_to_coco_json: areas as floats, run lengths under a key of bytes turned into text."""
    content = sam()
    for entry in content["annotations"]:
        entry["area"] = float(entry["area"])
    return content | {"licenses": None, "info": {"date_created": "2024", "description": "Automatically generated"}}


def label_studio_brush() -> Content:
    """Label Studio, brushes and boxes mixed: null in place of a segmentation."""
    content = label_studio()
    content["annotations"][0]["segmentation"] = None
    return content


def makesense() -> Content:
    """makesense.ai: areas and boxes with many decimals, `iscrowd` of each, info with a version as text."""
    content = cvat() | {"info": {"description": "my-project-name"}}
    content["annotations"][1] |= {
        "bbox": [1.0000000001, 2, 8.9999999999, 9],
        "segmentation": [[1, 2, 10, 2, 10, 11, 1, 11]],
    }
    return content


READ = {
    build.__name__: build
    for build in (
        cvat, cvat_polygons, datumaro, roboflow, label_studio, label_studio_brush, fiftyone, fiftyone_masks, via,
        pandas, sam, bare, keypoints, detectron2_converted, makesense,
    )
}  # fmt: skip
"""Exports whose two objects are read as they are."""
