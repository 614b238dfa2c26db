"""Files of weights that cannot be used: each is refused by name, and none of them runs anything."""

import json
import os
import pickle
import struct
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from detinv.cli import main
from detinv.config.trust import trusting
from detinv.detectors.detectron2.load import load_detectron2
from detinv.detectors.load import load_detector
from detinv.detectors.ultralytics.library import build_network
from detinv.errors import ConfigError, DetectorError
from detinv.zoo.weights import bundled_weights, read_metadata
from tests.inputs.conftest import QUIET

GOOD = bundled_weights("shapes_retinanet")
KEY = "head.classification_head.cls_logits.bias"


class Payload:
    """Leaves a folder behind when it is unpickled."""

    def __reduce__(self):
        return (os.makedirs, ("ran", 0o777, True))


def data(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content)


def header(content: bytes, length: int | None = None, tensors: bytes = b"") -> Callable[[Path], None]:
    """A safetensors file by its parts."""
    return data(struct.pack("<Q", len(content) if length is None else length) + content + tensors)


def tensor(dtype="F32", shape=(1,), offsets=(0, 4)) -> Callable[[Path], None]:
    entry = {"a": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}
    return header(json.dumps(entry).encode(), tensors=bytes(4))


def state(change: Callable[[dict], object], metadata: dict[str, str] | None = None) -> Callable[[Path], None]:
    """The good weights, changed."""

    def write(path: Path) -> None:
        content = load_file(GOOD)
        change(content)
        if path.suffix == ".safetensors":
            save_file(content, path, metadata)
        else:
            torch.save(content, path)

    return write


def saved(content: object, **options) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path, **options)


