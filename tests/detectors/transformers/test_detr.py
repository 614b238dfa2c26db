"""DETR-type detectors of transformers: raw predictions are the library's own inference, and keep the contract."""

import pytest
import torch

from detinv.detectors.heads.postprocess import postprocess
from detinv.detectors.hooks import count_hooks
from detinv.detectors.load import load_detector
from detinv.errors import DetectorError
from detinv.zoo.weights import weight_hash
from tests.fakes import block_image
from tests.lost_objects import assert_lost_by_score
from tests.rows import assert_every_question_has_a_gradient, assert_rows_are_those_of_detections

pytest.importorskip("transformers", reason="needs the optional library transformers: pip install 'detinv[detr]'")

from tests.transformers_fakes import (  # noqa: E402
    ARCHITECTURES,
    CHOSEN_QUERIES,
    FIXED_QUERIES,
    LIKE_RTDETR,
    SMALL,
    tiny_transformer,
)

DETR, RTDETR = "detr_resnet50", "rtdetr_r18"
# (height, width) of the network's input; for RT-DETR each needs a detector of its own.
SIZES = [(64, 96), (96, 64), (64, 64)]
_CACHE = {}


def detector_of(architecture, size=(64, 96), **options):
    """Built once for each set of options; tests leave detectors as they are."""
    image_size = [64, 96] if architecture in FIXED_QUERIES else list(size)
    key = (architecture, tuple(image_size), repr(options))
    if key not in _CACHE:
        _CACHE[key] = tiny_transformer(architecture, image_size=image_size, **options)
    return _CACHE[key]


def predict(detector, pixels):
    return detector(pixels)


def pixels_of(size, seed=0):
    return block_image(size, seed).float()[None] / 255


def outputs_of(predictions):
    """Raw outputs of the queries and, where there are some, of the encoder's tokens."""
    found = {"logits": predictions.dense.logits, "boxes": predictions.dense.deltas}
    if predictions.encoder is not None:
        found |= {"token logits": predictions.encoder.logits, "token boxes": predictions.encoder.deltas}
    return found


def assert_same(found, wanted):
    """The same set: scores as good as equal may change places."""
    assert len(found) == len(wanted)
    free = list(range(len(found)))
    for box, score, label in zip(wanted.boxes, wanted.scores, wanted.labels, strict=True):
        same = [
            k
            for k in free
            if found.labels[k] == label
            and (found.scores[k] - score).abs() <= 1e-4
            and (found.boxes[k] - box).abs().max() <= 0.05
        ]
        assert same, f"nothing like label {label}, score {score:.5f}, box {box.tolist()}"
        free.remove(same[0])


