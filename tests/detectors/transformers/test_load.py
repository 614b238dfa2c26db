"""Options and weights of DETR-type detectors: what is loaded, from where, and what is said when it cannot be."""

import json
import subprocess
import sys

import pytest
import torch

from detinv.detectors.class_names import COCO_CLASSES
from detinv.detectors.load import load_detector
from detinv.detectors.transformers.library import _fetch, quiet_transformers
from detinv.errors import DetectorError
from detinv.zoo.weights import weight_hash
from tests.fakes import block_image

transformers = pytest.importorskip(
    "transformers", reason="needs the optional library transformers: pip install 'detinv[detr]'"
)

from tests.transformers_fakes import ARCHITECTURES, SMALL, tiny_transformer  # noqa: E402

DETR, RTDETR = "detr_resnet50", "rtdetr_r18"
# Lightning's own torchmetrics would import the library, too, so only the stages up to the detectors are tried.
BLOCKED = """
import sys
sys.modules["transformers"] = sys.modules["huggingface_hub"] = None
import importlib, pkgutil
import detinv.detectors
for module in pkgutil.iter_modules(detinv.detectors.__path__, "detinv.detectors."):
    if not module.name.split(".")[-1].startswith("detectron2"):
        importlib.import_module(module.name)
from detinv.detectors.load import load_detector
from detinv.errors import DetectorError
try:
    load_detector("detr_resnet50", "random")
except DetectorError as error:
    print(error)
"""


def folder_of(architecture, path, num_classes=5, id2label=None, **save):
    """A folder as `save_pretrained` writes it, and the detector whose weights are in it."""
    detector = tiny_transformer(architecture, num_classes=num_classes)
    if id2label is not None:
        detector.model.config.id2label = id2label
    with quiet_transformers():
        detector.model.save_pretrained(path, **save)
    detector.processor.save_pretrained(path)
    return detector


def with_dead_columns(path):
    """Of six columns, three belong to no class and never fire, as ids that COCO does not use."""
    detector = tiny_transformer(DETR, num_classes=6)
    model = detector.model
    with torch.no_grad():
        model.class_labels_classifier.weight[[0, 3, 4]] = 0
        model.class_labels_classifier.bias[[0, 3, 4]] = -20
    model.config.id2label = dict(enumerate(["N/A", "cat", "dog", "N/A", "N/A", "bird"]))
    with quiet_transformers():
        model.save_pretrained(path)
    detector.processor.save_pretrained(path)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_saved_folder_gives_the_same_detections(architecture, tmp_path, capfd):
    saved = folder_of(architecture, tmp_path)
    capfd.readouterr()
    loaded = load_detector(RTDETR, tmp_path, class_names=None, image_size=None)
    assert capfd.readouterr() == ("", "")
    assert loaded.class_names == tuple(f"LABEL_{k}" for k in range(5))
    assert weight_hash(loaded.model) == weight_hash(saved.model)
    assert loaded.network_size((64, 96)) == (64, 96)
    image = block_image((64, 96), 2)
    (found,), (wanted,) = loaded.detect([image]), saved.detect([image])
    # The last bits of some layers depend on where in memory weights lie.
    torch.testing.assert_close(found.boxes, wanted.boxes, atol=1e-3, rtol=0)
    torch.testing.assert_close(found.scores, wanted.scores, atol=1e-5, rtol=0)
    assert len(found) > 5


def test_unused_columns_join_the_background(tmp_path):
    with_dead_columns(tmp_path)
    detector = load_detector(DETR, tmp_path, class_names=None, image_size=None)
    assert detector.class_names == ("cat", "dog", "bird")
    assert detector.columns == (1, 2, 5)
    image = block_image((64, 96), 2)
    pixels = image.float()[None] / 255
    dense = detector(pixels).dense
    logits = detector.model(pixel_values=detector._inputs(pixels, [(64, 96)])).logits.softmax(-1)
    assert dense.logits.shape[-1] == 4
    torch.testing.assert_close(dense.scores(), logits[..., [1, 2, 5]], atol=1e-5, rtol=1e-5)
    rest = logits[..., [0, 3, 4, 6]].sum(-1)
    torch.testing.assert_close(dense.logits.softmax(-1)[..., 3], rest, atol=1e-5, rtol=1e-5)
    (found,) = detector.detect([image])
    assert len(found) > 5
    assert set(found.labels.tolist()) <= {0, 1, 2}


