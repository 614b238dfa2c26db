"""Features captured with their gradient, and nothing left behind."""

from collections import OrderedDict, namedtuple

import pytest
import torch
from torch import nn

from detinv.detectors.feature_layers import FeatureLayer
from detinv.detectors.hooks import capture_features, count_hooks, forward_hooks
from detinv.errors import ConfigError

Pair = namedtuple("Pair", "fine coarse")


class Several(nn.Module):
    """Returns two maps in a container of the given kind."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, values):
        fine, coarse = 2 * values, values[..., ::2]
        return {
            "tensor": lambda: fine,
            "dict": lambda: OrderedDict(fine=fine, coarse=coarse),
            "list": lambda: [fine, coarse],
            "tuple": lambda: (fine, coarse, "a word", torch.arange(3)),
            "named": lambda: Pair(fine, coarse),
            "nested": lambda: {"levels": [fine, (coarse,)]},
        }[self.kind]()


class Net(nn.Module):
    """Several maps, then a shared head, whose rectifier works in place, on each of them."""

    def __init__(self, kind="dict"):
        super().__init__()
        self.stem = nn.Identity()
        self.split = Several(kind)
        self.head = nn.Sequential(nn.Linear(1, 3), nn.ReLU(inplace=True))
        self.unused = nn.Identity()
        self.requires_grad_(False)

    def maps(self, values):
        found = self.split(self.stem(values))
        if self.split.kind == "nested":
            return found["levels"][0], found["levels"][1][0]
        if self.split.kind == "tensor":
            return (found,)
        return tuple(found.values() if isinstance(found, dict) else found)[:2]

    def forward(self, values):
        return torch.cat([self.head(one[..., None]).flatten(1) for one in self.maps(values)], dim=1)


VALUES = torch.tensor([[1.0, -2.0, 3.0, -4.0]])
KEYS = {
    "tensor": (None,),
    "dict": ("fine", "coarse"),
    "list": ("0", "1"),
    "tuple": ("0", "1"),
    "named": ("0", "1"),
    "nested": ("levels.0", "levels.1.0"),
}


@pytest.mark.parametrize("kind", KEYS)
def test_gradient_with_respect_to_what_a_module_returned(kind):
    net = Net(kind)
    with torch.no_grad():
        expected = net(VALUES)
    layers = [FeatureLayer(str(key), "split", output=key) for key in KEYS[kind]]
    with capture_features(net, layers) as features:
        output = net(VALUES)
    assert torch.equal(output, expected)
    assert type(net.split(VALUES)) is type(Net(kind).split(VALUES))
    for number, key in enumerate(KEYS[kind]):
        feature = features[str(key)]
        torch.testing.assert_close(feature, [2 * VALUES, VALUES[..., ::2]][number], atol=0, rtol=0)
        weights = net.head[0].weight[:, 0]
        active = net.head[0](feature[..., None]) > 0
        (gradient,) = torch.autograd.grad(output.sum(), feature, retain_graph=True)
        torch.testing.assert_close(gradient, (active * weights).sum(-1))


@pytest.mark.parametrize("with_gradient", [False, True])
def test_pixels_need_not_require_a_gradient(with_gradient):
    net = Net()
    values = VALUES.clone().requires_grad_(with_gradient)
    with capture_features(
        net, [FeatureLayer("stem", "stem"), FeatureLayer("fine", "split", output="fine")]
    ) as features:
        output = net(values).sum()
    stem, fine = torch.autograd.grad(output, [features["stem"], features["fine"]], retain_graph=True)
    assert (stem.abs().sum(), fine.abs().sum()) > (0, 0)
    if with_gradient:
        torch.testing.assert_close(torch.autograd.grad(output, values)[0], stem)
    assert values.requires_grad is with_gradient


def test_no_graph_is_started_without_gradient():
    net = Net()
    with torch.no_grad(), capture_features(net, [FeatureLayer("stem", "stem")]) as features:
        net(VALUES)
    assert not features["stem"].requires_grad


def test_a_module_that_is_called_for_every_level_gives_all_of_them():
    net = Net()
    with capture_features(net, [FeatureLayer("head", "head.0")]) as features:
        output = net(VALUES)
    fine, coarse = features.every("head")
    assert (fine.shape, coarse.shape) == ((1, 4, 3), (1, 2, 3))
    # What the rectifier does in place is not what the module before it returned.
    assert bool((fine < 0).any()) and bool((output >= 0).all())
    gradients = torch.autograd.grad(output.sum(), [fine, coarse])
    for feature, gradient in zip((fine, coarse), gradients, strict=True):
        assert torch.equal(gradient, (feature > 0).float())
    with pytest.raises(ConfigError, match=r"head: 2 tensors in all calls of head\.0; use every\(\)"):
        features["head"]


def test_several_passes_and_forgetting_them():
    net = Net()
    with capture_features(net, [FeatureLayer("stem", "stem")]) as features:
        net(VALUES)
        net(2 * VALUES)
        assert len(features.every("stem")) == 2
        features.clear()
        net(3 * VALUES)
        assert torch.equal(features["stem"], 3 * VALUES)


def test_captures_within_each_other():
    net = Net()
    with capture_features(net, [FeatureLayer("stem", "stem")]) as outer:
        with capture_features(net, [FeatureLayer("stem", "stem")]) as inner:
            output = net(VALUES).sum()
        assert count_hooks(net) == 1
    gradients = torch.autograd.grad(output, [outer["stem"], inner["stem"]])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("layer", "problem"),
    [
        (FeatureLayer("x", "unused"), "layer x: unused was not called in the forward pass"),
        (FeatureLayer("x", "split", output="p9"), "layer x: split returns coarse, fine, not 'p9'"),
    ],
)
def test_a_layer_that_was_not_captured(layer, problem):
    net = Net()
    with capture_features(net, [layer]) as features:
        net(VALUES)
    assert "x" in features and "y" not in features
    with pytest.raises(ConfigError, match=problem):
        features["x"]


def test_a_layer_that_is_not_there_leaves_no_hook_on_the_others():
    net = Net()
    with (
        pytest.raises(ConfigError, match="layer y: the detector has no module 'nowhere'"),
        capture_features(net, [FeatureLayer("x", "stem"), FeatureLayer("y", "nowhere")]),
    ):
        pass
    assert count_hooks(net) == 0


def test_nothing_is_left_behind():
    net = Net()
    with capture_features(net, [FeatureLayer("stem", "stem"), FeatureLayer("head", "head.0")]):
        net(VALUES)
        assert count_hooks(net) == 2
    assert count_hooks(net) == 0
    with pytest.raises(RuntimeError), capture_features(net, [FeatureLayer("stem", "stem")]):
        net(VALUES.new_zeros(0, 3, 3, 3, 3).view(7))
    assert count_hooks(net) == 0


def test_other_hooks_stay():
    net = Net()
    calls = []
    handle = net.stem.register_forward_hook(lambda *_: calls.append("mine"))
    with forward_hooks([(net.stem, lambda *_: None)], [(net.split, lambda *_: calls.append("before"))]):
        assert count_hooks(net) == 3
        net(VALUES)
    assert calls == ["mine", "before"]
    assert count_hooks(net) == 1
    handle.remove()
