"""The tutorial's example, docs/fastestdet, keeps its promises."""

import json
import re
from dataclasses import replace

import pytest
import torch

from detinv.cli import main
from detinv.detectors.class_names import COCO_CLASSES
from detinv.detectors.heads.assigners import StaticAssigner
from detinv.detectors.heads.codec import BoxCodec
from detinv.detectors.heads.postprocess import postprocess
from detinv.detectors.hooks import capture_features
from detinv.detectors.load import load_detector
from detinv.errors import DetectorError
from detinv.results.io.images import read_images
from tests.fastestdet_example import FOLDER, example_on_the_import_path, lively, module, random_images
from tests.gradients import dependencies
from tests.rows import assert_rows_are_those_of_detections

DOCS = FOLDER.parent
SHARED = DOCS.parent.parent / "shared"
WEIGHTS = SHARED / "weights" / "fastestdet" / "fastestdet_coco.pth"
PHOTOGRAPHS = SHARED / "data" / "coco_val40"

needs_weights = pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"FastestDet's weights are not at {WEIGHTS}")
needs_photographs = pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason=f"no photographs at {PHOTOGRAPHS}")


@pytest.fixture(scope="module", autouse=True)
def on_the_import_path():
    with example_on_the_import_path():
        yield


@pytest.fixture(scope="module")
def trained():
    return load_detector(str(FOLDER / "fastestdet.yaml"), weights=WEIGHTS)


def predict(detector, images):
    pixels = torch.stack([image.float() / 255 for image in images])
    return detector(pixels)


def assert_same_detections(ours, own):
    assert ours.labels.tolist() == own.labels.tolist()
    torch.testing.assert_close(ours.boxes, own.boxes, atol=0.01, rtol=0)
    torch.testing.assert_close(ours.scores, own.scores, atol=1e-5, rtol=0)


def points_of(detector):
    anchors = predict(detector, random_images(detector.image_size, 1)).dense.head.anchors
    return (anchors[:, :2] + anchors[:, 2:]) / 2


# The network


def test_the_lines_on_features_run():
    text = (DOCS / "bring-your-own-detector.md").read_text()
    (lines,) = re.findall(r"<!-- features -->\n```python\n(.*?)```", text, re.DOTALL)
    names = {"detector": lively(), "pixels": torch.rand(1, 3, 64, 96), "torch": torch}
    exec(lines, names)
    assert names["layer"].module == "network.SPP"
    assert names["gradient"].shape == (1, names["layer"].channels, 4, 6)
    assert names["gradient"].any()


def test_layers_are_found_and_have_the_gradient_of_every_row():
    detector = lively()
    assert [layer.stride for layer in detector.feature_layers()] == [2, 4, 8, 16, 32, 16]
    assert [layer.module for layer in detector.level_layers()] == ["network.SPP"]
    with capture_features(detector, detector.feature_layers()) as features:
        dense = predict(detector, random_images((64, 96), 1)).dense
    for row in (0, 9, 23):
        for target in (dense.logits[0, row, 1], dense.quality_logits[0, row], dense.boxes()[0, row, 2]):
            assert dependencies(target, features) == set(features)


def test_the_network_is_short():
    assert len((FOLDER / "fastestdet.py").read_text().splitlines()) < 200


@needs_weights
def test_the_published_weights_fit_without_a_missing_or_unexpected_key():
    state = torch.load(WEIGHTS, map_location="cpu", weights_only=True)
    network = module("fastestdet").FastestDet()
    found = network.load_state_dict(state)
    assert found.missing_keys == found.unexpected_keys == []
    assert sum(value.numel() for value in network.parameters()) == 244_490


def test_what_the_network_returns_are_its_logits_behind_sigmoid_and_softmax():
    network = lively().network
    inputs = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    objectness, regression, classes = network.logits(inputs)
    assert objectness.shape == (1, 1, 4, 6)
    wanted = torch.cat([objectness.sigmoid(), regression, classes.softmax(1)], dim=1)
    torch.testing.assert_close(network(inputs), wanted)


# The adapter


