"""Results do not depend on what a program has set for the whole of torch."""

from contextlib import ExitStack, nullcontext
from functools import cache

import pytest
import torch

import detinv
from detinv.errors import DetectorError
from detinv.inputs.torch_settings import own_tensor, usual_torch
from tests.fakes import tiny_detector

CPU = {"accelerator": "cpu"}


@cache
def as_usual(name: str) -> list[torch.Tensor]:
    return everything(name)


def everything(name: str) -> list[torch.Tensor]:
    """All that a program of the README does."""
    detector = detinv.load_detector(name)
    drawn = detinv.Layout.from_objects([("star", (6.3, 6, 58, 56))], size=(128, 128), class_names=detector.class_names)
    drawn = detinv.Layout(torch.tensor([[6.25, 6, 58, 56]], device="cpu"), drawn.labels, (128, 128), "a")
    result = detinv.invert(detector, [drawn], steps=1, progress=False, trainer=CPU)
    world = detinv.invert(detector, detinv.WorldLayouts("plain", count=1), steps=1, progress=False, trainer=CPU)
    found = detector.detect(result.images)
    (rows,) = detinv.locate_rows(detector, result.images, found)
    maps = detinv.attribute(detector, result.images, [[(6, 6, 58, 56)]], [[0]], questions=("class", "left"))
    errors = detinv.explain_errors(detector, result.images, [drawn])
    heats = [one.map for one in maps]
    return [
        *result.images,
        *world.images,
        found[0].boxes,
        found[0].scores,
        rows.rows,
        drawn.boxes,
        *heats,
        errors.images[0].judged.iou,
    ]


def set_to(what: str):
    if what == "float64, inference_mode and autocast":
        torch.set_default_dtype(torch.float64)
        stack = ExitStack()
        stack.enter_context(torch.inference_mode())
        stack.enter_context(torch.autocast("cpu", torch.bfloat16))
        return stack
    if what == "autocast":
        return torch.autocast("cpu", torch.bfloat16)
    if what in ("inference_mode", "no_grad"):
        return getattr(torch, what)()
    if what == "default_device":
        torch.set_default_device("meta")
        return nullcontext()
    torch.set_default_dtype(getattr(torch, what))
    return nullcontext()


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("shapes_retinanet", "float64, inference_mode and autocast"),
        pytest.param("shapes_retinanet", "autocast", marks=pytest.mark.slow),
        pytest.param("shapes_retinanet", "float64", marks=pytest.mark.slow),
        pytest.param("shapes_retinanet", "inference_mode", marks=pytest.mark.slow),
        pytest.param("shapes_retinanet", "no_grad", marks=pytest.mark.slow),
        pytest.param("shapes_retinanet", "bfloat16", marks=pytest.mark.slow),
        pytest.param("shapes_retinanet", "default_device", marks=pytest.mark.slow),
        pytest.param("shapes_maskrcnn", "float64", marks=pytest.mark.slow),
        pytest.param("shapes_maskrcnn", "inference_mode", marks=pytest.mark.slow),
    ],
)
def test_settings_change_nothing(name, what):
    before = as_usual(name)
    try:
        with set_to(what):
            after = everything(name)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    for one, other in zip(before, after, strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)


def test_settings_are_put_back():
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), torch.autocast("cpu"):
            with usual_torch():
                assert torch.zeros(1, requires_grad=True).dtype == torch.float32
                assert not torch.is_inference_mode_enabled() and not torch.is_autocast_enabled("cpu")
            assert torch.is_autocast_enabled("cpu")
        with pytest.raises(ZeroDivisionError), torch.device("meta"), usual_torch():
            assert torch.zeros(1).device.type == "cpu"
            1 / 0  # noqa: B018
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_tensor_of_inference_mode_becomes_one_s_own():
    with torch.inference_mode():
        made = torch.ones(2)
    assert not own_tensor(made).is_inference() and own_tensor(made).tolist() == [1, 1]
    usual = torch.ones(2)
    assert own_tensor(usual) is usual


def test_a_detector_that_no_gradient_can_pass_is_refused():
    with torch.inference_mode():
        detector = tiny_detector("retinanet")
    with pytest.raises(DetectorError, match="built within torch.inference_mode"):
        detinv.invert(detector, [], steps=0, trainer=CPU)


def test_a_detector_without_weights_is_refused():
    detector = tiny_detector("retinanet").to("meta")
    with pytest.raises(DetectorError, match="is on the device meta, which holds no weights"):
        detinv.attribute(detector, [])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_a_detector_that_was_converted_is_refused(dtype):
    detector = tiny_detector("retinanet").to(dtype)
    calls = {
        "invert": lambda: detinv.invert(detector, [], steps=0, trainer=CPU),
        "attribute": lambda: detinv.attribute(detector, []),
        "explain_errors": lambda: detinv.explain_errors(detector, [], []),
    }
    for call in calls.values():
        with pytest.raises(DetectorError, match=f"was converted to {dtype}; .*load it again"):
            call()
