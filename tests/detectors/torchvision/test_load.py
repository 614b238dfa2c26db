"""torchvision's COCO models: built as the library builds them, and read as the library reads them."""

import re
from fractions import Fraction
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torchvision.models import get_model, get_model_weights
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import FrozenBatchNorm2d

from detinv.config.detectors import detector_node
from detinv.config.folders import choices, config_dir
from detinv.detectors.class_names import COCO_CLASSES
from detinv.detectors.heads.postprocess import postprocess
from detinv.detectors.load import load_detector
from detinv.detectors.regions import Regions
from detinv.detectors.torchvision.library import ARCHITECTURES
from detinv.detectors.torchvision.load import load_torchvision
from detinv.detectors.torchvision.random_weights import randomise_weights
from detinv.errors import DetectorError
from detinv.zoo.weights import weight_hash
from tests.fakes import block_image

SSDLITE = "ssdlite320_mobilenet_v3_large"
SMALL_RCNN = "fasterrcnn_mobilenet_v3_large_320_fpn"
PROPOSALS, DETECTIONS = 30, 14


def is_sigmoid(architecture):
    return architecture.startswith(("retinanet", "fcos"))


def size_for(architecture):
    """Small, but not so small that a coarsest level of a few cells is all that normalisation is settled on."""
    return (192, 256) if "mobilenet" in architecture else (64, 96)


def small(architecture, size=None, detections=None, **options):
    """A detector for small images, with random weights under which it reports dozens of objects of many classes.

    Args:
        detections: most objects that a second stage reports, which makes masks cheaper.
    """
    if "rcnn" in architecture:
        options.setdefault("proposals", PROPOSALS)
    detector = load_torchvision(
        architecture, image_size=size or size_for(architecture), **{"weights": "random", **options}
    )
    if detections is None or "rcnn" not in architecture:
        return detector
    detector.model.roi_heads.detections_per_img = detections
    # Again, as constants of the model are read once.
    return type(detector)(detector.model, detector.class_names, detector.columns)


