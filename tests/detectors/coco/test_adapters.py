"""The adapters of the three detectors that others trained on COCO, on small inputs with the bundled weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detinv.config.detectors import detector_node
from detinv.detectors.canvas import on_canvas
from detinv.detectors.class_names import COCO_CLASSES
from detinv.detectors.heads.postprocess import postprocess
from detinv.detectors.load import load_detector
from detinv.detectors.resize import averaged_8bit, interpolated_8bit, warped_8bit
from detinv.errors import ConfigError, DetectorError
from detinv.layouts.coco import load_coco
from detinv.metrics.coco_ap import average_precision
from detinv.results.io.images import read_images
from tests.coco_detectors import NAMES, small
from tests.fakes import block_image
from tests.rows import assert_rows_are_those_of_detections

PHOTOGRAPHS = Path(__file__).resolve().parents[4] / "shared" / "data" / "coco_val40"
needs_photographs = pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason=f"no photographs at {PHOTOGRAPHS}")
# AP on the photographs, measured with the published networks in full precision.
AVERAGE_PRECISION = {"fastestdet": 20.9, "nanodet_m": 26.7, "yolox_nano": 35.3}


def predict(detector, images):
    with torch.no_grad():
        return detector(on_canvas(detector, [detector.network_image(image) for image in images]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(128, 128), (90, 120), (200, 150)])
def test_raw_predictions_are_the_inference(name, size):
    detector, image = small(name), block_image(size, seed=2)
    (own,), resized = detector.detect([image]), detector.network_image(image)
    network_size = (resized.shape[1], resized.shape[2])
    (ours,) = postprocess(predict(detector, [image]), [network_size])
    assert len(own) == len(ours) > 5
    torch.testing.assert_close(ours.scores, own.scores, atol=1e-5, rtol=0)
    assert ours.labels.tolist() == own.labels.tolist()
    boxes = detector.boxes_in_image(ours.boxes, network_size, size)
    torch.testing.assert_close(boxes, own.boxes, atol=1e-2, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_those_of_detections(name):
    assert_rows_are_those_of_detections(small(name), [block_image((128, 128)), block_image((90, 120), 1)])


@pytest.mark.parametrize("name", NAMES)
def test_classes_and_features_are_declared(name):
    detector = small(name)
    assert detector.class_names == COCO_CLASSES
    layers = {layer.name: layer.stride for layer in detector.feature_layers()}
    levels = [layer.name for layer in detector.level_layers()]
    assert levels == (["p4"] if name == "fastestdet" else ["p3", "p4", "p5"])
    assert {"c2", "c3", "c4", "c5"} <= set(layers)
    assert all(layers[level] == 2 ** int(level[1:]) for level in levels)


@pytest.mark.parametrize("name", NAMES)
def test_autocast_does_not_round_the_network(name):
    detector, image = small(name), block_image((128, 128))
    exact = predict(detector, [image]).outputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = predict(detector, [image]).outputs()
    for one, other in zip(exact, again, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_random_weights_are_the_same_every_time_and_find_something(name):
    options = detector_node(name)["options"]
    options |= {"image_size": 128 if isinstance(options["image_size"], int) else [128, 128]}
    detectors = [load_detector(name, weights="random", options=options) for _ in range(2)]
    one, other = (detector.detect([block_image((128, 128))])[0] for detector in detectors)
    assert torch.equal(one.boxes, other.boxes)
    assert len(one) > 5 and len(one.labels.unique()) > 1


@pytest.mark.parametrize(
    ("name", "changed", "error"),
    [
        ("yolox_nano", {"image_size": 100}, DetectorError),
        ("nanodet_m", {"image_size": [416, 100]}, DetectorError),
        ("fastestdet", {"image_size": [0, 352]}, DetectorError),
        ("nanodet_m", {"resize": "cubic"}, DetectorError),
        ("yolox_nano", {"nms_thresh": 1.5}, ConfigError),
        ("yolox_nano", {"detections_per_image": 0}, ConfigError),
    ],
)
def test_impossible_options_are_named(name, changed, error):
    with pytest.raises(error, match=next(iter(changed))):
        load_detector(name, options=detector_node(name)["options"] | changed)


def test_yolox_fits_images_into_a_square_and_leaves_the_rest_grey():
    detector = small("yolox_nano")
    assert detector.network_size((480, 640)) == (96, 128)
    assert detector.network_size((333, 500)) == (85, 128)
    assert detector.network_size(detector.network_size((333, 500))) == (85, 128)
    canvas = on_canvas(detector, [detector.network_image(block_image((60, 80)))])
    assert canvas.shape[-2:] == (128, 128)
    assert (canvas[..., 96:, :] * 255).round().unique().tolist() == [114]
    back = detector.boxes_in_image(torch.tensor([[64.0, 48, 128, 96]]), (96, 128), (60, 80))
    assert back.tolist() == [[40, 30, 80, 60]]


@pytest.mark.parametrize("name", ["nanodet_m", "fastestdet"])
def test_others_stretch_every_image(name):
    detector = small(name)
    assert detector.network_size((480, 640)) == detector.network_size((50, 60)) == (128, 128)
    assert detector.network_image(block_image((90, 120))).shape == (3, 128, 128)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_of_the_networks_size_is_not_resampled(name):
    image = block_image((128, 128))
    assert torch.equal((small(name).network_image(image) * 255).round().to(torch.uint8), image)


def test_resizing_as_opencv_does():
    cv2 = pytest.importorskip("cv2", reason="needs OpenCV to compare with")
    image = block_image((90, 120))
    theirs = cv2.resize(image.permute(1, 2, 0).numpy(), (64, 48), interpolation=cv2.INTER_LINEAR)
    assert (interpolated_8bit(image, (48, 64)).permute(1, 2, 0).int() - torch.from_numpy(theirs).int()).abs().max() <= 1


def test_a_warp_leaves_the_first_pixel_where_it_is():
    image = block_image((90, 120))
    halved = warped_8bit(image, (45, 60))
    assert torch.equal(halved, image[:, ::2, ::2])
    doubled = warped_8bit(image, (180, 240))
    assert torch.equal(doubled[:, ::2, ::2], image)
    assert torch.equal(warped_8bit(image, (90, 120)), image)


def test_averaging_is_pillows():
    image = block_image((90, 120))
    theirs = np.array(Image.fromarray(image.permute(1, 2, 0).numpy()).resize((64, 48), Image.Resampling.BILINEAR))
    assert torch.equal(averaged_8bit(image, (48, 64)), torch.from_numpy(theirs).permute(2, 0, 1))
    stripes = torch.zeros(3, 64, 64, dtype=torch.uint8)
    stripes[:, ::4] = 255
    assert averaged_8bit(stripes, (16, 16)).float().std() < 12
    assert interpolated_8bit(stripes, (16, 16)).float().std() == 0, "none of the rows between is read"


@needs_photographs
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_average_precision_on_photographs(name):
    detector = load_detector(name)
    layouts = load_coco(PHOTOGRAPHS / "instances.json", COCO_CLASSES, masks=False)
    names, photographs = read_images(PHOTOGRAPHS / "images")
    by_name = dict(zip((Path(one).stem for one in names), photographs, strict=True))
    detections = [detector.detect([by_name[layout.id]])[0] for layout in layouts]
    found = average_precision(layouts, detections, COCO_CLASSES)["AP"]
    assert found == pytest.approx(AVERAGE_PRECISION[name], abs=0.3)