@pytest.mark.parametrize("score_thresh", [0.05, 0.5])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_raw_predictions_equal_the_librarys_inference(architecture, score_thresh):
    counts, classes = [], set()
    for number in range(20):
        size = SIZES[number % 3]
        detector = detector_of(architecture, size, score_thresh=score_thresh)
        assert detector.network_size(size) == size
        image = block_image(size, number)
        (wanted,) = detector.detect([image])
        with torch.no_grad():
            (found,) = postprocess(predict(detector, image.float()[None] / 255), [size])
        assert_same(found, wanted)
        counts.append(len(wanted))
        classes |= set(wanted.labels.tolist())
    assert sum(counts) > 100
    assert len(classes) == 5
    assert max(counts) <= detector.detections_per_image
    if score_thresh == 0.5:
        assert min(counts) < detector.detections_per_image


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_detect_is_the_librarys_own_path_in_every_images_own_pixels(architecture):
    """An image of any size: processor, model, post-processing, called one by one."""
    detector = detector_of(architecture)
    image = block_image((150, 130), 5)
    inputs = detector.processor(images=image, return_tensors="pt", input_data_format="channels_first")
    with torch.no_grad():
        outputs = detector.model(**inputs)
    (wanted,) = detector.processor.post_process_object_detection(outputs, threshold=0.05, target_sizes=[(150, 130)])
    (found,) = detector.detect([image])
    order = wanted["scores"].argsort(descending=True, stable=True)
    torch.testing.assert_close(found.boxes, wanted["boxes"][order], atol=0, rtol=0)
    torch.testing.assert_close(found.scores, wanted["scores"][order], atol=0, rtol=0)
    torch.testing.assert_close(found.labels, wanted["labels"][order], atol=0, rtol=0)
    assert found.image_size == (150, 130)
    assert len(found) > 10
    assert found.boxes.max() > 100


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_image_of_network_size_is_not_resampled(architecture):
    detector = detector_of(architecture)
    image = block_image((64, 96), 1)
    inputs = detector.processor(images=image, return_tensors="pt", input_data_format="channels_first")
    ours = detector._inputs(image.float()[None] / 255, [(64, 96)])
    torch.testing.assert_close(inputs["pixel_values"], ours, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradient_reaches_every_pixel_from_every_output(architecture):
    detector = detector_of(architecture)
    pixels = pixels_of((64, 96)).requires_grad_()
    generator = torch.Generator().manual_seed(0)
    for name, value in outputs_of(predict(detector, pixels)).items():
        functional = (value * torch.randn(value.shape, generator=generator)).sum()
        (gradient,) = torch.autograd.grad(functional, pixels, retain_graph=True)
        assert gradient.isfinite().all(), name
        assert (gradient != 0).float().mean() > 0.999, name


@pytest.fixture
def in_double_precision():
    """Switches also what the library creates in the default precision, as the first queries of DAB-DETR."""
    yield lambda: torch.set_default_dtype(torch.float64)
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_batch_equals_images_alone(architecture, in_double_precision):
    """In double precision, where no two tokens change places; outputs and their gradients."""
    detector = tiny_transformer(architecture, image_size=[64, 96]).double()
    in_double_precision()
    pixels = torch.cat([pixels_of((64, 96), seed) for seed in range(3)]).double().requires_grad_()
    together = outputs_of(predict(detector, pixels))
    generator = torch.Generator().manual_seed(1)
    weights = {name: torch.randn(value[:1].shape, generator=generator) for name, value in together.items()}
    for name, value in together.items():
        (gradient,) = torch.autograd.grad((value * weights[name]).sum(), pixels, retain_graph=True)
        for row in range(3):
            single = pixels[row : row + 1].detach().requires_grad_()
            alone = outputs_of(predict(detector, single))[name]
            torch.testing.assert_close(value[row : row + 1], alone, atol=1e-4, rtol=1e-4, msg=name)
            (expected,) = torch.autograd.grad((alone * weights[name]).sum(), single)
            assert (gradient[row] - expected[0]).norm() / expected.norm() < 1e-3, name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradient_of_a_single_image_is_the_derivative(architecture, in_double_precision):
    """Against differences, along the gradient itself. Between decoder layers that refine boxes the library cuts it."""
    detector = tiny_transformer(architecture, image_size=[64, 96]).double()
    in_double_precision()
    pixels = pixels_of((64, 96), 3).double().requires_grad_()
    outputs = outputs_of(predict(detector, pixels))
    generator = torch.Generator().manual_seed(2)
    for name, value in outputs.items():
        if architecture in (*CHOSEN_QUERIES, "dab_detr_r50") and not name.startswith("token"):
            continue
        weight = torch.randn(value.shape, generator=generator)
        (gradient,) = torch.autograd.grad((value * weight).sum(), pixels, retain_graph=True)
        step = 1e-6 * gradient / gradient.norm()
        with torch.no_grad():
            above, below = (outputs_of(predict(detector, pixels + sign * step))[name] for sign in (1, -1))
        found = ((above - below) * weight).sum() / 2e-6
        assert found.item() == pytest.approx(gradient.norm().item(), rel=0.02), name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_detector_stays_frozen_and_unchanged(architecture):
    detector = detector_of(architecture)
    predict(detector, pixels_of((64, 96)))  # at the first pass the library adds hooks of its own
    before, hooks = weight_hash(detector), count_hooks(detector)
    detector.train()
    assert not any(module.training for module in detector.modules())
    assert not any(parameter.requires_grad for parameter in detector.parameters())
    pixels = pixels_of((64, 96)).requires_grad_()
    sum(value.square().sum() for value in outputs_of(predict(detector, pixels)).values()).backward()
    detector.detect([block_image((64, 96))])
    assert weight_hash(detector) == before
    assert all(parameter.grad is None for parameter in detector.parameters())
    assert count_hooks(detector) == hooks


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_pass_under_inference_mode_leaves_nothing_behind(architecture):
    """Anchors and position embeddings are kept by the library, and our constants by us."""
    detector = tiny_transformer(architecture, image_size=[64, 128])
    size = detector.network_size((64, 128))
    with torch.inference_mode():
        predict(detector, pixels_of(size))
        detector.detect([block_image(size)])
    pixels = pixels_of(size).requires_grad_()
    sum(value.square().sum() for value in outputs_of(predict(detector, pixels)).values()).backward()
    assert pixels.grad.abs().sum() > 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_bfloat16_autocast_gives_fp32_close_to_fp32(architecture):
    detector = detector_of(architecture)
    exact = outputs_of(predict(detector, pixels_of((64, 96))))
    image = block_image((64, 96))
    (wanted,) = detector.detect([image])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = outputs_of(predict(detector, pixels_of((64, 96))))
        (found,) = detector.detect([image])
    for name, value in rough.items():
        assert value.dtype == torch.float32
        if architecture in FIXED_QUERIES or name.startswith("token"):  # another rounding, other tokens become queries
            assert (value - exact[name]).norm() / exact[name].norm() < 0.2, name
    torch.testing.assert_close(found.boxes, wanted.boxes, atol=0, rtol=0)


def test_shapes_and_constants_of_detr():
    detector = detector_of(DETR)
    dense = predict(detector, pixels_of((64, 96))).dense
    head = dense.head
    assert dense.logits.shape == (1, 40, 6)
    assert dense.num_classes == 5
    assert head.level_sizes == (40,)
    assert head.anchors.tolist() == [[0, 0, 96, 64]] * 40
    assert head.assigner is None
    assert head.post.nms_thresh is None
    assert (head.scoring.activation, head.scoring.background) == ("softmax", True)
    assert detector.detections_per_image == 40
    assert detector.size_divisor == 1
    torch.testing.assert_close(detector.pixel_mean, torch.tensor([0.485, 0.456, 0.406]))


@pytest.mark.parametrize("architecture", LIKE_RTDETR)
def test_encoder_tokens_are_what_queries_are_chosen_among(architecture):
    detector = detector_of(architecture)
    pixels = pixels_of((64, 96))
    with torch.no_grad():
        predictions = predict(detector, pixels)
        outputs = detector.model(pixel_values=pixels)
    tokens = predictions.encoder
    assert predictions.dense.logits.shape == (1, 60, 5)
    # No token at this size lies within a hundredth of the border.
    assert tokens.head.level_sizes == (96, 24, 6)
    best = tokens.logits[0].amax(-1).topk(60).indices
    chosen = {tuple(round(v, 4) for v in box) for box in tokens.deltas[0][best].tolist()}
    wanted = {tuple(round(v, 4) for v in box) for box in outputs.enc_topk_bboxes[0].tolist()}
    assert len(wanted) == 60
    assert len(chosen ^ wanted) <= 4  # fourth decimals that round the other way
    assert detector.size_divisor == 32


def test_tokens_at_the_border_are_left_out():
    """The library gives them no box; of 64 columns and more the outermost centres are nearer than a hundredth."""
    detector = tiny_transformer(RTDETR, image_size=[64, 1024])
    with torch.no_grad():
        tokens = predict(detector, pixels_of((64, 1024))).encoder
    assert tokens.head.level_sizes == (8 * 126, 4 * 62, 2 * 32)
    centres = tokens.deltas[..., :2]
    assert centres.isfinite().all()
    assert centres.max() < 1


def test_images_must_fill_their_canvas():
    detector = detector_of(DETR)
    with pytest.raises(ValueError, match="must fill it"):
        detector(pixels_of((64, 96)), [(64, 90)])


@pytest.mark.parametrize(
    "size", [(480, 640), (640, 427), (333, 500), (100, 1000), (1000, 101), (97, 3), (64, 96), (1, 1)]
)
def test_network_size_of_detr_is_the_processors_and_settles(size):
    detector = detector_of(DETR)
    found = detector.network_size(size)
    assert detector.network_size(found) == found
    assert min(found) <= 64
    assert max(found) <= 97  # the processor leaves an image as it is whose shorter side is what it would round to
    image = torch.zeros(3, *found, dtype=torch.uint8)
    inputs = detector.processor(images=image, return_tensors="pt", input_data_format="channels_first")
    assert tuple(inputs["pixel_values"].shape[2:]) == found


def test_network_size_of_coco_images_is_the_published_one():
    detector = load_detector(DETR, "random", settings=SMALL["detr"])
    assert detector.network_size((480, 640)) == (800, 1066)
    assert detector.network_size((427, 640)) == (800, 1199)
    assert detector.network_size((240, 640)) == (500, 1333)


def test_a_size_that_suits_no_stride_is_an_error():
    with pytest.raises(DetectorError, match=r"image_size=\[60, 96\].*multiples of 32"):
        tiny_transformer(RTDETR, image_size=[60, 96])
    with pytest.raises(DetectorError, match="gives 21 tokens for 60 queries.*settings.num_queries"):
        tiny_transformer(RTDETR, image_size=[32, 32])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rows_are_those_of_detections(architecture):
    """Of RT-DETR the row is the token of the query; images of other sizes are resized by the processor."""
    for size in [(64, 96), (100, 75)]:
        images = [block_image(size, seed) for seed in range(2)]
        assert_rows_are_those_of_detections(detector_of(architecture), images)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_question_has_a_gradient(architecture):
    assert_every_question_has_a_gradient(detector_of(architecture), block_image((64, 96)))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_a_threshold_drops_was_lost_by_its_score(architecture):
    assert_lost_by_score(detector_of(architecture), [block_image((64, 96), seed) for seed in range(4)])
