"""Ten thousand inputs of each kind: what is not read is refused in words, soon, within the memory that is stated here.

A small share of them belongs to the default suite; all of them run with `-m slow`.
"""

import io
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from PIL import Image
from safetensors.torch import save

from detinv.errors import DetinvError
from detinv.inversion.evaluation import evaluate
from detinv.layouts.coco import load_coco
from detinv.layouts.handwritten import load_handwritten
from detinv.layouts.layout import Detections
from detinv.metrics.coco_ap import coco_results
from detinv.metrics.coco_truth import load_annotated
from detinv.results.io.files import plain
from detinv.results.io.images import read_images
from detinv.results.io.names import file_stems
from detinv.zoo.weights import load_weights, read_metadata
from tests.inputs.files import exports
from tests.inputs.fuzz.mutations import COCO, HANDWRITTEN, NAMES, changed, damaged, network

SHARE, ALL = 40, 10_000
AMOUNTS = pytest.mark.parametrize("amount", [SHARE, pytest.param(ALL, marks=pytest.mark.slow)])


def refusable(check: Callable[[Any], None]) -> Callable[[Any], None]:
    """The check, which may also end in one line that says what is wrong."""

    def refused(value: Any) -> None:
        try:
            check(value)
        except DetinvError as error:
            assert str(error).strip() and "\n" not in str(error)

    return refused


def crowded() -> dict:
    content = exports.cvat_masks()
    content["annotations"] += exports.cvat_polygons()["annotations"]
    content["annotations"][0]["id"] = 9
    return content


CONTENTS = [COCO, crowded(), *(build() for build in exports.READ.values())]


@st.composite
def annotation_files(draw: DrawFn) -> bytes:
    content = draw(st.sampled_from(CONTENTS))
    if draw(st.integers(0, 3)) == 0:
        return draw(damaged(json.dumps(content).encode()))
    return json.dumps(draw(changed(content))).encode()


@AMOUNTS
def test_annotation_files(amount, fuzz):
    """Read for an inversion, and to judge by, as far as the numbers that are written."""

    def check(data: bytes) -> None:
        Path("a.json").write_bytes(data)
        for masks_needed in (True, False):
            try:
                layouts = load_coco("a.json", NAMES, masks_needed=masks_needed, network_size=lambda size: (64, 64))
            except DetinvError:
                if not masks_needed:
                    raise
        stems = file_stems([layout.id for layout in layouts])
        assert all(stem == os.path.basename(stem) and not stem.startswith(".") for stem in stems)
        truth = load_annotated("a.json", NAMES)
        found = [
            Detections(layout.boxes, torch.full((len(layout),), 0.9), layout.labels, layout.image_size, layout.masks)
            for layout in truth.layouts
        ]
        scores = evaluate(truth.layouts, found, NAMES, truth.crowds, truth.truth)
        assert scores["redetected"] <= scores["objects"]
        json.dumps(plain([scores, coco_results(truth.layouts, found, truth.image_ids, truth.category_ids)]))
        assert os.listdir() == ["a.json"]

    fuzz(amount, annotation_files(), refusable(check))


@st.composite
def layout_files(draw: DrawFn) -> tuple[str, bytes]:
    name = draw(st.sampled_from(["a.json", "a.yaml"]))
    content = HANDWRITTEN if draw(st.booleans()) else draw(changed(HANDWRITTEN))
    text = json.dumps(content) if name == "a.json" else yaml.safe_dump(content, allow_unicode=True)
    data = text.encode("utf-8", "surrogatepass")
    return name, draw(damaged(data)) if content is HANDWRITTEN else data


@AMOUNTS
def test_layout_files(amount, fuzz):
    def check(file: tuple[str, bytes]) -> None:
        name, data = file
        Path(name).write_bytes(data)
        layouts = load_handwritten(name, NAMES, (64, 48))
        assert all(layout.boxes.isfinite().all() and layout.id.isprintable() for layout in layouts)
        assert all(os.path.basename(stem) == stem for stem in file_stems([layout.id for layout in layouts]))

    fuzz(amount, layout_files(), refusable(check))


