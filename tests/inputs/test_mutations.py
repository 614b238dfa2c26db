"""Good files with something changed at random: a loader returns what it read, or refuses in words. Nothing else."""

import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save
from torch import nn

from detinv.config.composition import compose_config
from detinv.config.detectors import detector_node
from detinv.config.folders import config_dir
from detinv.config.instantiate import instantiate
from detinv.config.trust import check_resolved, trusting
from detinv.errors import DetinvError
from detinv.layouts.coco import load_coco
from detinv.layouts.handwritten import load_handwritten
from detinv.results.io.images import read_image
from detinv.zoo.weights import load_weights, read_metadata

NAMES = ("star", "ring")
COCO = {
    "images": [
        {"id": 1, "file_name": "a.png", "width": 64, "height": 48},
        {"id": 2, "file_name": "b.png", "width": 9, "height": 9},
    ],
    "categories": [{"id": 3, "name": "star"}, {"id": 5, "name": "ring"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": [4, 5, 20, 21], "segmentation": [[4, 5, 24, 5, 24, 26]]},
        {"id": 2, "image_id": 2, "category_id": 5, "bbox": [1, 2, 7, 7], "iscrowd": 0},
        {
            "id": 3,
            "image_id": 2,
            "category_id": 5,
            "bbox": [1, 2, 7, 7],
            "segmentation": {"size": [9, 9], "counts": "10A"},
        },
        {
            "id": 4,
            "image_id": 2,
            "category_id": 5,
            "bbox": [1, 2, 7, 7],
            "segmentation": {"size": [9, 9], "counts": [40, 41]},
        },
    ],
}
HANDWRITTEN = {
    "image_size": [64, 48],
    "layouts": [
        {"id": "a", "objects": [{"label": "star", "box": [1, 2, 30, 40]}]},
        [{"label": "ring", "box": [0, 0, 9, 9.5]}],
        [],
    ],
}
EXAMPLES = settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])

keys = st.sampled_from(["id", "box", "bbox", "label", "name", "_target_", "_partial_", "x", "", "counts", "defaults"])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.sampled_from([2**31, -(2**63), 10**30, 10**4000]),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["star", "\ud800", "\x1b[2J", "../../x", "${x}", "${oc.env:HOME}", "os.system", "1e5", "0x10"]),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6
)


def places(node: Any, path: tuple = ()) -> list[tuple]:
    """All paths into nested lists and mappings."""
    found = [path]
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        found += places(value, (*path, key))
    return found