def predict(detector, pixels, rois=None):
    """Raw predictions of one image of its final size, on a canvas."""
    rois = torch.zeros(1, 0, 4) if rois is None else rois[None]
    size = tuple(pixels.shape[1:])
    canvas = [-(-side // detector.size_divisor) * detector.size_divisor for side in size]
    padded = detector.pixel_mean[:, None, None].expand(3, *canvas).clone()
    padded[:, : size[0], : size[1]] = pixels
    with torch.no_grad():
        return detector(padded[None], [size], Regions.of(rois))


def deviation(found, wanted):
    """Largest deviation of boxes, in pixels, and of scores; the order must be the same.

    Scores that differ by less than 1e-6 are a draw: softmaxes of different columns round differently.
    """
    assert len(found) == len(wanted)
    place = torch.cat([torch.zeros(1), ((wanted.scores[:-1] - wanted.scores[1:]) > 1e-6).cumsum(0)]).long().tolist()

    def ordered(detections):
        rows = zip(place, detections.labels.tolist(), detections.boxes.tolist(), strict=True)
        labels, boxes = zip(*((label, box) for _, label, box in sorted(rows)), strict=True)
        return labels, torch.tensor(boxes)

    (labels, boxes), (wanted_labels, wanted_boxes) = ordered(found), ordered(wanted)
    assert labels == wanted_labels
    return (boxes - wanted_boxes).abs().max().item(), (found.scores - wanted.scores).abs().max().item()


def weights_file(folder, architecture):
    """Where the library looks for its own weights, below its home `folder`."""
    path = folder / "hub" / "checkpoints" / Path(get_model_weights(architecture).COCO_V1.url).name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def old_names(state, architecture):
    """The names that the first models' modules had when their weights were published."""
    if architecture.endswith("_v2") or not architecture.startswith(("retinanet", "fasterrcnn", "maskrcnn")):
        return state
    found = {}
    for key, value in state.items():
        key = re.sub(r"fpn\.(inner|layer)_blocks\.(\d)\.0\.", r"fpn.\1_blocks.\2.", key)
        key = re.sub(r"_head\.conv\.(\d)\.0\.", lambda match: f"_head.conv.{2 * int(match[1])}.", key)
        key = re.sub(r"rpn\.head\.conv\.0\.0\.", "rpn.head.conv.", key)
        key = re.sub(r"mask_head\.(\d)\.0\.", lambda match: f"mask_head.mask_fcn{int(match[1]) + 1}.", key)
        found[key] = value
    return found


def _case(name):
    """One of each way of building is quick: a RetinaNet on ResNet, and an R-CNN and an SSD on MobileNet."""
    quick = name in ("retinanet_resnet50_fpn", SMALL_RCNN, SSDLITE)
    return name if quick else pytest.param(name, marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=[_case(name) for name in ARCHITECTURES])
def architecture(request):
    return request.param


@pytest.fixture(scope="module")
def detector(architecture):
    return small(architecture, detections=DETECTIONS)


@pytest.mark.parametrize(
    "shape",
    ["portrait", pytest.param("landscape", marks=pytest.mark.slow), pytest.param("square", marks=pytest.mark.slow)],
)
def test_raw_predictions_put_through_the_declared_postprocessing_are_the_librarys_inference(
    detector, architecture, shape
):
    short, long = size_for(architecture)
    size = {"landscape": (short, long), "portrait": (long, short), "square": (short, short)}[shape]
    if detector.model.transform.fixed_size is not None:
        detector.model.transform.fixed_size = size[::-1]
    assert detector.network_size(size) == size
    image = block_image(size, 7)
    wanted = detector.detect([image])[0]
    assert len(wanted) > 10
    assert len(set(wanted.labels.tolist())) > 2
    boxes, scores = deviation(postprocess(predict(detector, image.float() / 255), [size])[0], wanted)
    assert boxes < 0.01
    assert scores < 1e-5
    if detector.has_masks:
        roi = predict(detector, image.float() / 255, wanted.boxes).roi
        chosen = roi.mask_logits[0, torch.arange(len(wanted)), wanted.labels].sigmoid()
        pasted = paste_masks_in_image(chosen[:, None], wanted.boxes, size)[:, 0] > 0.5
        assert 0.02 < wanted.masks.float().mean() < 0.98
        # As boxes agree to 0.01 pixel only, a mask may differ where it is as good as undecided.
        assert (pasted != wanted.masks).float().mean() < 1e-4


def test_thresholds_are_the_models(detector, architecture):
    size = size_for(architecture)
    image = block_image(size, 8)
    model = detector.model
    part = getattr(model, "roi_heads", model)
    if model.transform.fixed_size is not None:
        model.transform.fixed_size = size[::-1]
    before = part.score_thresh, part.nms_thresh
    everything = detector.detect([image])[0]
    # Between two scores, as rounding decides at one.
    part.score_thresh, part.nms_thresh = everything.scores.sort().values[[4, 5]].mean().item(), 0.2
    wanted = detector.detect([image])[0]
    found = postprocess(
        predict(type(detector)(model, detector.class_names, detector.columns), image.float() / 255), [size]
    )[0]
    part.score_thresh, part.nms_thresh = before
    assert 1 < len(wanted) < len(everything)
    boxes, scores = deviation(found, wanted)
    assert boxes < 0.01
    assert scores < 1e-5


def test_gradient_reaches_every_pixel_and_weights_stay(detector, architecture):
    before = {key: value.clone() for key, value in detector.model.state_dict().items()}
    size = size_for(architecture)
    pixels = (block_image(size, 3).float() / 255)[None].requires_grad_()
    rois = torch.tensor([[[8.0, 8, 60, 50]]])
    outputs = detector(pixels, [size], Regions.of(rois)).outputs()
    assert all(output.dtype == torch.float32 for output in outputs)
    weights = [torch.rand(output.shape, generator=torch.Generator().manual_seed(0)) for output in outputs]
    total = sum((output * weight).sum() for output, weight in zip(outputs, weights, strict=True))
    (gradient,) = torch.autograd.grad(total, pixels)
    assert gradient.isfinite().all()
    assert (gradient != 0).all()
    assert all(torch.equal(value, before[key]) for key, value in detector.model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in detector.parameters())


def test_weights_of_the_library_give_the_librarys_own_model(detector, architecture, tmp_path, monkeypatch):
    """With its normalisation, frozen or not, and the sizes that the configuration states."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = weights_file(tmp_path, architecture)
    torch.save(old_names(detector.model.state_dict(), architecture), path)
    theirs = get_model(architecture, weights="COCO_V1", progress=False).eval()
    ours = load_detector(architecture)
    path.unlink()  # large, and kept otherwise
    modules, wanted = dict(ours.model.named_modules()), dict(theirs.named_modules())
    assert modules.keys() == wanted.keys()
    for name, module in wanted.items():
        assert type(modules[name]) is type(module), name
        assert getattr(modules[name], "eps", None) == getattr(module, "eps", None), name
    state = ours.model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in theirs.state_dict().items())
    for model in (theirs, ours.model):
        shrink(model, architecture)
    image = block_image((150, 177), 4)
    with torch.no_grad():
        output = theirs([image.float() / 255])[0]
    found = ours.detect([image])[0]
    assert len(found) > 10
    assert torch.equal(found.boxes, output["boxes"])
    assert torch.equal(found.scores, output["scores"])
    assert [ours.columns[label] for label in found.labels.tolist()] == output["labels"].tolist()
    if ours.has_masks:
        assert torch.equal(found.masks, output["masks"][:, 0] > 0.5)


def shrink(model, architecture):
    """Check that the model's sizes are those of the configuration, then make them small."""
    node = detector_node(architecture)
    short, long = size_for(architecture)
    if architecture == SSDLITE:
        assert model.transform.fixed_size == tuple(node["image_size"])[::-1]
        model.transform.fixed_size = (long, short)
    else:
        assert [model.transform.min_size[-1], model.transform.max_size] == list(node["image_size"])
        model.transform.min_size, model.transform.max_size = (short,), long
    if "rcnn" in architecture:
        assert model.rpn.post_nms_top_n() == node["proposals"]
        model.rpn._post_nms_top_n["testing"] = PROPOSALS
        model.roi_heads.detections_per_img = DETECTIONS


def test_classes_and_their_columns_are_those_of_the_librarys_weights(detector, architecture):
    categories = get_model_weights(architecture).COCO_V1.meta["categories"]
    assert detector.class_names == COCO_CLASSES
    assert tuple(categories[column] for column in detector.columns) == COCO_CLASSES
    assert {categories[column] for column in range(91) if column not in detector.columns} == {"__background__", "N/A"}


def test_configurations_are_named_as_in_the_library():
    assert set(choices(config_dir(), "detector")) >= set(ARCHITECTURES)
    for name in ARCHITECTURES:
        node = detector_node(name)
        assert node["name"] == node["architecture"] == name
        assert (node["class_names"], node["weights"], node["num_columns"]) == ("coco", "COCO_V1", 91)
        assert node["trust_weights"] is False
        assert node.get("frozen_eps", 0.0) == 0.0


@pytest.mark.parametrize("name", [pytest.param("retinanet_resnet50_fpn", marks=pytest.mark.slow), SMALL_RCNN])
def test_frozen_normalisation_may_have_another_epsilon(name):
    modules = list(small(name, frozen_eps=1e-3).modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in modules)
    frozen = [module for module in modules if isinstance(module, FrozenBatchNorm2d)]
    assert {module.eps for module in frozen} == {1e-3}
    assert not any((module.running_var == 1).any() for module in frozen)  # random weights settle them as well


def test_nothing_is_frozen_in_the_second_versions():
    with pytest.raises(DetectorError, match=r"frozen_eps=0\.0: \w+_v2 has no frozen normalisation; leave"):
        small("fasterrcnn_resnet50_fpn_v2", frozen_eps=0.0)


# --- models of one's own


@pytest.mark.parametrize(
    ("name", "num_columns", "first"),
    [
        (SSDLITE, 4, 1),
        pytest.param(SMALL_RCNN, 4, 1, marks=pytest.mark.slow),
        pytest.param("retinanet_resnet50_fpn", 4, 1, marks=pytest.mark.slow),
        pytest.param("retinanet_resnet50_fpn", 3, 0, marks=pytest.mark.slow),
    ],
)
def test_a_model_of_ones_own(name, num_columns, first, tmp_path):
    """As a person trains it from nothing and saves it: with running statistics, which are frozen here."""
    options = {"num_columns": num_columns, "class_names": ["a", "b", "c"]}
    if name.startswith("retinanet"):
        options["frozen_eps"] = 1e-5
    theirs = get_model(name, weights=None, weights_backbone=None, num_classes=num_columns).eval()
    theirs.transform = small(name, **options).model.transform
    if name == SMALL_RCNN:
        theirs.rpn._post_nms_top_n["testing"] = PROPOSALS
    randomise_weights(theirs)
    torch.save({"model": theirs.state_dict(), "epoch": 7}, tmp_path / "mine.pth")
    ours = small(name, weights=str(tmp_path / "mine.pth"), **options)
    (tmp_path / "mine.pth").unlink()
    assert ours.columns == tuple(range(first, first + 3))
    for model in (theirs, ours.model):
        model.score_thresh = 0.02  # of a one-stage head: more objects
    image = block_image(size_for(name), 2)
    with torch.no_grad():
        output = theirs([image.float() / 255])[0]
    known = output["labels"] >= first
    found = ours.detect([image])[0]
    assert len(found) > 2
    torch.testing.assert_close(found.scores, output["scores"][known], atol=1e-4, rtol=0)
    torch.testing.assert_close(found.boxes, output["boxes"][known], atol=0.01, rtol=0)
    assert found.labels.tolist() == (output["labels"][known] - first).tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": ["a", "b"]}, "num_columns=91 does not fit 2 class names: give num_columns=3, as torchvision"),
        ({"class_names": ["a", "b"], "num_columns": 2}, "num_columns=2 does not fit 2 class names: give num_columns=3"),
        ({"num_columns": 80}, "num_columns=80 does not fit 80 class names: .*=81, .* or 91 for weights of COCO's own"),
        ({"class_names": ["a", "a"]}, "'a' occurs twice"),
        ({"image_size": [320]}, r"image_size=\[320\]: give two whole numbers"),
        ({"image_size": [320, 0]}, r"image_size=\[320, 0\]: give two whole numbers"),
        ({"proposals": 10}, f"proposals=10: {SSDLITE} has no second stage"),
        ({"frozen_eps": 1e-5}, f"frozen_eps=1e-05: {SSDLITE} has no frozen normalisation"),
        (
            {"weights": "coco_v2"},
            r"weights=coco_v2: .*; did you mean 'COCO_V1'\? \(there are: COCO_V1, DEFAULT, random",
        ),
        ({"weights": "none.pth"}, r"none\.pth: no such weights file"),
        (
            {"weights": "COCO_V1", "class_names": ["a"], "num_columns": 2},
            "weights=COCO_V1: these have 91 columns for COCO's classes, not 2 for 1 class names; give the path",
        ),
        ({"weights": "DEFAULT", "num_columns": 81}, "weights=DEFAULT: these have 91 columns .* not 81 for 80"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(DetectorError, match=message) as caught:
        load_torchvision(SSDLITE, **{"weights": "random", **options})
    assert "\n" not in str(caught.value)


def test_the_longer_side_comes_second():
    with pytest.raises(DetectorError, match="fcos_resnet50_fpn takes the shorter side first"):
        load_torchvision("fcos_resnet50_fpn", weights="random", image_size=[96, 64])
    with pytest.raises(DetectorError, match="proposals=0: there must be at least one"):
        load_torchvision(SMALL_RCNN, weights="random", proposals=0)


@pytest.mark.parametrize(
    ("name", "near"),
    [("fcos", ""), ("retinanet_resnet50", "retinanet_resnet50_fpn"), ("ssdlite320_mobilenet", SSDLITE)],
)
def test_an_unknown_architecture_suggests_the_nearest(name, near):
    with pytest.raises(DetectorError, match=f"architecture '{name}' is not known.*{near}.*maskrcnn_resnet50_fpn_v2"):
        load_torchvision(name)


# --- weights


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The library's home folder, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", [SSDLITE, "retinanet_resnet50_fpn"])
def test_without_network_and_file_the_error_names_the_file_and_where_to_put_it(name, home, monkeypatch):
    def no_network(*arguments, **options):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    url = get_model_weights(name).COCO_V1.url
    folder, file = home / "hub" / "checkpoints", url.rsplit("/", 1)[1]
    message = f"{file}: torchvision's weights of {name} are not in {folder}, and downloading {url} failed"
    with pytest.raises(DetectorError, match=re.escape(message)) as caught:
        load_detector(name)
    assert "no route to host" in str(caught.value)
    assert str(caught.value).endswith("put the file there, or give detector.weights=PATH")
    assert "\n" not in str(caught.value)


def test_what_is_downloaded_is_checked_and_kept_where_the_library_looks(home, monkeypatch):
    asked = []

    def download(url, target, hash_prefix=None, progress=True):
        asked.append((url, hash_prefix))
        torch.save(get_model(SSDLITE, weights=None, weights_backbone=None).state_dict(), target)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    first, second = load_torchvision(SSDLITE), load_torchvision(SSDLITE, weights="DEFAULT")
    assert asked == [(get_model_weights(SSDLITE).COCO_V1.url, "a79551df")]
    assert weights_file(home, SSDLITE).is_file()
    assert weight_hash(first) == weight_hash(second)


def test_a_download_that_is_damaged(home, monkeypatch):
    def damaged(url, target, hash_prefix=None, progress=True):
        raise RuntimeError('invalid hash value (expected "a79551df", got "00")')

    monkeypatch.setattr(torch.hub, "download_url_to_file", damaged)
    with pytest.raises(DetectorError, match=r"ssdlite320_mobilenet_v3_large_coco-a79551df\.pth: .*invalid hash value"):
        load_torchvision(SSDLITE)


def test_a_file_of_another_model_in_the_librarys_folder(home):
    torch.save(get_model(SMALL_RCNN, weights=None, weights_backbone=None).state_dict(), weights_file(home, SSDLITE))
    with pytest.raises(DetectorError, match="these weights do not fit the detector .*missing: .*unexpected: "):
        load_torchvision(SSDLITE)


def test_weights_of_another_number_of_classes(tmp_path):
    torch.save(get_model(SSDLITE, weights=None, weights_backbone=None, num_classes=5).state_dict(), tmp_path / "w.pth")
    with pytest.raises(DetectorError, match=r"w\.pth: .*of another shape: head\.classification_head.*\(30, .*\(546, "):
        load_torchvision(SSDLITE, weights=str(tmp_path / "w.pth"))


def test_a_pickle_needs_trust(tmp_path):
    model = get_model(SSDLITE, weights=None, weights_backbone=None)
    torch.save({"model": model.state_dict(), "part": Fraction(1, 2)}, tmp_path / "w.pth")
    with pytest.raises(DetectorError, match="detector.trust_weights=true"):
        load_torchvision(SSDLITE, weights=str(tmp_path / "w.pth"))
    detector = load_torchvision(SSDLITE, weights=str(tmp_path / "w.pth"), trust_weights=True)
    assert weight_hash(detector.model) == weight_hash(model)


@pytest.mark.slow
def test_twenty_images_of_three_sizes(architecture):
    sizes = [(192, 256), (256, 192), (224, 224)]
    detector = small(architecture, (192, 256), **({"proposals": 300} if "rcnn" in architecture else {}))
    counts, boxes, scores = [], [], []
    for number in range(20):
        size = sizes[number % 3]
        if architecture == SSDLITE:
            detector.model.transform.fixed_size = size[::-1]
        size = detector.network_size(size)
        image = block_image(size, 100 + number)
        wanted = detector.detect([image])[0]
        found = postprocess(predict(detector, image.float() / 255), [size])[0]
        counts.append(len(wanted))
        box, score = deviation(found, wanted)
        boxes.append(box)
        scores.append(score)
    print(f"{architecture}: {min(counts)} to {max(counts)} objects, {max(boxes):.1e} px, scores {max(scores):.1e}")
    assert min(counts) > 20
    assert max(boxes) < 0.01
    assert max(scores) < 1e-5
