"""Detectron2's configurations and weights, and the mistakes one can make with them."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from detinv.detectors.class_names import COCO_CLASSES
from detinv.detectors.load import load_detector
from detinv.errors import DetectorError
from detinv.zoo.weights import weight_hash

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what torch says about how Detectron2 is made
    pytest.importorskip(
        "detectron2.modeling",
        reason="needs Detectron2, which is not on the package index: "
        "https://detectron2.readthedocs.io/en/latest/tutorials/install.html",
    )
    from detectron2.utils.file_io import PathManager

    from detinv.detectors.detectron2.fcos import Detectron2FCOS
    from detinv.detectors.detectron2.library import ZOO, read_configuration, zoo_names
    from detinv.detectors.detectron2.load import load_detectron2
    from detinv.detectors.detectron2.rcnn import Detectron2RCNN
    from detinv.detectors.detectron2.retinanet import Detectron2RetinaNet

pytestmark = pytest.mark.detectron2

NAMES = ("a", "b", "c", "d")
# Slim, so that it is built fast.
_RETINANET = f"""\
_BASE_: {ZOO}/COCO-Detection/retinanet_R_50_FPN_1x.yaml
MODEL:
  RESNETS: {{DEPTH: 18, RES2_OUT_CHANNELS: 64}}
  FPN: {{OUT_CHANNELS: 32}}
  RETINANET: {{NUM_CLASSES: 4, NUM_CONVS: 1}}
INPUT: {{MIN_SIZE_TEST: 96, MAX_SIZE_TEST: 128}}
"""
_RCNN = f"""\
_BASE_: {ZOO}/COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml
MODEL:
  RESNETS: {{DEPTH: 18, RES2_OUT_CHANNELS: 64}}
  FPN: {{OUT_CHANNELS: 32}}
  ROI_HEADS: {{NUM_CLASSES: 4}}
  ROI_BOX_HEAD: {{FC_DIM: 64}}
