"""The network against torchvision's own, and weights that are not there."""

import urllib.error

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import VGG19_Weights
from torchvision.models.vgg import cfgs, make_layers

from detinv.errors import ConfigError, DetectorError
from detinv.experiments.textures.vgg import VGGFeatures


@pytest.fixture(scope="module")
def network():
    return VGGFeatures("random")


def test_activations_are_those_of_torchvisions_network(network):
    theirs = make_layers(cfgs["E"])
    theirs.load_state_dict(network.features.state_dict())
    pixels = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    inputs = (pixels - mean[:, None, None]) / std[:, None, None]
    # Numbers of the rectifications in torchvision's list.
    layers = {"conv1_1": 1, "conv2_1": 6, "conv3_1": 11, "conv4_1": 20, "conv4_2": 22, "conv5_1": 29}
    found = network(pixels, tuple(layers))
    for name, last in layers.items():
        torch.testing.assert_close(found[name], theirs[: last + 1](inputs))


def test_weights_of_the_whole_network_or_of_its_convolutions(network, tmp_path):
    state = network.features.state_dict()
    save_file(state, tmp_path / "convolutions.safetensors")
    torch.save(
        {**{f"features.{key}": value for key, value in state.items()}, "classifier.0.bias": torch.zeros(3)},
        tmp_path / "whole.pth",
    )
    pixels = torch.rand(1, 3, 16, 16)
    wanted = network(pixels, ("conv2_2",))["conv2_2"]
    for name in ("convolutions.safetensors", "whole.pth"):
        read = VGGFeatures(str(tmp_path / name))
        assert read(pixels, ("conv2_2",))["conv2_2"].equal(wanted)
        assert not any(parameter.requires_grad for parameter in read.parameters())


def test_weights_that_cannot_be_downloaded(monkeypatch):
    def offline(self, **options):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(VGG19_Weights, "get_state_dict", offline)
    with pytest.raises(ConfigError, match=r"weights=IMAGENET1K_V1: .* cannot be downloaded .*no route to host.*path"):
        VGGFeatures("IMAGENET1K_V1")


def test_weights_that_are_not_there(tmp_path):
    with pytest.raises(ConfigError, match="weights=imagenet: neither of torchvision"):
        VGGFeatures("imagenet")
    with pytest.raises(DetectorError, match="no such weights file"):
        VGGFeatures(str(tmp_path / "vgg19.pth"))
    save_file({"conv.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(DetectorError, match="do not fit"):
        VGGFeatures(str(tmp_path / "other.safetensors"))