def test_unused_columns_of_sigmoids_are_dropped(tmp_path):
    folder_of(RTDETR, tmp_path, id2label={0: "N/A", 1: "cat", 2: "dog", 3: "N/A", 4: "bird"})
    detector = load_detector(RTDETR, tmp_path, class_names=None, image_size=None)
    assert detector.class_names == ("cat", "dog", "bird")
    predictions = detector(block_image((64, 96)).float()[None] / 255)
    assert predictions.dense.logits.shape[-1] == predictions.encoder.logits.shape[-1] == 3
    (found,) = detector.detect([block_image((64, 96))])
    assert set(found.labels.tolist()) <= {0, 1, 2}


def test_names_may_be_given_instead_of_the_stored_ones(tmp_path):
    with_dead_columns(tmp_path)
    detector = load_detector(DETR, tmp_path, class_names=["a", "b", "c"])
    assert (detector.class_names, detector.columns) == (("a", "b", "c"), (1, 2, 5))
    with pytest.raises(DetectorError, match="has 3 classes, but class_names gives 80; .*class_names=null"):
        load_detector(DETR, tmp_path)


def test_random_weights_are_the_same_every_time_and_leave_the_generator_alone():
    torch.manual_seed(1)
    first = load_detector(DETR, "random", settings=SMALL["detr"])
    here = torch.rand(1)
    torch.manual_seed(1)
    assert torch.rand(1) == here
    second = load_detector(DETR, "random", settings=SMALL["detr"])
    assert weight_hash(first) == weight_hash(second)
    assert first.class_names == COCO_CLASSES
    assert first.network_size((480, 640)) == (800, 1066)


def test_settings_change_the_librarys_configuration():
    detector = load_detector(
        RTDETR, "random", image_size=[64, 64], settings=SMALL["rtdetr"] | {"num_queries": 9, "decoder_layers": 1}
    )
    assert detector.detections_per_image == 9
    assert len(detector.model.model.decoder.layers) == 1
    assert detector.model.config.backbone_config.depths == [1, 1, 1, 1]
    assert detector.network_size((480, 640)) == (64, 64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "detr_resnet5"}, "'detr_resnet5' is not known; did you mean 'detr_resnet50'"),
        ({"settings": {"num_querys": 9}}, "settings.num_querys: .*no such entry; did you mean 'num_queries'"),
        ({"settings": {"backbone_config": {"depth": [1]}}}, "settings.backbone_config.depth: .*did you mean 'depths'"),
        (
            {"settings": {"decoder_layers": "two"}},
            "settings=.*detr_resnet50 cannot be built like this .*expected int, got str",
        ),
        ({"image_size": [96]}, r"image_size=\[96\]: give two whole numbers"),
        ({"image_size": [0, 96]}, r"image_size=\[0, 96\]: give two whole numbers"),
        ({"image_size": [96, 64]}, "takes the shorter side first"),
        ({"class_names": None}, "random weights have none stored"),
        ({"class_names": ["a", "a"]}, "'a' occurs twice"),
        ({"weights": "nowhere", "settings": None}, "nowhere: neither a folder nor a name on the Hugging Face hub"),
        ({"weights": "/no/where", "settings": None}, "/no/where: neither a folder nor a name"),
    ],
)
def test_unusable_options(options, message):
    with pytest.raises(DetectorError, match=message) as caught:
        load_detector(DETR, **{"weights": "random", "settings": SMALL["detr"]} | options)
    assert "\n" not in str(caught.value)


def test_settings_are_for_random_weights(tmp_path):
    with pytest.raises(DetectorError, match="only for weights=random"):
        load_detector(DETR, tmp_path, settings={"num_queries": 3})


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_folder_lacks_something(name, tmp_path):
    folder_of(DETR, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DetectorError, match=f"has no {name}.*save_pretrained"):
        load_detector(DETR, tmp_path)


