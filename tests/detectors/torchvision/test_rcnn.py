import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

from detinv.detectors.hooks import forward_hooks
from detinv.detectors.regions import Regions
from detinv.detectors.torchvision.rcnn import TorchvisionRCNN
from detinv.zoo.models import build_fasterrcnn
from tests.fakes import tiny_detector, tiny_model


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def run(detector, pixels, rois=None):
    rois = torch.tensor([[0.0, 0, 1, 1]]).repeat(len(pixels), 1, 1) if rois is None else rois
    return detector(pixels, regions=Regions.of(rois)).roi


def test_background_is_the_last_column_and_deltas_follow_the_classes():
    detector = tiny_detector("fasterrcnn")
    pixels = noise(1, 3, 64, 64)
    roi = run(detector, pixels)
    heads = detector.model.roi_heads
    features = detector.model.backbone(
        (pixels - detector.pixel_mean[:, None, None]) / detector.pixel_std[:, None, None]
    )
    logits, deltas = heads.box_predictor(heads.box_head(heads.box_roi_pool(features, [roi.rois[0]], [(64, 64)])))
    torch.testing.assert_close(roi.logits[0], logits[:, [1, 2, 3, 0]])
    torch.testing.assert_close(roi.deltas[0], deltas.reshape(-1, 4, 4)[:, 1:])


@pytest.mark.parametrize("family", ["fasterrcnn", "maskrcnn"])
def test_unused_columns_join_the_background_without_changing_a_score(family):
    whole = tiny_detector(family, num_classes=5)
    part = TorchvisionRCNN(whole.model, ["fifth", "second"], columns=[5, 2])
    pixels = noise(1, 3, 64, 64)
    everything, some = run(whole, pixels), run(part, pixels)
    scores = everything.logits.softmax(-1)
    torch.testing.assert_close(some.logits.softmax(-1)[..., :2], scores[..., [4, 1]])
    torch.testing.assert_close(some.logits.softmax(-1)[..., 2], scores[..., [0, 2, 3, 5]].sum(-1))
    assert torch.equal(some.deltas, everything.deltas[:, :, [4, 1]])
    if whole.has_masks:
        assert torch.equal(some.mask_logits, everything.mask_logits[:, :, [4, 1]])
    image = (pixels[0] * 255).to(torch.uint8)
    found, all_found = part.detect([image])[0], whole.detect([image])[0]
    known = (all_found.labels == 4) | (all_found.labels == 1)
    assert torch.equal(found.boxes, all_found.boxes[known])
    assert set(found.labels.tolist()) <= {0, 1}


def test_one_pooling_pass_serves_proposals_and_given_boxes():
    detector = tiny_detector("fasterrcnn")
    calls = []
    with forward_hooks([(detector.model.roi_heads.box_roi_pool, lambda *call: calls.append(call))]):
        run(detector, noise(2, 3, 64, 64))
    assert len(calls) == 1
    assert calls[0][2].requires_grad is False


def test_levels_are_those_the_pooler_takes_features_from():
    detector = tiny_detector("fasterrcnn", image_size=(256, 256))
    sides = [8.0, 100, 111, 113, 200, 223, 225, 256]
    rois = torch.tensor([[[0.0, 0, side, side] for side in sides]])
    roi = run(detector, noise(1, 3, 256, 256), rois)
    assert roi.levels[0, -len(sides) :].tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    # Marked levels: what the pooler returns tells where it looked.
    features = {str(k): torch.full((1, 64, 64 >> k, 64 >> k), float(k)) for k in range(4)}
    pooled = detector.model.roi_heads.box_roi_pool(features, [roi.rois[0]], [(256, 256)])
    assert pooled.mean((1, 2, 3)).round().long().tolist() == roi.levels[0].tolist()


def test_poolers_learn_their_strides_whatever_the_first_image_is():
    image = torch.randint(0, 256, (3, 40, 128), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    first = TorchvisionRCNN(tiny_model(build_fasterrcnn, 3, (128, 128), 0), ["a", "b", "c"])
    assert first.model.roi_heads.box_roi_pool.scales == [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    first.detect([image])
    assert first.model.roi_heads.box_roi_pool.scales == [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    # The reason: a pooler that sees this image first believes in strides half as long.
    pooler = MultiScaleRoIAlign(["0"], 7, 2)
    pooler({"0": torch.zeros(1, 1, 16, 32)}, [torch.tensor([[0.0, 0, 9, 9]])], [(40, 128)])
    assert pooler.scales == [1 / 2]


def test_a_pooler_of_one_level():
    model = tiny_model(build_fasterrcnn, 3, (64, 64), 0)
    model.roi_heads.box_roi_pool = MultiScaleRoIAlign(["1"], 7, 2)
    roi = run(TorchvisionRCNN(model, ["a", "b", "c"]), noise(2, 3, 64, 64))
    assert not roi.levels.any()


def test_given_boxes_get_no_gradient_but_the_features_do():
    detector = tiny_detector("maskrcnn")
    pixels = noise(1, 3, 64, 64).requires_grad_()
    rois = torch.tensor([[[10.0, 10, 40, 50]]], requires_grad=True)
    roi = run(detector, pixels, rois)
    (roi.logits[:, -1].sum() + roi.mask_logits.sum()).backward()
    assert rois.grad is None
    assert pixels.grad.abs().sum() > 0
