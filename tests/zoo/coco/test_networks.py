"""The networks are those that were published: their outputs equal the graphs', and the bundled weights are theirs."""

import importlib
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from detinv.zoo.coco.fastestdet import FastestDet
from detinv.zoo.coco.nanodet import NanoDet
from detinv.zoo.coco.yolox import YOLOXNano
from detinv.zoo.weights import bundled_weights, load_weights, read_metadata

DOCS = Path(__file__).resolve().parents[3] / "docs"
PUBLISHED = DOCS.parent.parent / "shared" / "weights"
NETWORKS = {"fastestdet": FastestDet, "nanodet_m": NanoDet, "yolox_nano": YOLOXNano}
SIDES = {"fastestdet": 352, "nanodet_m": 416, "yolox_nano": 416}
# Range of the inputs: of a normalised image, and of the colours themselves.
SCALES = {"fastestdet": (0.0, 1.0), "nanodet_m": (-2.0, 4.0), "yolox_nano": (0.0, 255.0)}
# Of the published networks, for the input of `waves`: outputs at these rows and columns.
PLACES = {
    "fastestdet": ([30, 100, 150, 200, 260, 300, 400, 470], [0, 1, 2, 3, 4, 5, 61, 0]),
    "nanodet_m": ([0, 900, 1800, 2700, 3000, 3379, 3400, 3500], [80, 85, 90, 100, 111, 81, 0, 84]),
    "yolox_nano": ([0, 900, 1800, 2703, 2704, 3379, 3400, 3548], [0, 1, 2, 3, 0, 2, 1, 3]),
}
VALUES = {
    "fastestdet": [0.0248, -0.0662, -0.0839, -0.1582, 2.8714, 0.0019, 0.0013, 0.0262],
    "nanodet_m": [1.9026, -0.2503, 0.3376, 0.1233, -0.592, 0.4542, 0.0261, 1.3971],
    "yolox_nano": [1.2187, 1.5383, 2.1604, 1.2636, 1.4849, 0.7348, 2.3516, 1.1431],
}
# What half precision of the kernels makes of it.
ROUNDING = {"fastestdet": 0.015, "nanodet_m": 0.008, "yolox_nano": 0.06}


def waves(name: str) -> torch.Tensor:
    """An image of waves, the same on every machine, in the range of the network's input."""
    side, (low, span) = SIDES[name], SCALES[name]
    y, x = torch.meshgrid(torch.arange(side) / side, torch.arange(side) / side, indexing="ij")
    colours = [torch.sin(9 * x + 5 * y), torch.cos(7 * x * y + 1), torch.sin(40 * (x - 0.5) * (y - 0.3))]
    return low + span * (torch.stack(colours)[None] + 1) / 2


def rows_of(name: str, output: torch.Tensor) -> torch.Tensor:
    """Outputs of one image as (rows, columns)."""
    return output[0].flatten(1).T if name == "fastestdet" else output[0]


def bundled(name: str) -> nn.Module:
    network = NETWORKS[name]()
    load_weights(network, bundled_weights(name))
    return network.eval()


@pytest.fixture
def convert(monkeypatch):
    pytest.importorskip("onnx", reason="needs the package onnx to read the published graphs")
    if not PUBLISHED.is_dir():
        pytest.skip(f"the published weights are not at {PUBLISHED}")
    monkeypatch.syspath_prepend(str(DOCS / "coco"))
    yield importlib.import_module("convert")
    sys.modules.pop("convert", None)


def published_network(convert, name: str) -> nn.Module:
    file, make = convert.SOURCES[name]
    return make(PUBLISHED / file).eval()


@pytest.mark.parametrize("name", ["nanodet_m", "yolox_nano"])
def test_outputs_are_those_of_the_published_graph(name, convert):
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime to run the published graphs")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    path = str(PUBLISHED / convert.SOURCES[name][0])
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    network = published_network(convert, name)
    low, span = SCALES[name]
    noise = low + span * torch.rand(1, 3, 416, 416, generator=torch.Generator().manual_seed(0))
    for inputs in (noise, waves(name)):
        found = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
        parts = [torch.from_numpy(one) for one in found]
        theirs = parts[0]
        if name == "nanodet_m":
            theirs = torch.cat([torch.cat(parts[:3], dim=1), torch.cat(parts[3:], dim=1)], dim=2)
        with torch.no_grad():
            torch.testing.assert_close(network(inputs), theirs, atol=1e-4, rtol=0)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"the published weights are not at {PUBLISHED}")
def test_fastestdets_outputs_are_those_of_the_guides_network(monkeypatch, convert):
    monkeypatch.syspath_prepend(str(DOCS / "fastestdet"))
    guide = importlib.import_module("fastestdet").FastestDet().eval()
    sys.modules.pop("fastestdet")
    guide.load_state_dict(
        torch.load(PUBLISHED / convert.SOURCES["fastestdet"][0], map_location="cpu", weights_only=True)
    )
    with torch.no_grad():
        found, wanted = published_network(convert, "fastestdet")(waves("fastestdet")), guide(waves("fastestdet"))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_bundled_weights_are_the_published_ones_in_half_precision(name, convert):
    wanted, found = published_network(convert, name).state_dict(), bundled(name).state_dict()
    assert list(found) == list(wanted)
    for key, value in wanted.items():
        assert torch.equal(found[key], value.half().float() if value.ndim >= 2 else value), key


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_with_bundled_weights_are_the_published_ones_but_for_rounding(name):
    with torch.no_grad():
        found = rows_of(name, bundled(name)(waves(name)))[PLACES[name]]
    torch.testing.assert_close(found, torch.tensor(VALUES[name]), atol=ROUNDING[name], rtol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_bundled_files_are_small_and_come_with_licence_and_card(name):
    path = bundled_weights(name)
    assert path.stat().st_size < 2_000_000
    assert len(read_metadata(path)["class_names"]) == 80
    folder = path.parent.parent
    assert "copyright" in (folder / "licences" / f"{name}.txt").read_text().lower()
    card = (folder / "cards" / f"{name}.md").read_text()
    assert "https://github.com/" in card and f"{sum(p.numel() for p in NETWORKS[name]().parameters()):,}" in card


@pytest.mark.parametrize("name", NETWORKS)
def test_random_weights_tell_images_and_cells_apart(name):
    torch.manual_seed(0)
    network, inputs = NETWORKS[name]().eval(), waves(name)[..., :128, :128]
    low, span = SCALES[name]
    noise = low + span * torch.rand(inputs.shape)
    with torch.no_grad():
        one, other = rows_of(name, network(inputs)), rows_of(name, network(noise))
    assert one.isfinite().all()
    assert one.std(0).mean() > 0.02
    assert (one - other).abs().mean() > 0.02