def test_raw_predictions_are_its_inference_with_random_weights():
    detector = lively()
    images = random_images((64, 96), 6)
    reports = [detector.detect([image])[0] for image in images]
    for image, own in zip(images, reports, strict=True):
        (ours,) = postprocess(predict(detector, [image]), [(64, 96)])
        assert_same_detections(ours, own)
    assert sum(map(len, reports)) > 60
    assert len(torch.cat([own.labels for own in reports]).unique()) > 2
    assert any((own.boxes < 0).any() for own in reports), "some boxes stick out, and stay so"
    assert any(len(own) < 24 for own in reports), "something was suppressed"


def test_rows_are_those_of_detections():
    images = random_images((64, 96), 2) + random_images((90, 70), 1)
    assert_rows_are_those_of_detections(lively(), images)


def test_a_batch_is_its_images():
    detector, images = lively(), random_images((64, 96), 3)
    together = predict(detector, images).outputs()
    alone = zip(*(predict(detector, [image]).outputs() for image in images), strict=True)
    for batch, parts in zip(together, alone, strict=True):
        torch.testing.assert_close(batch, torch.cat(parts), atol=1e-2, rtol=1e-3)


@needs_weights
@needs_photographs
def test_raw_predictions_are_its_inference_on_photographs(trained):
    _, photographs = read_images(PHOTOGRAPHS / "images")
    for photograph in photographs[:8]:
        resized = trained.resize(photograph)
        (own,), (direct,) = trained.detect([photograph]), trained.detect([resized])
        (ours,) = postprocess(predict(trained, [resized]), [(352, 352)])
        assert len(own) > 10
        assert_same_detections(ours, direct)
        height, width = photograph.shape[1:]
        scaled = ours.boxes * torch.tensor([width, height, width, height]) / 352
        assert_same_detections(replace(ours, boxes=scaled, image_size=(height, width)), own)


@needs_photographs
def test_images_are_resized_as_opencv_does():
    cv2 = pytest.importorskip("cv2", reason="needs OpenCV to compare with")
    _, photographs = read_images(PHOTOGRAPHS / "images")
    detector = lively((352, 352))
    for photograph in photographs[:3]:
        ours = detector.resize(photograph).int()
        theirs = cv2.resize(photograph.permute(1, 2, 0).numpy(), (352, 352), interpolation=cv2.INTER_LINEAR)
        assert (ours.permute(1, 2, 0) - torch.from_numpy(theirs)).abs().max() <= 1


def test_gradient_reaches_every_pixel_in_some_image():
    detector, missed = lively(), torch.ones(64, 96, dtype=torch.bool)
    for image in random_images((64, 96), 8):
        pixels = (image.float() / 255)[None].requires_grad_()
        outputs = detector(pixels).outputs()
        assert len(outputs) == 3
        # Squared, because normalised outputs could cancel out.
        (gradient,) = torch.autograd.grad(sum(output.square().sum() for output in outputs), pixels)
        missed &= gradient[0].abs().amax(0) == 0
    assert not missed.any()


def test_red_goes_where_the_network_expects_it():
    detector = lively()
    red = torch.zeros(1, 3, 64, 96)
    red[:, 0] = 1
    wanted = detector.network.logits(red.flip(1))[0].flatten()
    torch.testing.assert_close(detector(red).dense.quality_logits[0], wanted)
    assert not torch.allclose(detector(red.flip(1)).dense.quality_logits[0], wanted)


def test_every_image_is_stretched_to_one_size():
    detector = lively()
    assert detector.network_size((480, 640)) == detector.network_size((64, 96)) == (64, 96)
    assert detector.detections_per_image == 4 * 6


def test_constants_made_in_inference_mode_serve_a_later_backward():
    detector = lively()
    with torch.inference_mode():
        predict(detector, random_images((64, 96), 1))
    pixels = torch.rand(1, 3, 64, 96, requires_grad=True)
    dense = detector(pixels).dense
    dense.boxes().sum().backward()
    assert pixels.grad is not None


# The codec


