import os
import re

import pytest
import torch
from safetensors import safe_open
from torch import nn
from torchvision.ops import FeaturePyramidNetwork

from detinv.errors import DetectorError
from detinv.zoo.models import build_fcos
from detinv.zoo.weights import bundled_weights, load_weights, read_metadata, save_weights, weight_hash
from tests.fakes import tiny_model


def fcos(seed=0, num_classes=3):
    return tiny_model(build_fcos, num_classes, (64, 64), seed)


def test_weights_survive_the_disk_at_half_precision(tmp_path):
    model, other = fcos(0), fcos(1)
    model.backbone.stem[1].num_batches_tracked.fill_(70_001)
    save_weights(model, tmp_path / "deep" / "w.safetensors", {})
    load_weights(other, tmp_path / "deep" / "w.safetensors")
    for key, value in model.state_dict().items():
        loaded = other.state_dict()[key]
        assert loaded.dtype == value.dtype
        wanted = value.half().to(value.dtype) if value.ndim >= 2 else value
        assert torch.equal(loaded, wanted), key
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["w.safetensors"]


def test_large_weights_are_stored_in_half_precision(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(fcos(), path, {})
    with safe_open(path, framework="pt") as file:
        assert file.get_tensor("head.classification_head.cls_logits.weight").dtype == torch.float16
        assert file.get_tensor("backbone.stem.1.running_var").dtype == torch.float32
        assert file.get_tensor("backbone.stem.1.num_batches_tracked").dtype == torch.int64
    assert path.stat().st_size < 2.2 * sum(value.numel() for value in fcos().state_dict().values()) + 60_000


def test_what_half_precision_cannot_hold_is_refused(tmp_path):
    model = nn.Linear(2, 2)
    nn.init.constant_(model.weight, 1e6)
    with pytest.raises(ValueError, match="weight contains values that are not finite"):
        save_weights(model, tmp_path / "w.safetensors", {})
    assert not list(tmp_path.iterdir())


def test_metadata_survives(tmp_path):
    metadata = {"class_names": ["a", "b"], "image_size": [64, 96], "architecture": "FCOS", "steps": 7}
    save_weights(nn.Linear(2, 2), tmp_path / "w.safetensors", metadata)
    assert read_metadata(tmp_path / "w.safetensors") == metadata


def test_a_state_dict_of_torch_loads_exactly(tmp_path):
    model, other = fcos(0), fcos(1)
    torch.save(model.state_dict(), tmp_path / "w.pt")
    load_weights(other, tmp_path / "w.pt")
    assert weight_hash(other) == weight_hash(model)
    assert read_metadata(tmp_path / "w.pt") == {}


def test_weights_of_another_number_of_classes(tmp_path):
    save_weights(fcos(num_classes=4), tmp_path / "w.safetensors", {})
    model = fcos()
    before = weight_hash(model)
    message = (
        r"w\.safetensors: these weights do not fit .*of another shape: .*cls_logits.weight \(4, 64, 3, 3\) for \(3, "
    )
    with pytest.raises(DetectorError, match=message) as caught:
        load_weights(model, tmp_path / "w.safetensors")
    assert "\n" not in str(caught.value)
    assert weight_hash(model) == before


def test_weights_of_another_architecture_name_a_few_keys(tmp_path):
    model = nn.Sequential(*[nn.Linear(2, 2) for _ in range(4)])
    save_weights(fcos(), tmp_path / "w.safetensors", {})
    with pytest.raises(DetectorError, match=r"missing: 0\.bias, 0\.weight, 1\.bias and 5 more; unexpected: backbone"):
        load_weights(model, tmp_path / "w.safetensors")


def old_names(state):
    """The names that torchvision's pyramid had in weights of 2021."""
    return {re.sub(r"(inner_blocks|layer_blocks)\.(\d)\.0\.", r"\1.\2.", key): value for key, value in state.items()}


def test_names_that_the_models_own_modules_translate(tmp_path):
    model, other = FeaturePyramidNetwork([4, 8], 4), FeaturePyramidNetwork([4, 8], 4)
    torch.save(old_names(model.state_dict()), tmp_path / "w.pt")
    load_weights(other, tmp_path / "w.pt")
    assert weight_hash(other) == weight_hash(model)


def test_translated_names_of_another_shape(tmp_path):
    torch.save(old_names(FeaturePyramidNetwork([4, 9], 4).state_dict()), tmp_path / "w.pt")
    model = FeaturePyramidNetwork([4, 8], 4)
    before = weight_hash(model)
    with pytest.raises(DetectorError, match=r"do not fit .*another shape: .*inner_blocks\.1\.0\.weight") as caught:
        load_weights(model, tmp_path / "w.pt")
    assert "\n" not in str(caught.value)
    assert weight_hash(model) == before


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth"])
def test_a_broken_file_is_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"not weights at all, whatever the name says")
    with pytest.raises(DetectorError, match=re.escape(name) + ": cannot be read as weights") as caught:
        load_weights(nn.Linear(2, 2), tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_one_line(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(fcos(), path, {"class_names": ["a"]})
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DetectorError, match="cannot be read as weights"):
        load_weights(fcos(), path)
    with pytest.raises(DetectorError, match="cannot be read as weights"):
        read_metadata(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DetectorError, match=r"none\.pt: no such weights file"):
        load_weights(nn.Linear(2, 2), tmp_path / "none.pt")


@pytest.mark.parametrize("entry", ["model", "state_dict"])
def test_a_checkpoint_may_hold_the_state_dict(tmp_path, entry):
    model, other = nn.Linear(2, 2), nn.Linear(2, 2)
    torch.save({entry: model.state_dict(), "epoch": 3}, tmp_path / "c.pt")
    load_weights(other, tmp_path / "c.pt")
    assert torch.equal(model.weight, other.weight)


def test_a_checkpoint_of_something_else_is_not_a_state_dict(tmp_path):
    torch.save({"optimizer": {"lr": 3.0}, "epoch": 3}, tmp_path / "c.pt")
    with pytest.raises(DetectorError, match="not a state dict"):
        load_weights(nn.Linear(2, 2), tmp_path / "c.pt")


class Payload:
    """Leaves a folder behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.makedirs, (self.path, 0o777, True))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_is_opened_only_with_trust(tmp_path, legacy):
    proof = tmp_path / "ran"
    content = {"model": nn.Linear(2, 2).state_dict(), "extra": Payload(str(proof))}
    torch.save(content, tmp_path / "c.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(DetectorError, match="runs whatever code.*detector.trust_weights=true") as caught:
        load_weights(nn.Linear(2, 2), tmp_path / "c.pth")
    assert "\n" not in str(caught.value)
    assert not proof.exists()
    load_weights(nn.Linear(2, 2), tmp_path / "c.pth", trust_weights=True)
    assert proof.exists()


def test_weight_hash_changes_with_any_bit_and_with_nothing_else():
    model = fcos()
    first = weight_hash(model)
    assert re.fullmatch("[0-9a-f]{12}", first)
    assert weight_hash(fcos()) == first
    model(torch.rand(1, 3, 64, 64))
    assert weight_hash(model) == first
    with torch.no_grad():
        model.head.classification_head.cls_logits.bias[1] = torch.nextafter(
            model.head.classification_head.cls_logits.bias[1], torch.tensor(9.0)
        )
    assert weight_hash(model) != first


def test_bundled_weights_lie_in_the_package():
    path = bundled_weights("shapes_fcos")
    assert path.parts[-4:] == ("detinv", "zoo", "weights", "shapes_fcos.safetensors")