"""


def written(folder, text, name="model.yaml"):
    (folder / name).write_text(text)
    return str(folder / name)


def load(model, weights="random", **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return load_detectron2(model, NAMES, weights, **options)


@pytest.fixture
def retinanet(tmp_path):
    return written(tmp_path, _RETINANET)


def another_state(detector):
    """Weights of the same architecture with other values."""
    return {key: value + 0.125 for key, value in detector.model.state_dict().items()}


def assert_loaded(detector, state):
    for key, value in detector.model.state_dict().items():
        torch.testing.assert_close(value, state[key], atol=0, rtol=0)


@pytest.mark.parametrize(
    ("name", "adapter", "size"),
    [
        ("d2_retinanet_r50_fpn", Detectron2RetinaNet, (800, 1067)),
        ("d2_fcos_r50_fpn", Detectron2FCOS, (800, 1067)),
        ("d2_fasterrcnn_r50_fpn", Detectron2RCNN, (800, 1067)),
        ("d2_maskrcnn_r50_fpn", Detectron2RCNN, (800, 1067)),
    ],
)
def test_registered_models(name, adapter, size, capfd):
    detector = load_detector(name, "random")
    assert type(detector) is adapter
    assert detector.class_names == COCO_CLASSES
    assert detector.network_size((480, 640)) == size
    assert detector.size_divisor == 32
    assert detector.has_masks == ("maskrcnn" in name)
    small = load_detector(name, "random", min_size=128, max_size=160)
    assert small.network_size((480, 640)) == (120, 160)
    captured = capfd.readouterr()
    assert not captured.out
    assert not captured.err


def test_a_yaml_and_a_lazy_configuration_of_one_model_agree():
    name = "COCO-Detection/retinanet_R_50_FPN_1x"
    plain, lazy = read_configuration(name), read_configuration(f"{name}.py")
    assert plain.path.suffix == ".yaml"
    assert plain.zoo_name == lazy.zoo_name == name
    assert plain.preprocessing(None, None, None) == lazy.preprocessing(None, None, None)
    one, other = plain.build(), lazy.build()
    assert type(one) is type(other)
    shapes = {key: value.shape for key, value in one.state_dict().items()}
    assert shapes == {key: value.shape for key, value in other.state_dict().items()}


def test_the_zoo_is_listed_without_parts_of_configurations():
    names = zoo_names()
    assert {"COCO-Detection/fcos_R_50_FPN_1x", "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x"} <= set(names)
    assert not any(name.startswith(("common", "quick")) or name.endswith((".py", ".yaml")) for name in names)


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(DetectorError, match="did you mean 'COCO-Detection/retinanet_R_50_FPN_3x'"):
        load("COCO-Detection/retinanet_R50_FPN_3x")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("Misc/cascade_mask_rcnn_R_50_FPN_1x", "a second stage of type CascadeROIHeads"),
        ("COCO-Detection/faster_rcnn_R_50_C4_1x", "a second stage of type Res5ROIHeads"),
        ("COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x", "keypoints"),
        ("COCO-PanopticSegmentation/panoptic_fpn_R_50_1x", "a model of type PanopticFPN"),
        ("COCO-Detection/rpn_R_50_FPN_1x", "a model of type ProposalNetwork"),
    ],
)
def test_models_without_an_adapter(name, what):
    with pytest.raises(DetectorError, match=f"Detectron2 model with {what}: there is no adapter.*supported: Retina"):
        load_detectron2(name, ["person"], "random")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (("NUM_CLASSES: 4", "NUM_CLASSES: 4, NAME: Res5ROIHeads"), "cannot build this model"),
        (("FC_DIM: 64", "FC_DIM: 64, USE_SIGMOID_CE: true"), "sigmoids in its second stage"),
        (("FC_DIM: 64", "FC_DIM: 64, NO_SUCH: 3"), r"cannot be read as a configuration.*KeyError.*NO_SUCH"),
        (("MODEL:", "MODEL: ["), "cannot be read as a configuration of Detectron2"),
    ],
)
def test_configurations_that_are_not_usable(tmp_path, change, what):
    with pytest.raises(DetectorError, match=what) as found:
        load(written(tmp_path, _RCNN.replace(*change)))
    assert len(str(found.value).splitlines()) == 1


def test_a_lazy_configuration_is_a_program_and_may_fail(tmp_path):
    with pytest.raises(DetectorError, match=r"broken\.py: cannot be read.*ZeroDivisionError"):
        load(written(tmp_path, "model = 1 / 0", "broken.py"))
    with pytest.raises(DetectorError, match="describes no model"):
        load(written(tmp_path, "network = dict(a=1)", "other.py"))


_LAZY = """\
from detectron2.config import LazyConfig
_whole = LazyConfig.load({base!r})
model, dataloader = _whole.model, _whole.dataloader
"""


def test_what_a_lazy_configuration_does_not_say_must_be_given(tmp_path):
    base = _LAZY.format(base=str(ZOO / "COCO-Detection/fcos_R_50_FPN_1x.py"))
    path = written(tmp_path, base + "del dataloader.test.mapper.augmentations\n", "sizeless.py")
    with pytest.raises(DetectorError, match=r"does not define min_size; give detector\.min_size"):
        load_detectron2(path, "coco", "random")
    found = read_configuration(path).preprocessing(64, 96, None)
    assert (found.min_size, found.max_size, found.input_format) == (64, 96, "BGR")
    path = written(tmp_path, base + "del dataloader.test.mapper, dataloader.train\n", "bare.py")
    with pytest.raises(DetectorError, match=r"give detector\.input_format"):
        load_detectron2(path, "coco", "random", min_size=64, max_size=96)
    assert read_configuration(path).preprocessing(64, 96, "RGB").input_format == "RGB"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_format": "GBR"}, "input_format=GBR: images are BGR or RGB"),
        ({"min_size": -1}, "min_size=-1: give a whole number of pixels"),
        ({"max_size": 0}, "max_size=0: give a whole number of pixels"),
    ],
)
def test_bad_options(retinanet, options, message):
    with pytest.raises(DetectorError, match=message):
        load(retinanet, **options)


def test_images_padded_to_a_square_are_refused(tmp_path):
    base = _LAZY.format(base=str(ZOO / "COCO-Detection/fcos_R_50_FPN_1x.py"))
    path = written(tmp_path, base + "model.backbone.square_pad = 1024\n", "square.py")
    with pytest.raises(DetectorError, match="padded to a square of 1024 pixels"):
        load_detectron2(path, "coco", "random")


@pytest.mark.parametrize("entry", [True, False])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_plain_tensors_need_no_trust(retinanet, tmp_path, suffix, entry):
    state = another_state(load(retinanet))
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save({"model": state, "iteration": 3} if entry else state, path)
    else:
        save_file(state, path)
    assert_loaded(load(retinanet, str(path)), state)


def zoo_file(state, **more):
    """What a file of the model zoo holds, with the constants that old ones have."""
    arrays = {key: value.numpy() for key, value in state.items()}
    arrays |= {"pixel_mean": np.zeros((3, 1, 1)), "anchor_generator.cell_anchors.0": np.zeros((9, 4))}
    return {"model": arrays, "__author__": "Detectron2 Model Zoo", **more}


def pickled(path, content):
    with path.open("wb") as file:
        pickle.dump(content, file)
    return str(path)


def test_a_pickle_is_opened_only_with_trust(retinanet, tmp_path):
    state = another_state(load(retinanet))
    path = pickled(tmp_path / "model_final.pkl", zoo_file(state))
    with pytest.raises(DetectorError, match=r"runs whatever code.*set detector\.trust_weights=true") as found:
        load(retinanet, path)
    assert len(str(found.value).splitlines()) == 1
    assert_loaded(load(retinanet, path, trust_weights=True), state)


class Bomb:
    def __reduce__(self):
        return (print, ("the pickle ran",))


def test_an_untrusted_pickle_does_not_run(retinanet, tmp_path, capsys):
    path = pickled(tmp_path / "w.pkl", Bomb())
    torch.save(Bomb(), tmp_path / "w.pth")
    for weights in (path, str(tmp_path / "w.pth")):
        with pytest.raises(DetectorError, match="trust_weights=true"):
            load(retinanet, weights)
    assert not capsys.readouterr().out
    with pytest.raises(DetectorError, match="instead of weights by name"):
        load(retinanet, path, trust_weights=True)
    assert "the pickle ran" in capsys.readouterr().out


def test_names_are_matched_by_their_endings_where_the_file_says_so(retinanet, tmp_path, capfd):
    detector = load(retinanet)
    state = another_state(detector)
    short = {key.replace("backbone.bottom_up.", ""): value for key, value in state.items()}
    path = pickled(tmp_path / "w.pkl", zoo_file(short, matching_heuristics=True))
    assert_loaded(load(retinanet, path, trust_weights=True), state)
    path = pickled(tmp_path / "plain.pkl", zoo_file(short))
    with pytest.raises(DetectorError, match=r"missing: backbone\.bottom_up.*unexpected: res2"):
        load(retinanet, path, trust_weights=True)
    assert "matched" not in capfd.readouterr().err


def test_caffe2_files_hold_normalisation_as_scale_and_shift(tmp_path):
    path = written(tmp_path, _RCNN)
    detector = load(path)
    state = another_state(detector)
    names = {
        "backbone.bottom_up.stem.conv1.weight": "conv1_w",
        "backbone.bottom_up.stem.conv1.norm.weight": "res_conv1_bn_s",
        "backbone.bottom_up.stem.conv1.norm.bias": "res_conv1_bn_b",
        "roi_heads.box_predictor.bbox_pred.bias": "bbox_pred_b",
    }
    blobs = {other: state[key].numpy() for key, other in names.items()} | {"conv1_w_momentum": np.zeros(1)}
    # Caffe2 has four columns for background as well, and background first.
    blobs["bbox_pred_b"] = np.concatenate([np.zeros(4, np.float32), blobs["bbox_pred_b"]])
    from detinv.detectors.detectron2.weights import _read_pickle

    found = _read_pickle(detector.model, tmp_path / pickled(tmp_path / "c2.pkl", {"blobs": blobs}), trust_weights=True)
    assert found.keys() == names.keys()
    for key, value in found.items():
        torch.testing.assert_close(value, state[key])


def test_statistics_that_caffe2_folded_into_scale_and_shift_are_those_of_the_identity(retinanet, tmp_path):
    state = another_state(load(retinanet))
    folded = {key: value for key, value in state.items() if ".running_" not in key}
    detector = load(retinanet, pickled(tmp_path / "w.pkl", zoo_file(folded)), trust_weights=True)
    assert len(folded) < len(state)
    for key, value in detector.model.state_dict().items():
        wanted = folded.get(key, torch.full_like(value, float(key.endswith("running_var"))))
        torch.testing.assert_close(value, wanted, atol=0, rtol=0)


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
def test_weights_of_another_architecture(retinanet, tmp_path, suffix):
    state = another_state(load(retinanet))
    state["surplus.weight"] = state.pop("head.cls_score.bias")
    state["head.bbox_pred.bias"] = torch.zeros(3)
    path = tmp_path / f"w{suffix}"
    pickled(path, zoo_file(state)) if suffix == ".pkl" else torch.save(state, path)
    with pytest.raises(DetectorError, match=r"missing: head\.cls_score\.bias; unexpected: surplus.*another shape"):
        load(retinanet, str(path), trust_weights=True)


@pytest.mark.parametrize("name", ["none.pkl", "none.pth"])
def test_a_missing_file(retinanet, tmp_path, name):
    with pytest.raises(DetectorError, match=rf"{name}: no such weights file"):
        load(retinanet, str(tmp_path / name), trust_weights=True)


def test_a_broken_pickle(retinanet, tmp_path):
    (tmp_path / "w.pkl").write_bytes(b"no pickle")
    with pytest.raises(DetectorError, match=r"w\.pkl: cannot be opened as a pickle"):
        load(retinanet, str(tmp_path / "w.pkl"), trust_weights=True)


_NO_PKG_RESOURCES = "ignore:.*pkg_resources.*"


@pytest.mark.filterwarnings(_NO_PKG_RESOURCES)
def test_the_zoos_weights_are_pickles_and_not_downloaded_without_trust(monkeypatch):
    monkeypatch.setattr(PathManager, "get_local_path", lambda url: pytest.fail("downloaded"))
    with pytest.raises(DetectorError, match=r"https://.*model_final_5bd44e\.pkl: not plain tensors.*trust_weights"):
        load_detector("d2_retinanet_r50_fpn")


@pytest.mark.filterwarnings(_NO_PKG_RESOURCES)
def test_the_zoos_weights_without_network(monkeypatch):
    def fail(url):
        raise OSError("no route to host")

    monkeypatch.setattr(PathManager, "get_local_path", fail)
    message = r"https://.*pkl: cannot be downloaded \(no route to host\); fetch it.*detector\.weights=PATH"
    with pytest.raises(DetectorError, match=message):
        load_detector("d2_maskrcnn_r50_fpn", trust_weights=True)


@pytest.mark.filterwarnings(_NO_PKG_RESOURCES)
def test_the_zoos_weights_are_loaded_from_where_they_were_put(monkeypatch, tmp_path):
    detector = load_detector("d2_fasterrcnn_r50_fpn", "random")
    path = pickled(tmp_path / "model_final.pkl", zoo_file(detector.model.state_dict()))
    monkeypatch.setattr(PathManager, "get_local_path", lambda url: path)
    loaded = load_detector("d2_fasterrcnn_r50_fpn", trust_weights=True)
    assert weight_hash(loaded) == weight_hash(detector)


@pytest.mark.filterwarnings(_NO_PKG_RESOURCES)
def test_models_for_which_the_zoo_has_no_weights(retinanet):
    with pytest.raises(DetectorError, match="Detectron2 has released none for COCO-Detection/fcos_R_50_FPN_1x"):
        load_detector("d2_fcos_r50_fpn", trust_weights=True)
    with pytest.raises(DetectorError, match="not one of Detectron2's model zoo; give detector.weights=PATH"):
        load(retinanet, "zoo", trust_weights=True)


def test_the_zoo_without_pkg_resources(monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.startswith("detectron2.model_zoo")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(sys.modules["detectron2"], "model_zoo", raising=False)
    monkeypatch.setitem(sys.modules, "pkg_resources", None)
    with pytest.raises(DetectorError, match="model zoo cannot be imported.*pip install 'setuptools<81'"):
        load_detector("d2_retinanet_r50_fpn", trust_weights=True)