def test_weights_that_do_not_fit_their_configuration(tmp_path):
    folder_of(DETR, tmp_path)
    path = tmp_path / "config.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"decoder_layers": 3}))
    message = r"do not fit their config.json \(missing or of another shape: .*and \d+ more"
    with pytest.raises(DetectorError, match=message):
        load_detector(DETR, tmp_path, class_names=None)
    path.write_text(json.dumps(stored | {"num_queries": 41}))
    with pytest.raises(DetectorError, match="another shape|cannot be loaded") as caught:
        load_detector(DETR, tmp_path, class_names=None)
    assert "\n" not in str(caught.value)


def test_another_type_of_model(tmp_path):
    folder_of(DETR, tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "vit"}))
    with pytest.raises(DetectorError, match="model_type 'vit', for which there is no adapter .there are: detr"):
        load_detector(DETR, tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"model_type": "no such thing"}'])
def test_a_broken_configuration(content, tmp_path):
    folder_of(DETR, tmp_path)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(DetectorError, match="cannot be loaded") as caught:
        load_detector(DETR, tmp_path)
    assert "\n" not in str(caught.value)


def test_broken_weights(tmp_path):
    folder_of(DETR, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(DetectorError, match="cannot be loaded"):
        load_detector(DETR, tmp_path)


def test_pickles_need_trust(tmp_path):
    saved = folder_of(DETR, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(saved.model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(DetectorError, match="pytorch_model.bin: not plain tensors but a pickle.*trust_weights=true"):
        load_detector(DETR, tmp_path, class_names=None)
    loaded = load_detector(DETR, tmp_path, class_names=None, trust_weights=True)
    assert weight_hash(loaded.model) == weight_hash(saved.model)


def test_without_network_the_error_says_what_to_put_where(monkeypatch):
    import huggingface_hub

    def unreachable(*arguments, **options):
        raise ConnectionError("Name or service\n not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    message = (
        r"facebook/detr-resnet-50: not in the cache .*\(Name or service not known\); connect once, or put config.json, "
        r"preprocessor_config.json and model.safetensors from https://huggingface.co/facebook/detr-resnet-50/tree/main"
    )
    with pytest.raises(DetectorError, match=message):
        load_detector(DETR, "facebook/detr-resnet-50")


def test_what_the_cache_holds_is_not_asked_for(tmp_path, monkeypatch):
    import huggingface_hub

    folder_of(DETR, tmp_path)
    calls = []

    def snapshot(name, revision, local_files_only=False, allow_patterns=None):
        calls.append((name, revision, local_files_only, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert _fetch("some/model", "main", False) == tmp_path
    assert calls == [("some/model", "main", True, None)]


def test_only_what_is_needed_is_downloaded(tmp_path, monkeypatch):
    """A pickle only where there is nothing else, and trust."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    calls = []

    def snapshot(name, revision, local_files_only=False, allow_patterns=None):
        if local_files_only:
            raise LocalEntryNotFoundError("not there")
        calls.append(allow_patterns)
        return str(tmp_path)

    class Info:
        siblings = [type("File", (), {"rfilename": name}) for name in ("config.json", "pytorch_model.bin")]

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *arguments, **options: Info)
    _fetch("some/model", "main", False)
    _fetch("some/model", "main", True)
    assert calls[0] == ["config.json", "preprocessor_config.json", "model*.safetensors*"]
    assert calls[1] == [*calls[0], "pytorch_model*.bin*"]


def test_the_library_is_as_loud_afterwards_as_before():
    from transformers.utils import logging

    logging.set_verbosity_info()
    logging.enable_progress_bar()
    try:
        load_detector(DETR, "random", settings=SMALL["detr"])
        assert logging.get_verbosity() == logging.INFO
        assert logging.is_progress_bar_enabled()
    finally:
        logging.set_verbosity_warning()


def test_without_the_library_all_else_works_and_the_error_names_the_extra():
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "needs the library transformers" in done.stdout
    assert "pip install 'detinv[detr]'" in done.stdout
    assert len(done.stdout.strip().splitlines()) == 1