def archived(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("best.pth", b"weights")


def truncated(share: float) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(GOOD.read_bytes()[: int(share * GOOD.stat().st_size)])


def damaged(content: dict) -> None:
    content[KEY][0] = float("nan")


def endless(content: dict) -> None:
    content[KEY][0] = float("inf")


FILES = {
    # name: (file, how it is made, what the refusal names)
    "empty safetensors": ("w.safetensors", data(b""), "cannot be read as weights"),
    "empty pt": ("w.pt", data(b""), "cannot be read as weights"),
    "empty pth": ("w.pth", data(b""), "cannot be read as weights"),
    "words": ("w.safetensors", data(b"weights, believe me"), "cannot be read as weights"),
    "words in pt": ("w.pt", data(b"weights, believe me"), "cannot be read as weights"),
    "picture": ("w.pth", data(b"\x89PNG\r\n\x1a\n" + bytes(100)), "cannot be read as weights"),
    "pickle called safetensors": ("w.safetensors", saved({"a": torch.ones(1)}), "PyTorch's format; call it .pth"),
    "archive of something else": ("w.zip", archived, "it is a zip archive of something else"),
    "archive cut off": ("w.pth", data(b"PK\3\4" + bytes(100)), "it is cut off or damaged; copy it again"),
    "pointer of Git LFS": (
        "w.safetensors",
        data(b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 123\n"),
        "it is a pointer of Git LFS instead of the file itself: run `git lfs pull`",
    ),
    "web page": ("w.pth", data(b"<!DOCTYPE html><html>Not found</html>"), "it is a web page or other markup"),
    "onnx": ("w.onnx", data(b"\x08\x07\x12\x07pytorch"), "it is no file of PyTorch"),
    "cut in the header": ("w.safetensors", truncated(0.001), "cannot be read as weights"),
    "cut in the tensors": ("w.safetensors", truncated(0.9), "cannot be read as weights"),
    "header longer than the file": ("w.safetensors", header(b"{}", 2**40), "cannot be read as weights"),
    "header without end": ("w.safetensors", header(b"{}", 2**64 - 1), "cannot be read as weights"),
    "header no JSON": ("w.safetensors", header(b"not json"), "cannot be read as weights"),
    "header no text": ("w.safetensors", header(b"\xff\xfe\xfd\xfc"), "cannot be read as weights"),
    "header a list": ("w.safetensors", header(b"[1, 2]"), "cannot be read as weights"),
    "header nested": ("w.safetensors", header(b"[" * 5000), "cannot be read as weights"),
    "unknown dtype": ("w.safetensors", tensor(dtype="F3"), "cannot be read as weights"),
    "offsets beyond the file": ("w.safetensors", tensor(offsets=(0, 400)), "cannot be read as weights"),
    "offsets reversed": ("w.safetensors", tensor(offsets=(4, 0)), "cannot be read as weights"),
    "negative shape": ("w.safetensors", tensor(shape=(-1,)), "cannot be read as weights"),
    "shape beyond memory": ("w.safetensors", tensor(shape=(2**40, 2**40)), "cannot be read as weights"),
    "no tensor": ("w.safetensors", header(b"{}"), "do not fit the detector (missing"),
    "tensor of another network": ("w.safetensors", tensor(), "do not fit the detector (missing"),
    "another detector's": (
        "w.safetensors",
        lambda path: path.write_bytes(bundled_weights("shapes_fcos").read_bytes()),
        "do not fit the detector",
    ),
    "key missing": ("w.safetensors", state(lambda content: content.pop(KEY)), f"missing: {KEY}"),
    "key missing in pt": ("w.pt", state(lambda content: content.pop(KEY)), f"missing: {KEY}"),
    "key too many": ("w.safetensors", state(lambda content: content.update(more=torch.ones(1))), "unexpected: more"),
    "key that colours": (
        "w.safetensors",
        state(lambda content: content.update({"\x1b[31m" + "x" * 500: torch.ones(1)})),
        r"unexpected: \x1b[31mxxx",
    ),
    "shape": (
        "w.safetensors",
        state(lambda content: content.update({KEY: torch.ones(3)})),
        f"another shape: {KEY} (3,)",
    ),
    "not a number": ("w.safetensors", state(damaged), f"not finite: {KEY}"),
    "not a number in pt": ("w.pt", state(damaged), f"not finite: {KEY}"),
    "infinite": ("w.safetensors", state(endless), f"not finite: {KEY}"),
    "other classes": (
        "w.safetensors",
        state(lambda content: None, {"class_names": '["a", "b"]'}),
        "trained on the classes a, b, but",
    ),
    "classes of another kind": (
        "w.safetensors",
        state(lambda content: None, {"class_names": "7"}),
        "trained on the classes 7, but",
    ),
    "list": ("w.pt", saved([torch.ones(1)]), "not a state dict"),
    "number": ("w.pt", saved(3), "not a state dict"),
    "numbers by name": ("w.pt", saved({"lr": 3.0}), "not a state dict"),
    "state by number": ("w.pt", saved({1: torch.ones(1)}), "not a state dict"),
    "tensor claiming to be huge": ("w.pt", saved({KEY: torch.ones(1).expand(10**6, 10**6)}), f"another shape: {KEY}"),
    "network": ("w.pt", saved(torch.nn.Linear(1, 1)), "detector.trust_weights=true"),
    "code": ("w.pt", saved({"model": {}, "more": Payload()}), "detector.trust_weights=true"),
    "code, the older way": (
        "w.pth",
        saved({"more": Payload()}, _use_new_zipfile_serialization=False),
        "detector.trust_weights=true",
    ),
    "code and nothing else": ("w.pt", data(pickle.dumps(Payload())), "detector.trust_weights=true"),
    "code of the first protocol": ("w.pt", data(pickle.dumps(Payload(), protocol=0)), "cannot be read as weights"),
}


@pytest.mark.filterwarnings("ignore:.*TypedStorage is deprecated")
@pytest.mark.parametrize(("name", "write", "naming"), FILES.values(), ids=FILES)
def test_what_are_no_weights_is_refused(name, write, naming, refused, tmp_path: Path):
    write(tmp_path / name)
    refused("invert", "detector=shapes_retinanet", f"detector.weights={name}", *QUIET, naming=(name, naming))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("weights", ["nowhere.safetensors", "nowhere.pt", "nothing", "../nothing.pth", "x" * 300])
def test_weights_that_are_not_there_are_refused(weights, refused):
    refused("invert", f"detector.weights={weights}", *QUIET, naming=(weights[:50], "no such weights file"))


def test_a_folder_is_refused(refused, tmp_path: Path):
    (tmp_path / "weights.pt").mkdir()
    refused("invert", "detector.weights=weights.pt", *QUIET, naming="weights.pt: is a folder")


def test_what_a_trusted_pickle_raises_is_one_line(refused, tmp_path: Path):
    """Trust is given to its program, which need not be any good."""
    (tmp_path / "w.pt").write_bytes(b"\x80\x04cno_such_module\nnothing\n.")
    words = ("detector.weights=w.pt", "+detector.trust_weights=true", *QUIET)
    refused("invert", *words, naming="w.pt: cannot be read as weights")


@pytest.mark.parametrize("name", ["w.pt", "w.SAFETENSORS", "w"])
def test_safetensors_by_any_other_name(name, tmp_path: Path):
    (tmp_path / name).write_bytes(GOOD.read_bytes())
    assert read_metadata(tmp_path / name) == read_metadata(GOOD)
    load_detector("shapes_retinanet", tmp_path / name)


def test_a_path_among_the_options_needs_no_trust(tmp_path: Path):
    """As Lightning keeps hyper-parameters."""
    content = {"state_dict": load_file(GOOD), "hyper_parameters": {"root": Path("/data"), "more": Namespace(a=1)}}
    torch.save(content, tmp_path / "w.ckpt")
    load_detector("shapes_retinanet", tmp_path / "w.ckpt")


@pytest.mark.filterwarnings("ignore:.torch.jit.*deprecated")
def test_a_program_of_torchscript_needs_trust(refused, tmp_path: Path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), tmp_path / "w.pt")
    refused("invert", "detector.weights=w.pt", *QUIET, naming="detector.trust_weights=true")


def test_a_header_of_somebody_else_s_does_no_harm(tmp_path: Path):
    state(lambda content: None, {"format": "pt", "author": "somebody", "deep": "[" * 5000})(tmp_path / "w.safetensors")
    assert read_metadata(tmp_path / "w.safetensors") == {"author": "somebody", "deep": "[" * 5000}
    load_detector("shapes_retinanet", tmp_path / "w.safetensors")


def test_a_refused_file_leaves_the_detector_as_it_was(tmp_path: Path):
    state(damaged)(tmp_path / "w.safetensors")
    with pytest.raises(DetectorError, match="not finite"):
        load_detector("shapes_retinanet", tmp_path / "w.safetensors")


@pytest.mark.parametrize("model", ["mine.yaml", "mine.py"])
def test_models_that_are_programs_need_trust(model, refused, tmp_path: Path):
    (tmp_path / model).write_text("open('ran', 'w')\n")
    refused(
        "invert", "detector=d2_fcos_r50_fpn", f"detector.model={model}", *QUIET, naming=(model, "trust_config=true")
    )
    # Before the library is asked, which is not there for everybody.
    with trusting(False), pytest.raises(ConfigError, match="trust_config=true"):
        build_network(model, 1)
    assert not (tmp_path / "ran").exists()


def test_models_that_are_programs_are_a_python_program_s_own_decision(tmp_path: Path):
    """Whether or not the library is there, it is not trust that is missing."""
    (tmp_path / "mine.yaml").write_text("nothing: 1\n")
    with pytest.raises(DetectorError):
        load_detectron2(str(tmp_path / "mine.yaml"), class_names=["a"], weights="random")


def test_a_checkpoint_of_training_runs_nothing(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    for content in (pickle.dumps(Payload(), protocol=2), b"", b"words", bytes(100)):
        (tmp_path / "out" / "last.ckpt").write_bytes(content)
        assert main(["train", "out_dir=out", "accelerator=cpu"]) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and "last.ckpt: cannot be read as a checkpoint" in told
    assert not (tmp_path / "ran").exists()