def pictures() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    image, found = Image.fromarray(pixels), []
    notes = Image.Exif()
    notes[0x0112] = 6
    for mode, form, options in (
        ("RGB", "PNG", {}),
        ("P", "PNG", {"transparency": bytes(range(256))}),
        ("LA", "PNG", {"exif": notes}),
        ("RGB", "PNG", {"save_all": True, "append_images": [image.rotate(90)]}),
        ("RGB", "JPEG", {"progressive": True, "exif": notes, "icc_profile": b"none"}),
        ("CMYK", "JPEG", {}),
        ("RGB", "MPO", {"save_all": True, "append_images": [image, image]}),
        ("RGB", "WEBP", {}),
        ("P", "GIF", {}),
    ):
        file = io.BytesIO()
        image.convert(mode).save(file, form, **options)
        found.append(file.getvalue())
    return found


def resized(data: bytes, sides: tuple[int, int]) -> bytes:
    """A PNG with other numbers in its header, and the right checksum."""
    header = b"IHDR" + struct.pack(">II", *sides) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


@AMOUNTS
def test_images(amount, fuzz):
    good = pictures()
    sides = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)) | st.tuples(*[st.integers(0, 9000)] * 2)
    claims = sides.map(lambda some: resized(good[0], some))

    def check(data: bytes) -> None:
        Path("a.jpg").write_bytes(data)
        _, (image,) = read_images(".")
        assert image.dtype == torch.uint8 and image.shape[0] == 3 and image.numel() > 0

    fuzz(amount, st.sampled_from(good).flatmap(damaged) | claims, refusable(check))


STATE = network().state_dict()
prefixes = st.sampled_from(["", "model.", "module.", "_orig_mod.", "ema.", "a.b.", "model._orig_mod.", "0.", "."])
entries = st.sampled_from(["model", "state_dict", "ema", "module", "optimizer", "", "x"])
tensors = st.builds(
    lambda shape, kind: torch.ones(shape, dtype=kind),
    st.lists(st.integers(0, 4), max_size=3),
    st.sampled_from([torch.float32, torch.float16, torch.int64, torch.bool, torch.complex64, torch.bfloat16]),
)


@st.composite
def checkpoints(draw: DrawFn) -> tuple[str, bytes]:
    """The right weights, a few of them changed, under other names and within other things."""
    state = {}
    for prefix in draw(st.lists(prefixes, min_size=1, max_size=2)):
        state |= {prefix + key: value.clone() for key, value in STATE.items()}
    for key in draw(st.lists(st.sampled_from(sorted(state)), max_size=3, unique=True)):
        value = state.pop(key)
        state[draw(st.sampled_from([key, key + ".x", "x." + key, "\x1b[2J"]))] = draw(tensors | st.just(value))
    if draw(st.booleans()):
        return "w.safetensors", save(state, {"class_names": draw(st.sampled_from(['["a"]', "[" * 99, "{", ""]))})
    content: Any = state
    for entry in draw(st.lists(entries, max_size=3)):
        content = {entry: content, "epoch": 3, **({"ema": state} if draw(st.booleans()) else {})}
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=draw(st.booleans()))
    return draw(st.sampled_from(["w.pt", "w.ckpt", "w"])), file.getvalue()


@st.composite
def headers(draw: DrawFn) -> tuple[str, bytes]:
    """A safetensors file whose header, changed, still has the length that it says."""
    data = save(STATE, {"class_names": '["a", "b"]'})
    (length,) = struct.unpack("<Q", data[:8])
    text = draw(changed(json.loads(data[8 : 8 + length])).map(json.dumps) | st.just("")).encode("utf-8", "replace")
    text = text or draw(damaged(data[8 : 8 + length]))
    return "w.safetensors", struct.pack("<Q", len(text)) + text + data[8 + length :]


@pytest.mark.filterwarnings("ignore:.*TypedStorage is deprecated")
@AMOUNTS
def test_weights(amount, fuzz):
    def check(file: tuple[str, bytes]) -> None:
        name, data = file
        Path(name).write_bytes(data)
        model = network()
        before = {key: value.clone() for key, value in model.state_dict().items()}
        try:
            read_metadata(name)
            load_weights(model, name)
        except DetinvError:
            assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
            raise
        for key, value in model.state_dict().items():
            assert value.shape == before[key].shape and value.dtype == before[key].dtype and value.isfinite().all()

    damage = checkpoints().flatmap(lambda file: damaged(file[1]).map(lambda data: (file[0], data)))
    fuzz(amount, checkpoints() | headers() | damage, refusable(check))