def test_decoding_follows_the_description():
    dense = predict(lively(), random_images((64, 96), 1)).dense
    boxes = dense.boxes()[0].tolist()
    for row, (dx, dy, dw, dh) in enumerate(dense.deltas[0].double().tolist()):
        x = (torch.tensor(dx).tanh().item() + row % 6) * 16
        y = (torch.tensor(dy).tanh().item() + row // 6) * 16
        w, h = torch.tensor(dw).sigmoid().item() * 96, torch.tensor(dh).sigmoid().item() * 64
        assert boxes[row] == pytest.approx([x - w / 2, y - h / 2, x + w / 2, y + h / 2], abs=1e-3)


def test_decoding_undoes_encoding_where_a_cell_can_express_the_box():
    codec, points = module("adapter").CellCodec(64, 96), points_of(lively())
    assert isinstance(codec, BoxCodec)
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(1, 50, 2, generator=generator) * torch.tensor([96.0, 64.0])
    half = torch.rand(1, 50, 2, generator=generator) * torch.tensor([46.0, 30.0]) + 1
    boxes = torch.cat([centres - half, centres + half], dim=-1)
    anchors = torch.cat([points - 8, points + 8], dim=1)
    reach = codec.expresses(boxes, anchors)
    assert reach.shape == (1, 50, 24)
    distance = (centres[0, :, None] - points).abs()
    assert reach[0].tolist() == (distance <= 0.99 * 16).all(-1).tolist()
    objects, cells = torch.nonzero(reach[0], as_tuple=True)
    again = codec.decode(codec.encode(boxes[0, objects], anchors[cells]), anchors[cells])
    assert len(again) > 50
    torch.testing.assert_close(again, boxes[0, objects], atol=1e-3, rtol=0)


@pytest.mark.parametrize("codec", ["adapter", "detinv.detectors.fastestdet.cells"])
def test_a_row_is_not_said_to_have_a_box_that_encoding_would_change(codec):
    codec = module(codec).CellCodec(64, 96)
    anchors = torch.tensor([[40.0, 24, 56, 40]])
    centres = torch.tensor([48.0, 32.0]) + torch.tensor([[0.0, 0.0], [15.8, 0.0], [15.9, 0.0], [0.0, -15.99]])
    boxes = torch.cat([centres - 10, centres + 10], 1)
    assert codec.expresses(boxes[None], anchors)[0, :, 0].tolist() == [True, True, False, False]
    sides = torch.tensor([[96.0, 64.0], [97.0, 30.0], [0.001, 30.0]])
    boxes = torch.cat([torch.tensor([48.0, 32.0]) - sides / 2, torch.tensor([48.0, 32.0]) + sides / 2], 1)
    assert codec.expresses(boxes[None], anchors)[0, :, 0].tolist() == [True, False, False]


def test_a_box_as_large_as_the_image_has_finite_deltas():
    codec = module("adapter").CellCodec(64, 96)
    anchors, boxes = torch.tensor([[40.0, 24, 56, 40]]), torch.tensor([[0.0, 0, 96, 64]])
    deltas = codec.encode(boxes, anchors)
    assert deltas.isfinite().all()
    torch.testing.assert_close(codec.decode(deltas, anchors), boxes, atol=0.01, rtol=0)


# The assigner


def assign(boxes, valid=None, image_size=(128, 128)):
    rows, columns = image_size[0] // 16, image_size[1] // 16
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    points = torch.stack([x, y], dim=-1).reshape(-1, 2) * 16.0
    boxes = torch.tensor([boxes])
    valid = torch.ones(boxes.shape[:2], dtype=torch.bool) if valid is None else torch.tensor([valid])
    assigner = module("adapter").CellAssigner()
    assert isinstance(assigner, StaticAssigner)
    found = assigner.assign(torch.cat([points - 8, points + 8], 1), (rows * columns,), boxes, valid)
    return found, points


def cells_of(found, points, number):
    return {tuple(point) for point in (points[found.owner[0] == number] / 16).int().tolist()}


def test_an_object_has_the_four_cells_around_its_centre_and_the_nearest_stands_for_it():
    found, points = assign([[30.0, 40, 50, 80]])  # centre (40, 60): column 2.5, row 3.75
    assert cells_of(found, points, 0) == {(2, 3), (3, 3), (2, 4), (3, 4)}
    assert (points[found.candidates[0, 0, 0]] / 16).tolist()[1] == 4
    assert found.background[0].sum() == len(points) - 4


def test_the_first_row_and_column_belong_to_nobody_as_in_training():
    found, points = assign([[0.0, 0, 20, 90]])  # centre (10, 45): columns 0 and 1, rows 2 and 3
    assert cells_of(found, points, 0) == {(1, 2), (1, 3)}


def test_a_contested_cell_goes_to_the_nearer_centre():
    found, points = assign([[30.0, 30, 50, 50], [50.0, 34, 66, 50]])  # centres (40, 40) and (58, 42)
    assert cells_of(found, points, 0) == {(2, 2), (2, 3), (3, 2), (3, 3)}
    assert cells_of(found, points, 1) == {(4, 2), (4, 3)}


def test_every_object_has_a_cell_of_its_own_even_in_a_crowd():
    crowd = [[60.0 + k / 4, 60, 70 + k / 4, 70] for k in range(7)]
    found, points = assign(crowd)
    best = found.candidates[0, :, 0].tolist()
    assert len(set(best)) == 7
    assert [found.owner[0, row].item() for row in best] == list(range(7))
    assert all((points[row] > 0).all() for row in best)


def test_empty_slots_own_nothing_and_change_nothing():
    boxes = [[30.0, 40, 50, 80], [60.0, 60, 90, 90]]
    alone, _ = assign(boxes)
    padded, _ = assign([*boxes, [0.0, 0, 0, 0]], [True, True, False])
    assert padded.owner.tolist() == alone.owner.tolist()
    assert padded.candidates[0, :2].tolist() == alone.candidates[0].tolist()
    assert not padded.candidates_valid[0, 2].any()
    none, _ = assign([[0.0, 0, 0, 0]], [False])
    assert (none.owner == -1).all()
    assert none.background.all()


# Mistakes


def test_missing_weights_are_told_with_where_to_get_them():
    with pytest.raises(DetectorError, match=r"github.com/dog-qiuqiu/FastestDet.*detector.weights=PATH"):
        load_detector(str(FOLDER / "fastestdet.yaml"))


@needs_weights
def test_weights_of_another_number_of_classes_do_not_fit():
    with pytest.raises(DetectorError, match="do not fit"):
        load_detector(str(FOLDER / "fastestdet.yaml"), weights=WEIGHTS, class_names=["cat", "dog"])


def test_a_size_that_the_network_cannot_take_is_told():
    with pytest.raises(DetectorError, match=r"image_size \[350, 352\].*multiples of 32"):
        lively((350, 352))


@needs_weights
def test_class_names_are_those_of_cocos_annotations_in_the_order_of_the_weights(trained):
    theirs = (WEIGHTS.with_name("coco.names")).read_text().split("\n")
    assert trained.class_names == COCO_CLASSES
    differ = {(a.strip(), b) for a, b in zip(theirs, COCO_CLASSES, strict=False) if a.strip() != b}
    assert ("motorbike", "motorcycle") in differ
    assert len(differ) == 6


@needs_weights
@needs_photographs
@pytest.mark.slow
def test_the_diagnosis_of_photographs_is_what_the_tutorial_says(tmp_path):
    words = [f"detector={FOLDER / 'fastestdet.yaml'}", f"detector.weights={WEIGHTS}", "trust_config=true"]
    words += [f"images={PHOTOGRAPHS / 'images'}", f"annotations={PHOTOGRAPHS / 'instances.json'}"]
    assert main(["diagnose", *words, f"out_dir={tmp_path / 'out'}"]) == 0
    numbers = json.loads((tmp_path / "out" / "numbers.json").read_text())["numbers"]
    precision = [f"{value:.1f}" for size in ("all", "large") for value in numbers["precision"][size].values()]
    assert (precision, numbers["objects"]) == (["20.9", "39.2", "26.6", "49.7"], 344)
    text = (DOCS / "bring-your-own-detector.md").read_text()
    assert "| the real photographs | 39.2 | 20.9 | 49.7 | 26.6 |" in text


# The tutorial


def test_code_in_the_tutorial_is_that_of_the_example():
    text = (DOCS / "bring-your-own-detector.md").read_text()
    sources = "\n".join((FOLDER / name).read_text() for name in ("fastestdet.py", "adapter.py", "fastestdet.yaml"))
    lines = {line.strip() for line in sources.splitlines()}
    blocks = re.findall(r"<!-- from the example -->\n```\w+\n(.*?)```", text, re.DOTALL)
    assert blocks
    for line in (line.strip() for block in blocks for line in block.splitlines()):
        assert not line or line == "..." or line in lines, line
