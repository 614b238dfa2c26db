import torch

from tests.fakes import tiny_detector


def run(detector, pixels):
    return detector(pixels).dense


def noise(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def library_outputs(detector, pixels):
    inputs = (pixels - detector.pixel_mean[:, None, None]) / detector.pixel_std[:, None, None]
    return detector.model.head(list(detector.model.backbone(inputs).values()))


def test_boxes_before_the_relu_decode_to_those_of_the_library():
    detector = tiny_detector("fcos")
    pixels = noise(2, 3, 64, 64)
    dense, outputs = run(detector, pixels), library_outputs(detector, pixels)
    assert (dense.deltas < 0).any()
    torch.testing.assert_close(dense.deltas.relu(), outputs["bbox_regression"])
    torch.testing.assert_close(dense.logits, outputs["cls_logits"])
    torch.testing.assert_close(dense.quality_logits, outputs["bbox_ctrness"][..., 0])
    wanted = detector.model.box_coder.decode(outputs["bbox_regression"], dense.head.anchors.expand(2, -1, -1))
    torch.testing.assert_close(dense.boxes(), wanted)


def test_a_distance_below_zero_keeps_its_gradient():
    detector = tiny_detector("fcos")
    pixels = noise(1, 3, 64, 64).requires_grad_()
    dense = run(detector, pixels)
    left_is_negative = dense.deltas[0, :, 0] < 0
    assert left_is_negative.any()
    row = int(left_is_negative.int().argmax())
    (gradient,) = torch.autograd.grad(dense.boxes()[0, row, 0], pixels)
    assert gradient.abs().sum() > 0


def test_locations_are_cell_corners_in_units_of_their_anchors():
    head = run(tiny_detector("fcos"), noise(1, 3, 64, 64)).head
    centres = (head.anchors[:, :2] + head.anchors[:, 2:]) / 2
    assert head.level_sizes == (64, 16, 4)
    assert centres[:3].tolist() == [[0, 0], [8, 0], [16, 0]]
    assert centres[64:66].tolist() == [[0, 0], [16, 0]]
    sides = head.anchors[:, 2] - head.anchors[:, 0]
    assert sides[[0, 64, 80]].tolist() == [4, 8, 16]


def test_assigner_has_the_models_radius():
    detector = tiny_detector("fcos")
    assert run(detector, noise(1, 3, 64, 64)).head.assigner.radius == detector.model.center_sampling_radius == 3.0
