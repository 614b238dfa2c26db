"""Whole commands on files changed at random: a result, or one line; either way nothing lies outside `out_dir`."""

import io
import json
import os
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save

from detinv.cli import main
from detinv.zoo.weights import bundled_weights
from tests.inputs.fuzz.mutations import COCO, HANDWRITTEN, changed, damaged

# A small share of them belongs to the default suite; the rest run with `-m slow`.
FEW, MANY = 2, 60
DETECTOR = "detector=shapes_fcos"
INVERT = ("invert", DETECTOR, "steps=1", "logger=none", "trainer.accelerator=cpu", "out_dir=out")
DETECT = ("detect", DETECTOR, "images=pictures", "out_dir=out")
ATTRIBUTE = ("attribute", DETECTOR, "images=pictures", "max_detections=1", "questions=[class]", "out_dir=out")


@pytest.fixture
def run(surroundings) -> Callable[..., None]:
    """Runs a command; what is in the working directory before is still there afterwards, beside `out` at most."""
    Path("pictures").mkdir()
    for name, sides in (("a.png", (64, 48)), ("b.png", (9, 9))):
        Image.effect_noise(sides, 90).convert("RGB").save(Path("pictures", name))

    def call(*words: str) -> None:
        out, err = io.StringIO(), io.StringIO()
        with surroundings.watched("out"), redirect_stdout(out), redirect_stderr(err):
            status = main(words)
            written = os.path.exists("out")
        told = err.getvalue()
        assert (status, written) in ((0, True), (2, False)), told
        if status == 2:
            assert told.startswith("detinv: ") and told.count("\n") == 1 and told.endswith("\n"), told
            assert told.removesuffix("\n").isprintable(), told

    return call


def rarely_damaged(content: Any, write: Callable[[Any], str]) -> st.SearchStrategy[bytes]:
    """A file of changed content, and every fourth of damaged bytes."""
    texts = changed(content).map(write).map(lambda text: text.encode("utf-8", "surrogatepass"))
    return st.one_of(texts, texts, texts, damaged(write(content).encode()))


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (FEW, (*DETECT, "annotations=a.json")),
        pytest.param(MANY, (*DETECT, "annotations=a.json"), marks=pytest.mark.slow),
        pytest.param(MANY, (*ATTRIBUTE, "annotations=a.json"), marks=pytest.mark.slow),
        pytest.param(MANY, (*INVERT, "layout=coco", "layout.annotations=a.json"), marks=pytest.mark.slow),
    ],
    ids=lambda given: str(given) if isinstance(given, int) else given[0],
)
def test_annotations(words, amount, fuzz, run):
    def check(data: bytes) -> None:
        Path("a.json").write_bytes(data)
        run(*words)

    fuzz(amount, rarely_damaged(COCO, json.dumps), check)


@pytest.mark.slow
def test_layouts(fuzz, run):
    def check(data: bytes) -> None:
        Path("a.yaml").write_bytes(data)
        run(*INVERT, "layout=file", "layout.path=a.yaml")

    fuzz(MANY, rarely_damaged(HANDWRITTEN, lambda content: yaml.safe_dump(content, allow_unicode=True)), check)


def picture() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((64, 48), 90).save(file, "PNG")
    return file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("words", [DETECT, ATTRIBUTE], ids=lambda words: words[0])
def test_images(words, fuzz, run):
    def check(data: bytes) -> None:
        Path("pictures", "a.png").write_bytes(data)
        run(*words)

    fuzz(MANY, damaged(picture()), check)


KINDS = st.sampled_from(["same", "half", "nan", "empty", "other"])
# What is done to the right weights; the files themselves are too large to be drawn.
recipes = st.fixed_dictionaries(
    {
        "changes": st.lists(
            st.tuples(st.integers(0, 99), st.sampled_from(["", "model.", "\x1b[2J"]), KINDS), max_size=2
        ),
        "prefix": st.sampled_from(["", "", "model.", "a."]),
        "entry": st.sampled_from([None, None, "state_dict", "x"]),
        "names": st.sampled_from(['["a"]', "[" * 99, "{"]),
        "damage": st.none() | st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=8)),
    }
)


def weights(recipe: dict[str, Any]) -> bytes:
    """The right weights, with a few changed, under other names, or damaged where the file says what it holds."""
    state = load_file(bundled_weights("shapes_fcos"))
    for number, prefix, kind in recipe["changes"]:
        key = sorted(state)[number % len(state)]
        value = state.pop(key)
        state[prefix + key] = {
            "same": value,
            "half": value.half(),
            "nan": value * float("nan"),
            "empty": value.new_zeros(0),
            "other": torch.ones(3),
        }[kind]
    state = {recipe["prefix"] + key: value for key, value in state.items()}
    if recipe["entry"] is None:
        data = save(state, {"class_names": recipe["names"]})
    else:
        file = io.BytesIO()
        torch.save({recipe["entry"]: state}, file)
        data = file.getvalue()
    place, some = recipe["damage"] or (0, b"")
    return data[:place] + some + data[place + len(some) :]


@pytest.mark.slow
@pytest.mark.parametrize("words", [INVERT, DETECT, ATTRIBUTE], ids=lambda words: words[0])
def test_weights(words, fuzz, run):
    def check(recipe: dict[str, Any]) -> None:
        Path("w").write_bytes(weights(recipe))
        run(*words, "detector.weights=w")

    fuzz(MANY, recipes, check)
