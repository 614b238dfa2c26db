"""YOLO's adapters against the library's own inference, on random weights that find dozens of objects."""

import copy
import math
from dataclasses import replace
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from detinv.config.instantiate import compose_choice, instantiate
from detinv.detectors.heads.postprocess import postprocess
from detinv.detectors.hooks import count_hooks
from detinv.detectors.load import load_detector
from detinv.detectors.ultralytics.library import require_ultralytics
from detinv.detectors.ultralytics.load import load_ultralytics
from detinv.detectors.ultralytics.yolo import UltralyticsYOLO
from detinv.errors import DetectorError
from detinv.inversion.callbacks.base import AbstractStepCallback
from detinv.inversion.fit import fit_batch
from detinv.inversion.modules.ensemble import as_ensemble
from detinv.layouts.layout import Layout
from detinv.runtime.quiet import quiet_lightning
from detinv.zoo.weights import weight_hash
from tests.lost_objects import assert_lost_by_score
from tests.rows import assert_every_question_has_a_gradient, assert_rows_are_those_of_detections

if find_spec("ultralytics") is None:
    pytest.skip("needs ultralytics: pip install 'detinv[yolo]'", allow_module_level=True)

SIZE = 96
# Architecture, number of classes, and whether the one-to-one branch is used.
HEADS = {
    "v8": ("yolov8n.yaml", 80, False),
    "v11": ("yolo11n.yaml", 5, False),
    "v10": ("yolov10n.yaml", 5, True),
    "v10 one-to-many": ("yolov10n.yaml", 5, False),
    "v26": ("yolo26n.yaml", 5, True),
    "v26 one-to-many": ("yolo26n.yaml", 5, False),
}
FRAMES = [(96, 96), (64, 96), (96, 32)]


def noise(seed, size=(SIZE, SIZE)):
    """An 8-bit image of coarse and fine noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 5, 5, generator=generator)
    image = nn.functional.interpolate(coarse, size, mode="bilinear") + 0.2 * torch.randn(
        1, 3, *size, generator=generator
    )
    return (image[0].clamp(0, 1) * 255).to(torch.uint8)


@cache
def lively(head, seed=0, **options):
    """A detector with random weights; cached, so not to be changed."""
    architecture, classes, end_to_end = HEADS[head]
    names = [f"class{number}" for number in range(classes)]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return load_ultralytics(architecture, class_names=names, image_size=SIZE, end_to_end=end_to_end, **options)


def raw(detector, pixels):
    return detector(pixels)


def librarys(detector, network):
    """The library's predictor on a copy of the network, which it fuses."""
    from ultralytics import YOLO

    model = YOLO(HEADS["v8"][0], verbose=False)
    model.model = copy.deepcopy(network)

    def predict(image):
        array = np.ascontiguousarray(image.permute(1, 2, 0).numpy()[..., ::-1])
        (found,) = model.predict(array, imgsz=SIZE, verbose=False, nms=not detector.end_to_end)
        return found.boxes

    return predict


def assert_same_set(boxes, scores, labels, wanted, what):
    """Each detection has one of its own in `wanted`: same class, box within 0.05 px, score within 1e-4."""
    assert len(boxes) == len(wanted), what
    left = list(range(len(wanted)))
    for box, score, label in zip(boxes, scores, labels, strict=True):
        near = [
            number
            for number in left
            if label == wanted.labels[number]
            and (box - wanted.boxes[number]).abs().max() < 0.05
            and (score - wanted.scores[number]).abs() < 1e-4
        ]
        assert near, f"{what}: {label} {box.tolist()} at {score}"
        left.remove(near[0])


@pytest.fixture(scope="module", params=HEADS)
def head(request):
    return request.param


@pytest.fixture(scope="module")
def detector(head):
    return lively(head)


def test_twenty_images_of_three_sizes_equal_the_librarys_predictor(head, detector):
    predict = librarys(detector, detector.model)
    found, classes = 0, set()
    for seed in range(20):
        image = noise(seed, [(96, 96), (61, 150), (200, 90)][seed % 3])
        wanted = predict(image)
        (ours,) = detector.detect([image])
        assert ours.image_size == tuple(image.shape[1:])
        assert_same_set(wanted.xyxy, wanted.conf, wanted.cls, ours, f"image {seed}")
        found += len(ours)
        classes |= set(ours.labels.tolist())
    assert found > 20 * 12
    assert len(classes) >= 4


