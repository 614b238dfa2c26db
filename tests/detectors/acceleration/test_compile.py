"""torch.compile of a detector's parts: which they are, and that numbers and gradients stay what they were."""

from functools import partial

import jaxtyping
import pytest
import torch

from detinv.detectors.acceleration import compile as compiled
from detinv.detectors.acceleration.accelerate import accelerated
from detinv.detectors.acceleration.full_precision import tf32
from detinv.detectors.torchvision.retinanet import TorchvisionRetinaNet
from detinv.errors import ConfigError, DetectorError
from detinv.inversion.modules.network import Network
from detinv.inversion.run import invert
from tests.fakes import FAMILIES, tiny_detector
from tests.inversion.modules.test_inversion import LAYOUTS
from tests.inversion.modules.test_network import batch, outputs_and_gradient

# Tests check the types of what is passed, and tracing looks at tensors in passing.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
    # Dynamo of torch 2.11 does so with every autograd function.
    pytest.mark.filterwarnings("ignore:.* should not be instantiated:DeprecationWarning"),
    # What torch 2.11 says of its own modules that `torch.compile` imports.
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
]

PARTS = {
    "retinanet": ["TinyPyramid", "RetinaNetHead"],
    "fcos": ["TinyPyramid", "FCOSClassificationHead", "Sequential", "Conv2d", "Conv2d"],
    "fasterrcnn": ["TinyPyramid", "RPNHead", "TwoMLPHead", "FastRCNNPredictor"],
    "maskrcnn": ["TinyPyramid", "RPNHead", "TwoMLPHead", "FastRCNNPredictor", "MaskRCNNHeads", "MaskRCNNPredictor"],
}


@pytest.fixture(autouse=True)
def traced(monkeypatch):
    """All that `torch.compile` does but turning graphs into programs, which takes a minute and a compiler."""
    monkeypatch.setattr(compiled, "_BACKEND", "aot_eager")
    torch._dynamo.reset()
    # Not all versions of torch can trace the checks of shapes and types.
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
    torch._dynamo.reset()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_outermost_parts_of_a_copy_are_compiled(family: str):
    detector = tiny_detector(family)
    lower = accelerated(detector, "default")
    assert lower is not detector
    found = [module for module in lower.modules() if module._compiled_call_impl is not None]
    assert [type(module).__name__ for module in found] == PARTS[family]
    assert not any(module._compiled_call_impl for module in detector.modules())


@pytest.mark.slow
@pytest.mark.parametrize("family", ["retinanet", "fasterrcnn"])
def test_numbers_and_gradients_stay_what_they_were(family: str):
    """Compared with the same copy, not compiled: what making it changes is rounding of another kind."""
    plain, fast = (Network(tiny_detector(family)) for _ in range(2))
    fast.compile_mode = "default"
    for network in (plain, fast):
        network.prepare()
    torch._dynamo.utils.counters.clear()
    ours = outputs_and_gradient(fast, 2)
    assert torch._dynamo.utils.counters["frames"]["ok"] >= len(PARTS[family])
    for found, expected in zip(ours, outputs_and_gradient(plain, 2), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.slow
def test_every_canvas_size_is_compiled():
    """torch by itself stops compiling a part after eight shapes, and runs it as it is."""
    network = Network(tiny_detector("retinanet"))
    network.compile_mode = "default"
    network.prepare()
    torch._dynamo.utils.counters.clear()
    sizes = [64 + 32 * number for number in range(10)]
    with torch.no_grad():
        for size in sizes:
            network(torch.rand(1, 3, 64, size))
    # Backbone and head once for each size.
    assert torch._dynamo.utils.counters["frames"]["ok"] >= 2 * len(sizes)
    assert torch._dynamo.utils.counters["frames"]["total"] == torch._dynamo.utils.counters["frames"]["ok"]


@pytest.mark.slow
def test_a_shape_too_many_is_an_error(monkeypatch):
    monkeypatch.setattr(compiled, "MOST_SHAPES", 2)
    network = Network(tiny_detector("retinanet"))
    network.compile_mode = "default"
    network.prepare()
    with torch.no_grad(), pytest.raises(DetectorError, match="compile_mode"):
        for size in (64, 96, 128):
            network(torch.rand(1, 3, 64, size))


class _Uncopyable(TorchvisionRetinaNet):
    def __deepcopy__(self, memo):
        raise TypeError("cannot be copied")


def test_a_network_that_cannot_be_compiled_is_an_error():
    plain = tiny_detector("retinanet")
    with pytest.raises(DetectorError, match="compile_mode=default.*cannot be copied"):
        accelerated(_Uncopyable(plain.model, plain.class_names), "default")


class _Skipping(torch.nn.Module):
    """Uses a convolution's output twice, so that folding the normalisation gives other numbers."""

    def __init__(self, block):
        super().__init__()
        self.conv, self.norm = block[0], block[1]

    def forward(self, images):
        found = self.conv(images)
        return torch.relu(self.norm(found) + 0.1 * found)


def test_a_network_without_a_faster_copy_is_compiled_all_the_same(caplog):
    detector = tiny_detector("retinanet")
    detector.model.backbone.stem = _Skipping(detector.model.backbone.stem).eval()
    copied = accelerated(detector, "default")
    assert "without acceleration" in caplog.text
    assert copied is not detector
    assert any(module._compiled_call_impl for module in copied.modules())
    assert not any(module._compiled_call_impl for module in detector.modules())


def test_one_that_is_not_compiled_does_not_get_the_other_s_copy():
    detector = tiny_detector("retinanet")
    networks = [Network(detector) for _ in range(3)]
    for network, mode in zip(networks, (None, "default", None), strict=True):
        network.compile_mode = mode
        network.prepare()
    assert [any(module._compiled_call_impl for module in network.runs.modules()) for network in networks] == [
        False,
        True,
        False,
    ]


@pytest.mark.slow
def test_an_inversion_descends_as_it_does_without():
    options = {"steps": 3, "trainer": {"accelerator": "cpu"}, "progress": False}
    plain, fast = (
        invert(tiny_detector("retinanet"), LAYOUTS[:2], **options, compile_mode=mode) for mode in (None, "default")
    )
    assert [row["total"] for row in fast.losses] == pytest.approx([row["total"] for row in plain.losses], rel=1e-2)
    assert fast.metrics["first_step_seconds"] > plain.metrics["first_step_seconds"] > 0


def test_a_part_within_a_part_is_not_compiled_by_itself():
    network = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()), torch.nn.Linear(2, 2))
    parts = compiled.compile_parts(network, partial(network, torch.zeros(1, 2)), "default")
    assert parts == [network[0], network[1]]
    pixels, *_ = batch(1)
    assert pixels.requires_grad, "hooks are gone and gradients are as before"


def test_what_was_compiled_for_another_rounding_is_not_run(monkeypatch):
    compilations = []

    def counting(graph, inputs):
        compilations.append(graph)
        return graph.forward

    monkeypatch.setattr(compiled, "_BACKEND", counting)
    network = Network(tiny_detector("retinanet"))
    network.compile_mode = "default"
    counts = []
    # Convolutions alone are rounded otherwise by default.
    for allowed in (None, None, False, None):
        with tf32(allowed), torch.no_grad():
            network.prepare()
            network(torch.zeros(1, 3, 64, 64))
        counts.append(len(compilations))
    first = counts[0]
    assert counts == [first, first, 2 * first, 3 * first]


@pytest.mark.parametrize("mode", ["fastest", "", 3, ["default"], True])
def test_an_unknown_mode_is_refused(mode):
    with pytest.raises(ConfigError, match="compile_mode"):
        compiled.check_mode(mode)
