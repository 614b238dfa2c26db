"""Adapters of Detectron2 against a real install of it: raw predictions, its own inference, and gradients."""

import copy
import math
import warnings

import pytest
import torch

from detinv.detectors.class_names import COCO_CLASSES
from detinv.detectors.heads.assigners import AnchorAssigner, PointAssigner
from detinv.detectors.heads.postprocess import postprocess
from detinv.detectors.heads.proposals import propose
from detinv.detectors.hooks import capture_features
from detinv.detectors.regions import Regions
from detinv.errors import DetectorError
from detinv.layouts.batch import size_limits
from detinv.zoo.weights import weight_hash
from tests.fakes import in_float64
from tests.lost_objects import assert_lost_by_score
from tests.rows import assert_every_question_has_a_gradient, assert_rows_are_those_of_detections

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what torch says about how Detectron2 is made
    pytest.importorskip("detectron2.modeling", reason="needs Detectron2, see its own guide")
    from detectron2.config import LazyConfig, get_cfg, instantiate
    from detectron2.data.transforms import ResizeShortestEdge
    from detectron2.engine import DefaultPredictor
    from detectron2.layers import paste_masks_in_image
    from detectron2.modeling.proposal_generator.proposal_utils import find_top_rpn_proposals

    from detinv.detectors.detectron2.library import ZOO
    from detinv.detectors.detectron2.load import load_detectron2
    from tests.detectors.detectron2.slim import (
        BASES,
        NAMES,
        YAML,
        configuration,
        random_image,
        randomise_weights,
        slim_detector,
    )

pytestmark = pytest.mark.detectron2

FAMILIES = ("retinanet", "fcos", "fasterrcnn", "maskrcnn")
# Network sizes, so that the library resizes nothing: the shorter side is 96, the longer one at most 128.
SIZES = ((96, 128), (96, 112), (128, 96))


@pytest.fixture(scope="module")
def detectors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detectron2")
    return {family: slim_detector(folder, family) for family in FAMILIES}


def on_canvas(detector, images, canvas_size):
    """Pixels of 8-bit images at the upper left of canvases that hold the padding colour elsewhere."""
    pixels = detector.pixel_mean[None, :, None, None].expand(len(images), 3, *canvas_size).clone()
    for row, image in enumerate(images):
        pixels[row, :, : image.shape[1], : image.shape[2]] = image.float() / 255
    return pixels


def run(detector, pixels, sizes=None, rois=None):
    rois = torch.tensor([[[4.0, 6, 40, 50], [0, 0, 1, 1]]]).repeat(len(pixels), 1, 1) if rois is None else rois
    sizes = [tuple(pixels.shape[2:])] * len(pixels) if sizes is None else sizes
    return detector(pixels, sizes, Regions.of(rois))


def canvas_of(size):
    """The smallest canvas of an image, as the library pads it."""
    return tuple(math.ceil(side / 32) * 32 for side in size)


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def outputs_of(predictions):
    dense, roi = predictions.dense, predictions.roi
    found = {"logits": dense.logits, "deltas": dense.deltas, "boxes": dense.boxes(), "quality": dense.quality_logits}
    if roi is not None:
        found |= {"roi logits": roi.logits, "roi deltas": roi.deltas, "masks": roi.mask_logits}
    return {name: value for name, value in found.items() if value is not None}


def library_predictor(detector, folder, family, more=""):
    """Detectron2's own way from an RGB image to its results, with the detector's weights."""
    if family == "fcos":
        cfg = LazyConfig.load(configuration(folder, family, more))
        model = instantiate(cfg.model).eval()
        model.load_state_dict(detector.model.state_dict())
        (resize,) = (instantiate(step) for step in cfg.dataloader.test.mapper.augmentations)
        assert isinstance(resize, ResizeShortestEdge)

        def predict(image):
            bgr = image.flip(0).permute(1, 2, 0).contiguous().numpy()
            resized = resize.get_transform(bgr).apply_image(bgr)
            inputs = torch.as_tensor(resized.astype("float32").transpose(2, 0, 1))
            with torch.no_grad():
                return model([{"image": inputs, "height": bgr.shape[0], "width": bgr.shape[1]}])[0]

        return predict
    cfg = get_cfg()
    cfg.merge_from_file(configuration(folder, family, more))
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "cpu", str(folder / "weights.pth")
    torch.save({"model": detector.model.state_dict()}, cfg.MODEL.WEIGHTS)
    predictor = DefaultPredictor(cfg)
    return lambda image: predictor(image.flip(0).permute(1, 2, 0).contiguous().numpy())


