"""Arguments of other types than a function takes: one line says what to give instead."""

import pathlib  # noqa: F401

import pytest
import torch

import detinv
from tests.calls.checked import unchecked

rgb = torch.zeros(3, 64, 64, dtype=torch.uint8)
layout = detinv.Layout.from_objects([("star", (6, 6, 58, 56))], size=(64, 64), class_names=("star",))
model = torch.nn.Linear(1, 1)
TOLD = {
    **{
        f"detinv.load_detector({name!r}).detect([rgb / 255])": "ConfigError images[0]: expected a uint8 tensor"
        for name in ("shapes_fcos", "fastestdet", "nanodet_m", "yolox_nano")
    },
    "detinv.load_detector('shapes_fcos').detect(rgb)": "ConfigError images: expected a list of images",
    "detinv.attribute(model, [rgb])": "DetectorError detector: expected a name or an AbstractDetector",
    "detinv.attribute('shapes_fcos', [rgb], [[[6, 6, 58, 56]]], [['star']])": "LayoutError labels[0]: class numbers",
    "detinv.invert(model, [layout])": "DetectorError detector: expected a name or an AbstractDetector",
    "detinv.load_detector(model)": "DetectorError expected the name of a detector",
    "detinv.load_detector(pathlib.Path('a.yaml'))": "DetectorError a.yaml",
    "detinv.invert('shapes_fcos', layout)": "LayoutError layouts: expected a list, got a single layout",
    "detinv.invert('shapes_fcos', 'a.json')": "LayoutError layouts: expected a list of layouts or a source",
    "detinv.invert('shapes_fcos', [layout, rgb])": "LayoutError layouts[1]: expected a Layout, got a Tensor",
    "detinv.Layout.from_objects([], 320, ('star',))": "LayoutError layout layout: size 320 must be (height, width)",
}


@pytest.mark.parametrize(("call", "told"), TOLD.items())
def test_what_is_of_another_type_is_named(call: str, told: str):
    # Within the tests, types are checked before a function sees its arguments; a user's program has no such check.
    with unchecked(), pytest.raises(detinv.DetinvError) as error:
        eval(call)
    assert f"{type(error.value).__name__} {error.value}".startswith(told)
