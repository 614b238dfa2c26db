"""Weights as training programs save them: within other things, and under longer names."""

from argparse import Namespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from detinv.errors import DetectorError
from detinv.zoo.checkpoints import ENTRIES
from detinv.zoo.weights import load_weights, save_weights, weight_hash


def network(seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.ReLU(), nn.Linear(4, 2)))


class Outer(nn.Module):
    """A network whose names all begin with `model.`, as ultralytics' do."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.model = network(seed)


GOOD = network(0)


def loaded(content, path, model=None, **options) -> str:
    torch.save(content, path)
    model = network(1) if model is None else model
    load_weights(model, path, **options)
    return weight_hash(model)


@pytest.mark.parametrize(
    "prefix", ["model.", "module.", "_orig_mod.", "ema.", "detector.model.", "module._orig_mod.", "model.module.", "x."]
)
def test_a_prefix_of_all_names_does_no_harm(prefix, tmp_path, caplog):
    state = {prefix + key: value for key, value in GOOD.state_dict().items()}
    assert loaded(state, tmp_path / "w.pth") == weight_hash(GOOD)
    assert loaded({"state_dict": state, "epoch": 1}, tmp_path / "w.ckpt") == weight_hash(GOOD)
    assert not caplog.records


def test_wrappers_of_torch_do_no_harm(tmp_path, caplog):
    assert loaded(torch.compile(network(0)).state_dict(), tmp_path / "compiled.pth") == weight_hash(GOOD)
    inner = network(0)
    inner[2] = torch.compile(inner[2])
    assert any("_orig_mod" in key for key in inner.state_dict())
    assert loaded(inner.state_dict(), tmp_path / "inner.pth") == weight_hash(GOOD)
    assert not caplog.records
    assert loaded(AveragedModel(network(0)).state_dict(), tmp_path / "averaged.pth") == weight_hash(GOOD)
    assert "others, such as 'n_averaged', are not the detector's" in caplog.text


def test_what_was_trained_along_is_left_out_and_said(tmp_path, caplog):
    state = {f"model.{key}": value for key, value in GOOD.state_dict().items()}
    state |= {"loss.weight": torch.ones(3), "metric.count": torch.zeros(1)}
    assert loaded(state, tmp_path / "w.ckpt") == weight_hash(GOOD)
    (said,) = caplog.messages
    assert "w.ckpt: of its 11 tensors, the 9 whose names begin with 'model.' are read" in said and "loss.weight" in said


def test_a_network_saved_from_within_its_wrapper(tmp_path):
    assert loaded(GOOD.state_dict(), tmp_path / "w.pth", Outer(1)) == weight_hash(Outer(0))
    state = {f"module.{key}": value for key, value in Outer(0).state_dict().items()}
    assert loaded(state, tmp_path / "w.pth", Outer(1)) == weight_hash(Outer(0))


def test_two_sets_of_weights_are_refused_by_their_prefixes(tmp_path):
    state = {f"model.{key}": value for key, value in GOOD.state_dict().items()}
    state |= {f"ema_model.{key}": value for key, value in network(2).state_dict().items()}
    with pytest.raises(DetectorError, match=r"w.ckpt: has weights .* under 'ema_model.' and under 'model.'; save"):
        loaded(state, tmp_path / "w.ckpt")


def test_under_a_prefix_everything_must_fit_as_well(tmp_path):
    good = {f"model.{key}": value for key, value in GOOD.state_dict().items()}
    cases = [
        ("missing: 0.bias", {key: value for key, value in good.items() if key != "model.0.bias"}),
        ("unexpected: more", good | {"model.more": torch.ones(1)}),
        (r"another shape: 0.bias \(5,\) for \(4,\)", good | {"model.0.bias": torch.ones(5)}),
        ("not finite: 0.bias", good | {"model.0.bias": torch.full((4,), torch.nan)}),
    ]
    for problem, state in cases:
        with pytest.raises(DetectorError, match=problem):
            loaded(state, tmp_path / "w.pth")


@pytest.mark.parametrize("entry", ENTRIES)
def test_state_dicts_under_their_usual_names(entry, tmp_path):
    assert loaded({entry: GOOD.state_dict(), "optimizer": {"lr": 1}, "epoch": 3}, tmp_path / "w.pth") == weight_hash(
        GOOD
    )


def test_state_dicts_within_others(tmp_path):
    """RT-DETR's training keeps the average's module and its number of updates."""
    content = {"ema": {"module": GOOD.state_dict(), "updates": 7}, "last_epoch": 3}
    assert loaded(content, tmp_path / "w.pth") == weight_hash(GOOD)
    endless: dict = {}
    endless["model"] = endless
    with pytest.raises(DetectorError, match="not a state dict"):
        loaded(endless, tmp_path / "w.pth")


def test_a_single_state_dict_is_read_whatever_its_name(tmp_path):
    content = {"net": GOOD.state_dict(), "epoch": 3, "scheduler": {"last": torch.ones(1), "step": 3}, "more": {}}
    assert loaded(content, tmp_path / "w.pth") == weight_hash(GOOD)
    content["teacher"] = network(2).state_dict()
    with pytest.raises(DetectorError, match="w.pth: has weights under 'net' and under 'teacher'; save"):
        loaded(content, tmp_path / "w.pth")


def test_of_several_state_dicts_one_is_read_and_said(tmp_path, caplog):
    content = {"ema": network(2).state_dict(), "model": GOOD.state_dict()}
    assert loaded(content, tmp_path / "w.pth") == weight_hash(GOOD)
    assert "w.pth: holds model and ema; model is read" in caplog.text


def test_options_of_a_training_script_need_no_trust(tmp_path):
    """As torchvision's reference scripts save them."""
    content = {
        "model": GOOD.state_dict(),
        "optimizer": {"state": {}},
        "epoch": 25,
        "args": Namespace(lr=0.02, data="x"),
    }
    assert loaded(content, tmp_path / "model_25.pth") == weight_hash(GOOD)


def test_a_trusted_file_may_hold_the_network_or_arrays(tmp_path):
    arrays = {key: np.asarray(value) for key, value in GOOD.state_dict().items()}
    for content in (network(0), {"model": network(0)}, {"model": arrays}):
        with pytest.raises(DetectorError, match="trust_weights=true"):
            loaded(content, tmp_path / "w.pth")
        assert loaded(content, tmp_path / "w.pth", trust_weights=True) == weight_hash(GOOD)


def test_safetensors_with_a_prefix(tmp_path):
    save_weights(Outer(0), tmp_path / "w.safetensors", {})
    model, expected = network(1), network(1)
    load_weights(model, tmp_path / "w.safetensors")
    save_weights(GOOD, tmp_path / "plain.safetensors", {})
    load_weights(expected, tmp_path / "plain.safetensors")
    assert weight_hash(model) == weight_hash(expected)