def test_raw_predictions_and_declared_postprocessing_equal_the_librarys_inference(head, detector):
    suppressed = 0
    for seed in range(20):
        size = FRAMES[seed % 3]
        image = noise(100 + seed, size)
        assert detector.network_size(size) == size
        predictions = raw(detector, image[None].float() / 255)
        (ours,) = postprocess(predictions, [size])
        (wanted,) = detector.detect([image])
        assert len(wanted) > 5
        assert_same_set(ours.boxes, ours.scores, ours.labels, wanted, f"image {seed}")
        suppressed += int((predictions.dense.scores().amax(-1) > 0.25).sum()) - len(wanted)
    assert detector.end_to_end or suppressed > 0


def test_close_calls_of_suppression_fall_as_in_the_library():
    # Boxes of class 79 are moved by 606720 pixels, where coordinates are multiples of a sixteenth.
    detector = copy.deepcopy(lively("v8", score_thresh=0.02, detections_per_image=3000))
    for level in detector.model.model[-1].cv3:
        level[-1].bias[70:] += 3
    otherwise = 0
    for seed in range(10):
        image = noise(seed)
        predictions = raw(detector, image[None].float() / 255)
        (ours,) = postprocess(predictions, [(SIZE, SIZE)])
        (wanted,) = detector.detect([image])
        assert_same_set(ours.boxes, ours.scores, ours.labels, wanted, f"image {seed}")
        head = predictions.dense.head
        apart = replace(head, post=replace(head.post, class_offset=None))
        (exact,) = postprocess(replace(predictions, dense=replace(predictions.dense, head=apart)), [(SIZE, SIZE)])
        otherwise += len(exact) != len(wanted) or not exact.labels.equal(wanted.labels)
    assert otherwise > 0


def test_gradient_reaches_every_pixel(head, detector):
    pixels = (noise(7)[None].float() / 255).requires_grad_()
    dense = raw(detector, pixels).dense
    weights = torch.Generator().manual_seed(0)
    for output in (dense.logits, dense.boxes()):
        (gradient,) = torch.autograd.grad(
            (output * torch.randn(output.shape, generator=weights)).sum(), pixels, retain_graph=True
        )
        assert (gradient != 0).all()


def test_the_librarys_own_path_to_the_one_to_one_branch_has_no_gradient():
    detector = lively("v10")
    network = copy.deepcopy(detector.model)
    network.train()
    pixels = (noise(7)[None].float() / 255).requires_grad_()
    outputs = network(pixels)
    assert outputs["one2many"]["scores"].requires_grad
    assert not outputs["one2one"]["scores"].requires_grad


def test_logits_and_boxes_are_those_the_library_decodes(head, detector):
    image = noise(8)
    dense = raw(detector, image[None].float() / 255).dense
    _, outputs = detector.model(image[None].float() / 255)
    outputs = outputs.get("one2one" if detector.end_to_end else "one2many", outputs)
    torch.testing.assert_close(dense.logits, outputs["scores"].transpose(1, 2), atol=1e-5, rtol=1e-5)
    if dense.bins is None:
        return
    torch.testing.assert_close(dense.bins.flatten(2), outputs["boxes"].transpose(1, 2), atol=1e-5, rtol=1e-5)
    wanted = detector.model.model[-1].dfl(outputs["boxes"]).transpose(1, 2)
    torch.testing.assert_close(dense.deltas, wanted, atol=1e-5, rtol=1e-5)


def test_points_are_the_middles_of_cells_finest_level_first(detector):
    head = raw(detector, torch.zeros(1, 3, 64, 96)).dense.head
    assert head.level_sizes == (8 * 12, 4 * 6, 2 * 3)
    centres = (head.anchors[:, :2] + head.anchors[:, 2:]) / 2
    assert centres[[0, 1, 12, 96, 120]].tolist() == [[4, 4], [12, 4], [4, 12], [8, 8], [16, 16]]
    sides = head.anchors[:, 2:] - head.anchors[:, :2]
    assert sides[[0, 96, 120]].tolist() == [[8, 8], [16, 16], [32, 32]]


