"""Good files, and ways to change them at random, for tests of what a loader makes of the result."""

import copy
from typing import Any

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from torch import nn

from detinv.errors import DetinvError

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


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