@st.composite
def changed(draw: st.DrawFn, good: Any) -> Any:
    """The good content with one to three entries replaced, removed, doubled or added."""
    content = copy.deepcopy(good)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(content)))
        if not path:
            if draw(st.integers(0, 9)) == 0:
                return draw(values)
            continue
        node = content
        for key in path[:-1]:
            node = node[key]
        kind = draw(st.sampled_from(["replace", "replace", "remove", "double", "add"]))
        if kind == "replace":
            node[path[-1]] = draw(values)
        elif kind == "remove":
            del node[path[-1]]
        elif isinstance(node, list):
            node.insert(path[-1], copy.deepcopy(node[path[-1]]) if kind == "double" else draw(values))
        else:
            node[draw(keys)] = copy.deepcopy(node[path[-1]]) if kind == "double" else draw(values)
    return content


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """The good bytes cut, with some overwritten, removed or put in."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        some = draw(st.binary(min_size=1, max_size=8))
        kind = draw(st.sampled_from(["overwrite", "overwrite", "insert", "remove", "cut", "repeat"]))
        if kind == "overwrite":
            data[place : place + len(some)] = some
        elif kind == "insert":
            data[place:place] = some
        elif kind == "remove":
            del data[place : place + len(some)]
        elif kind == "cut":
            del data[place:]
        else:
            data[place:place] = data[place : place + 40] * draw(st.integers(1, 20))
    return bytes(data)


def attempt(load, *arguments) -> Any:
    """What a loader returns, or None where it refuses in words that can be printed."""
    try:
        return load(*arguments)
    except DetinvError as error:
        assert str(error).strip()
        return None


def coco(path: Path) -> None:
    """Read, with the frame a detector would have."""
    layouts = load_coco(path, NAMES, network_size=lambda size: (64, 64), detections_per_image=50)
    assert all(len(layout.id.encode()) >= 0 and layout.image_size == (64, 64) for layout in layouts)


def handwritten(path: Path) -> None:
    for layout in load_handwritten(path, NAMES, (64, 48)):
        assert layout.boxes.isfinite().all() and layout.id.isprintable()


@EXAMPLES
@given(changed(COCO))
def test_annotation_files_with_other_entries(tmp_path: Path, content):
    (tmp_path / "a.json").write_text(json.dumps(content))
    attempt(coco, tmp_path / "a.json")


@EXAMPLES
@given(damaged(json.dumps(COCO).encode()))
def test_annotation_files_with_other_bytes(tmp_path: Path, data):
    (tmp_path / "a.json").write_bytes(data)
    attempt(coco, tmp_path / "a.json")


@EXAMPLES
@given(changed(HANDWRITTEN), st.sampled_from(["a.json", "a.yaml"]))
def test_layout_files_with_other_entries(tmp_path: Path, content, name):
    text = json.dumps(content) if name == "a.json" else yaml.safe_dump(content, allow_unicode=True)
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    attempt(handwritten, tmp_path / name)


@EXAMPLES
@given(damaged(yaml.safe_dump(HANDWRITTEN).encode()), st.sampled_from(["a.json", "a.yaml"]))
def test_layout_files_with_other_bytes(tmp_path: Path, data, name):
    (tmp_path / name).write_bytes(data)
    attempt(handwritten, tmp_path / name)


def own_detector(path: Path) -> None:
    with trusting(False):
        node = detector_node(str(path))
        check_resolved({key: value for key, value in node.items() if "${" not in str(value)})


DETECTOR = (config_dir() / "detector" / "shapes_fcos.yaml").read_bytes()


@EXAMPLES
@given(damaged(DETECTOR) | changed(yaml.safe_load(DETECTOR)).map(lambda content: yaml.safe_dump(content).encode()))
def test_detector_files_with_anything_in_them(tmp_path: Path, data):
    (tmp_path / "mine.yaml").write_bytes(data)
    attempt(own_detector, tmp_path / "mine.yaml")


PRESET = yaml.safe_load((config_dir() / "preset" / "default.yaml").read_text())


@settings(EXAMPLES, max_examples=40)
@given(changed(PRESET))
def test_presets_with_other_entries(content):
    """Whatever a configuration says, nothing is built but what it may name."""

    def build() -> None:
        with trusting(False):
            built = instantiate(content)
        assert "${" not in str(content) or built is not None

    attempt(build)


words = st.sampled_from(
    [
        "steps",
        "+steps",
        "~steps",
        "rounds",
        "detector",
        "layout",
        "layout.seed",
        "preset",
        "preset.rule.topk",
        "a.b",
        "experiment",
    ]
)
givens = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["3", "-1", "null", "[", "[1,2]", "{a: 1}", "${steps}", "${oc.env:HOME}", "a=b", "'", "1,2", "shapes_fcos"]
    ),
)


@settings(EXAMPLES, max_examples=12)
@given(st.builds(lambda key, sign, value: f"{key}{sign}{value}", words, st.sampled_from(["=", "", "=="]), givens))
def test_overrides_of_any_kind(word):
    def compose() -> None:
        with trusting(False):
            compose_config("bench", [word] if "=" in word or word.startswith("~") else [f"benchmark={word}"])

    attempt(compose)


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def stored() -> dict[str, bytes]:
    state = network().state_dict()
    found = {"w.safetensors": save(state, {"class_names": '["a", "b"]', "deep": "[1]"})}
    for name, options in (("w.pt", {}), ("w.pth", {"_use_new_zipfile_serialization": False})):
        file = io.BytesIO()
        torch.save({"model": state, "epoch": 3}, file, **options)
        found[name] = file.getvalue()
    return found


WEIGHTS = stored()


@pytest.mark.parametrize("name", WEIGHTS)
@settings(EXAMPLES, max_examples=100)
@given(data=st.data())
def test_weights_with_other_bytes(tmp_path: Path, name, data):
    # Most of a file are padding and tensors; what says what they are lies at its ends.
    good = WEIGHTS[name]
    (tmp_path / name).write_bytes(data.draw(damaged(good)))
    model = network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    if attempt(load_weights, model, tmp_path / name, False) is None and attempt(read_metadata, tmp_path / name) is None:
        pass
    for key, value in model.state_dict().items():
        assert value.shape == before[key].shape and value.isfinite().all()


def pictures() -> dict[str, bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    found = {}
    for name, form, options in (
        ("a.png", "PNG", {}),
        ("a.jpg", "JPEG", {"quality": 90}),
        ("b.png", "PNG", {"dpi": (72, 72)}),
    ):
        image = Image.fromarray(pixels) if name != "b.png" else Image.fromarray(pixels).convert("P")
        file = io.BytesIO()
        image.save(file, form, **options)
        found[name] = file.getvalue()
    return found


PICTURES = pictures()


@pytest.mark.parametrize("name", PICTURES)
@settings(EXAMPLES, max_examples=100)
@given(data=st.data())
def test_images_with_other_bytes(tmp_path: Path, name, data):
    (tmp_path / name).write_bytes(data.draw(damaged(PICTURES[name])))
    image = attempt(read_image, tmp_path / name)
    assert image is None or (image.dtype == torch.uint8 and image.shape[0] == 3 and image.numel() > 0)