def assert_same(found, wanted):
    assert found.labels.tolist() == wanted.labels.tolist()
    torch.testing.assert_close(found.scores, wanted.scores, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.boxes, wanted.boxes, atol=0.01, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_twenty_images_of_three_sizes_give_the_librarys_detections_in_its_order(detectors, family):
    detector = detectors[family]
    labels = set()
    for number in range(20):
        size = SIZES[number % 3]
        image = random_image(size, number)
        assert detector.network_size(size) == size
        wanted = detector.detect([image])[0]
        with torch.no_grad():
            predictions = run(detector, on_canvas(detector, [image], canvas_of(size)), [size])
        assert_same(postprocess(predictions, [size])[0], wanted)
        assert len(wanted) >= 20
        labels |= set(wanted.labels.tolist())
    assert labels == {0, 1, 2, 3}


@pytest.mark.parametrize("family", FAMILIES)
def test_detect_is_detectron2s_predictor_to_the_last_bit(detectors, family, tmp_path):
    detector = detectors[family]
    predict = library_predictor(detector, tmp_path, family)
    resized = ((75, 100), (200, 160), (60, 200), (97, 131))
    for number, size in enumerate((*SIZES, *resized)):
        image = random_image(size, number)
        (found,) = detector.detect([image])
        wanted = predict(image)["instances"]
        assert len(found) > 0
        assert torch.equal(found.boxes, wanted.pred_boxes.tensor)
        assert torch.equal(found.scores, wanted.scores)
        assert torch.equal(found.labels, wanted.pred_classes)
        assert (found.masks is not None) == detector.has_masks == (family == "maskrcnn")
        if found.masks is not None:
            assert torch.equal(found.masks, wanted.pred_masks)
            assert found.masks.shape[1:] == size
            assert 0.005 < found.masks.float().mean() < 0.98


@pytest.mark.parametrize("family", FAMILIES)
def test_two_sizes_on_one_canvas_equal_the_librarys_batch(detectors, family):
    detector = detectors[family]
    images = [random_image((96, 128), 1), random_image((128, 96), 2)]
    sizes = [(96, 128), (128, 96)]
    with torch.no_grad():
        found = postprocess(run(detector, on_canvas(detector, images, (128, 128)), sizes), sizes)
        outputs = detector.model([{"image": image.flip(0).float()} for image in images])
    for ours, output in zip(found, outputs, strict=True):
        wanted = output["instances"]
        assert ours.labels.tolist() == wanted.pred_classes.tolist()
        torch.testing.assert_close(ours.boxes, wanted.pred_boxes.tensor, atol=0.01, rtol=0)
        torch.testing.assert_close(ours.scores, wanted.scores, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_predictions_with_gradient_are_those_without(detectors, family):
    # Detectron2's frozen normalisation takes another path where a gradient is asked for.
    detector = detectors[family]
    pixels = noise(1, 3, 96, 128)
    with torch.no_grad():
        plain = outputs_of(run(detector, pixels))
    for name, value in outputs_of(run(detector, pixels.requires_grad_())).items():
        if not name.startswith("roi"):  # another rounding may choose other proposals
            assert (value.detach() - plain[name]).norm() < 1e-5 * plain[name].norm(), name


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_reaches_every_pixel_from_every_output(detectors, family):
    pixels = noise(1, 3, 96, 128).requires_grad_()
    for name, value in outputs_of(run(detectors[family], pixels)).items():
        functional = (value * noise(*value.shape, seed=1)).sum()
        (gradient,) = torch.autograd.grad(functional, pixels, retain_graph=True)
        assert gradient.isfinite().all(), name
        # Mask logits see the surroundings of the given boxes only.
        share = (gradient != 0).float().mean()
        assert share > (0.3 if name == "masks" else 0.999), f"{name}: {share:.3f} of the pixels"


@pytest.mark.parametrize("family", FAMILIES)
def test_detector_stays_frozen_and_unchanged_and_empty_layouts_work(detectors, family):
    detector = detectors[family]
    before = weight_hash(detector)
    detector.train()
    assert not any(module.training for module in detector.modules())
    assert not any(parameter.requires_grad for parameter in detector.parameters())
    pixels = noise(2, 3, 96, 128).requires_grad_()
    predictions = run(detector, pixels, rois=torch.zeros(2, 0, 4))
    sum(value.square().sum() for value in outputs_of(predictions).values()).backward()
    assert pixels.grad.isfinite().all()
    assert weight_hash(detector) == before


@pytest.mark.parametrize("family", FAMILIES)
def test_images_of_a_batch_do_not_see_each_other(detectors, family):
    detector = in_float64(copy.deepcopy(detectors[family]))
    pixels = noise(2, 3, 96, 128, seed=3).requires_grad_()
    together = outputs_of(run(detector, pixels))
    alone = outputs_of(run(detector, pixels[:1]))
    for name, value in alone.items():
        if not name.startswith("roi"):
            torch.testing.assert_close(together[name][:1], value, atol=1e-3, rtol=1e-4)
    (gradient,) = torch.autograd.grad(sum(value[0].sum() for value in together.values()), pixels)
    assert gradient[0].abs().sum() > 0
    assert not gradient[1].any()


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_gives_fp32_close_to_fp32_and_detects_in_fp32(detectors, family, tmp_path):
    detector = slim_detector(tmp_path, family)  # its constants are made under autocast
    pixels = noise(1, 3, 96, 128)
    image = (pixels[0] * 255).to(torch.uint8)
    exact, wanted = run(detectors[family], pixels), detectors[family].detect([image])[0]
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        rough = run(detector, pixels)
        found = detector.detect([image])[0]
    assert torch.equal(rough.dense.head.anchors, exact.dense.head.anchors)
    for name, value in outputs_of(rough).items():
        assert value.dtype == torch.float32
        if not name.startswith("roi"):
            assert (value - outputs_of(exact)[name]).norm() / outputs_of(exact)[name].norm() < 0.1, name
    if rough.roi is not None:
        given = slice(-2, None)
        difference = rough.roi.logits[:, given] - exact.roi.logits[:, given]
        assert difference.norm() / exact.roi.logits[:, given].norm() < 0.1
    assert torch.equal(found.boxes, wanted.boxes)


@pytest.mark.parametrize("family", FAMILIES)
def test_constants_made_under_inference_mode_serve_a_backward(family, tmp_path):
    detector = slim_detector(tmp_path, family)
    pixels = noise(1, 3, 96, 128)
    with torch.inference_mode():
        run(detector, pixels)
    pixels.requires_grad_()
    run(detector, pixels).dense.boxes().sum().backward()
    assert pixels.grad.abs().sum() > 0


def test_pixel_mean_is_rgb_and_becomes_exactly_zero(detectors):
    detector = detectors["retinanet"]
    torch.testing.assert_close(detector.pixel_mean * 255, torch.tensor([123.675, 116.28, 103.53]))
    flat = detector.pixel_mean[None, :, None, None].expand(1, 3, 96, 128)
    assert not detector._inputs(flat).any()
    red = flat.clone()
    red[:, 0] += 10 / 255
    inputs = detector._inputs(red)
    torch.testing.assert_close(inputs[:, 2], torch.full((1, 96, 128), 10.0), atol=1e-4, rtol=0)
    assert not inputs[:, :2].any()


def test_models_of_rgb_images_with_a_standard_deviation(tmp_path):
    path = configuration(tmp_path, "retinanet")
    text = YAML.format(base=ZOO / BASES["retinanet"])
    text = text.replace("MODEL:\n", "MODEL:\n  PIXEL_MEAN: [123.0, 116.0, 103.0]\n  PIXEL_STD: [58.0, 57.0, 56.0]\n")
    text = text.replace("MAX_SIZE_TEST: 128}", "MAX_SIZE_TEST: 128, FORMAT: RGB}")
    (tmp_path / "rgb.yaml").write_text(text)
    detector = load_detectron2(str(tmp_path / "rgb.yaml"), NAMES, weights="random")
    torch.manual_seed(0)
    randomise_weights(detector.model)
    torch.testing.assert_close(detector.pixel_mean * 255, torch.tensor([123.0, 116.0, 103.0]))
    cfg = get_cfg()
    cfg.merge_from_file(str(tmp_path / "rgb.yaml"))
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "cpu", str(tmp_path / "w.pth")
    torch.save({"model": detector.model.state_dict()}, cfg.MODEL.WEIGHTS)
    image = random_image((96, 128))
    wanted = DefaultPredictor(cfg)(image.flip(0).permute(1, 2, 0).contiguous().numpy())["instances"]
    (found,) = detector.detect([image])
    assert len(found) > 0
    assert torch.equal(found.boxes, wanted.pred_boxes.tensor)
    with torch.no_grad():
        ours = postprocess(run(detector, on_canvas(detector, [image], (96, 128))), [(96, 128)])[0]
    assert_same(ours, found)
    # The same weights, told that images are BGR, see another image.
    other = load_detectron2(path, NAMES, weights=cfg.MODEL.WEIGHTS, input_format="BGR").detect([image])[0]
    assert not torch.equal(other.scores, found.scores)


@pytest.mark.parametrize(("shift", "min_box_size", "limit"), [(0.0, 0, 50), (40.0, 0, 50), (0.0, 12, 1000)])
def test_proposals_are_those_of_the_library(tmp_path, shift, min_box_size, limit):
    more = f"  RPN: {{POST_NMS_TOPK_TEST: {limit}}}\n  PROPOSAL_GENERATOR: {{MIN_SIZE: {min_box_size}}}\n"
    path = configuration(tmp_path, "fasterrcnn")
    text = (tmp_path / "fasterrcnn.yaml").read_text().replace("INPUT:", more + "INPUT:")
    (tmp_path / "fasterrcnn.yaml").write_text(text)
    detector = load_detectron2(path, NAMES, weights="random")
    torch.manual_seed(1)
    randomise_weights(detector.model)
    # Sigmoids of logits beyond 17 are all one.
    detector.model.proposal_generator.rpn_head.objectness_logits.bias.data += shift
    sizes = [(96, 128), (96, 112)]
    predictions = run(detector, noise(2, 3, 96, 128), sizes)
    dense = predictions.dense.detach()
    boxes, valid, _ = propose(dense, size_limits(tuple(sizes), torch.device("cpu")), by_logit=True)
    assert torch.equal(boxes, predictions.roi.rois[:, :-2])
    rpn, levels = detector.model.proposal_generator, list(dense.head.level_sizes)
    wanted = find_top_rpn_proposals(
        list(dense.boxes().split(levels, 1)),
        list(dense.logits[..., 0].split(levels, 1)),
        sizes,
        rpn.nms_thresh,
        rpn.pre_nms_topk[False],
        rpn.post_nms_topk[False],
        rpn.min_box_size,
        training=False,
    )
    for image in range(2):
        torch.testing.assert_close(boxes[image][valid[image]], wanted[image].proposal_boxes.tensor, atol=1e-4, rtol=0)
    assert rpn.post_nms_topk[False] == limit


def test_masks_at_given_boxes_are_the_librarys(detectors):
    detector = detectors["maskrcnn"]
    image = random_image((96, 112), 5)
    wanted = detector.detect([image])[0]
    with torch.no_grad():
        roi = run(detector, on_canvas(detector, [image], (96, 128)), [(96, 112)], rois=wanted.boxes[None]).roi
    assert roi.mask_logits.shape == (1, len(wanted), 4, 28, 28)
    chosen = roi.mask_logits[0, torch.arange(len(wanted)), wanted.labels].sigmoid()
    pasted = paste_masks_in_image(chosen, wanted.boxes, (96, 112))
    # Boxes agree to 0.01 pixel, so a mask may differ where it is as good as undecided.
    assert (pasted != wanted.masks).float().mean() < 1e-4


@pytest.mark.parametrize("family", ["fasterrcnn", "maskrcnn"])
def test_given_boxes_come_last_and_get_what_a_proposal_there_would(detectors, family):
    detector = detectors[family]
    pixels = noise(1, 3, 96, 128, seed=6)
    with torch.no_grad():
        first = run(detector, pixels).roi
        again = run(detector, pixels, rois=first.rois[:, 3:7]).roi
    assert again.given == 4
    assert torch.equal(again.rois[:, -4:], first.rois[:, 3:7])
    torch.testing.assert_close(again.logits[:, -4:], first.logits[:, 3:7])
    torch.testing.assert_close(again.deltas[:, -4:], first.deltas[:, 3:7])
    assert torch.equal(again.levels[:, -4:], first.levels[:, 3:7])


def test_levels_are_those_the_pooler_takes_features_from(detectors):
    detector = detectors["fasterrcnn"]
    sides = [8.0, 100, 111, 113, 200, 223, 225, 256]
    rois = torch.tensor([[[0.0, 0, side, side] for side in sides]])
    roi = run(detector, noise(1, 3, 256, 256), rois=rois).roi
    assert roi.levels[0, -len(sides) :].tolist() == [0, 0, 0, 1, 1, 1, 2, 2]


def test_boxes_and_masks_of_all_classes_at_once(tmp_path):
    path = configuration(tmp_path, "maskrcnn")
    text = (tmp_path / "maskrcnn.yaml").read_text()
    text = text.replace("FC_DIM: 64", "FC_DIM: 64, CLS_AGNOSTIC_BBOX_REG: true")
    text = text.replace("NUM_CONV: 1", "NUM_CONV: 1, CLS_AGNOSTIC_MASK: true")
    (tmp_path / "maskrcnn.yaml").write_text(text)
    detector = load_detectron2(path, NAMES, weights="random")
    torch.manual_seed(0)
    randomise_weights(detector.model)
    image = random_image((96, 128), 8)
    wanted = detector.detect([image])[0]
    with torch.no_grad():
        predictions = run(detector, on_canvas(detector, [image], (96, 128)))
    assert predictions.roi.deltas.shape[2] == 4
    assert predictions.roi.mask_logits.shape[2] == 4
    assert len(wanted) > 10
    assert_same(postprocess(predictions, [(96, 128)])[0], wanted)


def test_assigners_have_the_models_thresholds(detectors):
    pixels = noise(1, 3, 96, 128)
    retinanet = run(detectors["retinanet"], pixels).dense.head
    assert retinanet.assigner == AnchorAssigner(candidate_iou_thresh=0.5)
    assert run(detectors["fcos"], pixels).dense.head.assigner == PointAssigner(radius=1.5)
    assert run(detectors["fasterrcnn"], pixels).dense.head.assigner == AnchorAssigner(0.7, 0.3, 0.7)
    # Size-major and not rounded: three shapes of one size, then the next size.
    sides = retinanet.anchors[:9, 2:] - retinanet.anchors[:9, :2]
    torch.testing.assert_close(sides.prod(1).sqrt(), (32 * 2 ** torch.tensor([0, 1 / 3, 2 / 3])).repeat_interleave(3))
    # Locations of FCOS are the middles of the cells.
    fcos = run(detectors["fcos"], pixels).dense.head.anchors
    assert ((fcos[:2, :2] + fcos[:2, 2:]) / 2).tolist() == [[4, 4], [12, 4]]


@pytest.mark.parametrize("size", [(480, 640), (4, 900), (333, 334), (97, 129), (5000, 96)])
def test_network_size_is_the_librarys_and_settles(detectors, size):
    detector = detectors["retinanet"]
    once = ResizeShortestEdge.get_output_shape(*size, 96, 128)
    assert all(abs(a - b) <= 1 for a, b in zip(detector.network_size(size), once, strict=True))
    assert detector.network_size(detector.network_size(size)) == detector.network_size(size)


def test_an_image_of_which_nothing_would_be_left(detectors):
    with pytest.raises(DetectorError, match="900 x 1 pixels is too slim"):
        detectors["retinanet"].network_size((1, 900))


def test_no_resizing_where_the_configuration_wants_none(detectors, tmp_path):
    detector = load_detectron2(configuration(tmp_path, "retinanet"), NAMES, weights="random", min_size=0)
    assert detector.network_size((77, 301)) == (77, 301)
    assert detector.detect([random_image((77, 301))])[0].image_size == (77, 301)


def test_canvas_of_other_sides_is_refused(detectors):
    with pytest.raises(ValueError, match="multiples of 32"):
        run(detectors["fcos"], noise(1, 3, 64, 70))


@pytest.mark.parametrize("family", FAMILIES)
def test_number_of_class_names_must_fit(family, tmp_path):
    with pytest.raises(DetectorError, match="80 class names for a model with 4 classes"):
        load_detectron2(configuration(tmp_path, family), COCO_CLASSES, weights="random")


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_those_of_detections(detectors, family):
    images = [random_image(size, seed) for seed, size in enumerate([(96, 128), (96, 112), (150, 170)])]
    assert_rows_are_those_of_detections(detectors[family], images)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_question_has_a_gradient(detectors, family):
    assert_every_question_has_a_gradient(detectors[family], random_image((96, 128)))


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_threshold_drops_was_lost_by_its_score(detectors, family):
    assert_lost_by_score(detectors[family], [random_image((96, 128), seed) for seed in range(4)])


@pytest.mark.parametrize("family", ["retinanet", "fcos"])
def test_a_head_on_one_level_says_what_it_says_on_all(detectors, family):
    detector = detectors[family]
    window, levels = detector.head_window(), detector.level_layers()
    assert window is not None
    with torch.no_grad(), capture_features(detector, levels) as features:
        dense = detector(random_image((96, 128), 5)[None].float() / 255).dense
        found = [window.outputs(number, features[layer.name]) for number, layer in enumerate(levels)]
    torch.testing.assert_close(torch.cat([one.logits for one in found], 1), dense.logits)
    torch.testing.assert_close(torch.cat([one.deltas for one in found], 1), dense.deltas)
    if dense.quality_logits is not None:
        torch.testing.assert_close(torch.cat([one.quality_logits for one in found], 1), dense.quality_logits)