def test_large_boxes_are_beyond_the_reach_of_fine_points():
    head = raw(lively("v8"), torch.zeros(1, 3, 352, 352)).dense.head
    able = head.codec.expresses(torch.tensor([[[10.0, 10, 340, 340]]]), head.anchors)[0, 0]
    assert not able[: head.level_sizes[0]].any()
    assert able[head.level_sizes[0] :].any()


def test_batch_equals_single_images(detector):
    pixels = torch.stack([noise(seed) for seed in (1, 2)]).float() / 255
    together = raw(detector, pixels).dense
    for number in range(2):
        alone = raw(detector, pixels[number : number + 1]).dense
        torch.testing.assert_close(alone.logits[0], together.logits[number], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(alone.boxes()[0], together.boxes()[number], atol=1e-2, rtol=1e-4)


def test_inference_and_gradients_leave_the_network_as_it_was(detector):
    before = weight_hash(detector)
    pixels = (noise(3)[None].float() / 255).requires_grad_()
    with torch.inference_mode():
        raw(detector, pixels)
        first = detector.detect([noise(3)])[0]
    raw(detector, pixels).dense.logits.sum().backward()
    again = detector.detect([noise(4, (50, 70)), noise(3)])[1]
    assert again.boxes.equal(first.boxes)
    assert weight_hash(detector) == before
    assert not detector.model.is_fused()
    assert not any(parameter.requires_grad for parameter in detector.parameters())
    assert not any(module.training for module in detector.train().modules())
    assert count_hooks(detector) == 0


def test_low_precision_before_does_not_spoil_the_librarys_inference():
    detector = lively("v8")
    image = noise(5)
    (wanted,) = detector.detect([image])
    with torch.autocast("cpu", torch.bfloat16):
        dense = raw(detector, image[None].float() / 255).dense
        detector.model(image[None].float() / 255)
        (again,) = detector.detect([image])
    assert dense.logits.dtype == dense.deltas.dtype == dense.bins.dtype == torch.float32
    assert again.boxes.equal(wanted.boxes)


def test_network_size_is_the_librarys_letterbox(detector):
    from ultralytics.data.augment import LetterBox

    letterbox = LetterBox((SIZE, SIZE), auto=True, stride=32)
    for size in [(96, 96), (4, 300), (300, 4), (7, 9), (61, 150), (640, 427), (33, 96), (500, 499), (1080, 1920)]:
        found = detector.network_size(size)
        assert letterbox(image=np.zeros((*size, 3), np.uint8)).shape[:2] == found
        assert detector.network_size(found) == found
        image = noise(0, found).permute(1, 2, 0).numpy()
        assert (letterbox(image=image) == image).all()


def test_padding_is_the_librarys_grey(detector):
    from ultralytics.data.augment import LetterBox

    canvas = LetterBox((SIZE, SIZE), auto=True, stride=32)(image=np.zeros((96, 40, 3), np.uint8))
    assert canvas.shape == (96, 64, 3)
    torch.testing.assert_close(detector.pixel_mean, torch.from_numpy(canvas)[0, 0].float() / 255)


def test_canvas_of_another_size_is_refused(detector):
    with pytest.raises(ValueError, match="a canvas of 96 x 100 pixels: sides must be multiples of 32"):
        raw(detector, torch.zeros(1, 3, 96, 100))


def test_an_image_without_anything_gives_no_detections():
    detector = lively("v8", score_thresh=0.999)
    (found,) = detector.detect([torch.full((3, 40, 50), 114, dtype=torch.uint8)])
    assert (len(found), found.image_size) == (0, (40, 50))


def test_most_detections_are_limited_as_in_the_library():
    for head in ("v8", "v10"):
        detector = lively(head, detections_per_image=4)
        image = noise(100)
        (found,) = detector.detect([image])
        assert len(found) == 4
        (ours,) = postprocess(raw(detector, image[None].float() / 255), [(SIZE, SIZE)])
        assert_same_set(ours.boxes, ours.scores, ours.labels, found, head)


def test_what_the_heads_declare():
    many, one = lively("v8"), lively("v10")
    pixels = torch.zeros(1, 3, 64, 64)
    assert raw(many, pixels).dense.head.post.nms_thresh == 0.7
    assert raw(many, pixels).dense.head.assigner.reach == 15
    assert raw(one, pixels).dense.head.post.nms_thresh is None
    assert raw(one, pixels).dense.head.assigner is None
    distances = raw(lively("v26"), pixels).dense
    assert distances.bins is None
    assert distances.head.codec.unit == (64, 64)
    assert math.isinf(distances.head.codec.reach)


@pytest.mark.parametrize("name", ["yolov8n", "yolo11n", "yolov10n", "yolo26n"])
def test_configurations_build_detectors_of_coco(name):
    node = compose_choice("detector", name)
    assert node.name == name
    assert node.image_size == 640
    detector = load_detector(name, "random", image_size=64)
    assert len(detector.class_names) == 80
    assert detector.end_to_end == (name in ("yolov10n", "yolo26n"))
    assert raw(detector, torch.zeros(1, 3, 64, 64)).dense.logits.shape == (1, 64 + 16 + 4, 80)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 100}, r"^image_size=100: must be a multiple of 32, as the library pads images$"),
        ({"score_thresh": 1.5}, r"^score_thresh=1.5: must lie in 0 ... 1$"),
        ({"nms_thresh": -0.1}, r"^nms_thresh=-0.1: must lie in 0 ... 1$"),
        ({"detections_per_image": 0}, r"^detections_per_image=0: must be at least 1$"),
        ({"image_size": 0}, "image_size=0: must be a multiple of 32"),
        ({"end_to_end": True}, r"^end_to_end=true: this network does not have that branch$"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(DetectorError, match=message):
        load_detector("yolov8n", "random", **options)


def test_wrong_number_of_names_is_refused():
    with pytest.raises(DetectorError, match="1 class names for a network with 80 classes"):
        UltralyticsYOLO(lively("v8").model, ["ant"])


def test_a_network_of_another_kind_is_refused():
    require_ultralytics()
    with pytest.raises(DetectorError, match="ends in a head Linear; only networks that detect nothing but boxes"):
        UltralyticsYOLO(nn.Linear(2, 2), ["ant"])


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("v8", {"cls", "reg", "positive", "dfl"}),
        ("v10", {"cls", "reg", "positive", "dfl"}),
        ("v26", {"cls", "reg", "positive", "l1"}),
    ],
)
def test_ten_steps_lower_the_loss(name, terms):
    detector = lively(name)
    boxes = torch.tensor([[8.0, 8, 40, 56], [50, 30, 90, 80]])
    labels = torch.tensor([1, 3])
    layouts = [
        Layout(boxes, labels, (SIZE, SIZE), "two"),
        Layout(boxes[:0], labels[:0], (SIZE, SIZE), "none"),
    ]
    losses = []

    class Record(AbstractStepCallback):
        def after_step(self, trainer, module, step):
            losses.append(module.outcome)

    before = weight_hash(detector)
    with quiet_lightning():
        preset = instantiate(compose_choice("preset", "default"))
        fit_batch(as_ensemble(detector), layouts, preset, 10, 0, {"accelerator": "cpu"}, (), [Record()])
    assert set(losses[0].terms) == terms
    assert all(outcome.total.isfinite().all() for outcome in losses)
    assert losses[-1].total[0] < losses[0].total[0]
    assert weight_hash(detector) == before


def test_rows_are_those_of_detections(detector):
    sizes = [(96, 96), (64, 96), (61, 150), (200, 90)]
    assert_rows_are_those_of_detections(detector, [noise(seed, size) for seed, size in enumerate(sizes)])


def test_every_question_has_a_gradient(detector):
    assert_every_question_has_a_gradient(detector, noise(0))


def test_what_a_threshold_drops_was_lost_by_its_score(detector):
    assert_lost_by_score(detector, [noise(seed, (200, 90)) for seed in range(4)])
