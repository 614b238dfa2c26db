"""Tiny detectors from torchvision's own classes, sized for the bundled worlds and the blood-cell photographs."""

from collections.abc import Sequence

from torch import nn
from torchvision.models.detection import FCOS, FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from detinv.errors import ConfigError
from detinv.zoo.backbone import PYRAMID_CHANNELS, TinyPyramid

_BOX_FEATURES = 80
_MASK_FEATURES = 32


def build_retinanet(num_classes: int, image_size: Sequence[int], lively_head: bool = False) -> RetinaNet:
    """Build a RetinaNet with strides 8, 16 and 32, and nine anchors of 20 to 127 pixels in each cell.

    Args:
        num_classes: number of classes, without background.
        image_size: (shorter, longer) side to which images are resized, in pixels.
        lively_head: whether the head's initial weights preserve the scale of a signal. torchvision's, which are meant
            for pretrained features, shrink it to a thousandth over four layers; a head trained from scratch with them
            does not see fine textures for thousands of steps.
    """
    _check(num_classes, image_size)
    sizes = tuple((side, int(side * 2 ** (1 / 3)), int(side * 2 ** (2 / 3))) for side in (20, 40, 80))
    model = RetinaNet(
        TinyPyramid((8, 16, 32)),
        num_classes,
        anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 3),
        **_sizes(image_size),
    )
    if lively_head:
        for branch in (model.head.classification_head, model.head.regression_head):
            for layer in branch.conv.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return model


def build_fcos(num_classes: int, image_size: Sequence[int]) -> FCOS:
    """Build an FCOS with strides 8, 16 and 32; an object's largest distance is 2 to 4 strides of its level."""
    _check(num_classes, image_size)
    return FCOS(
        TinyPyramid((8, 16, 32)),
        num_classes,
        anchor_generator=AnchorGenerator(((4,), (8,), (16,)), ((1.0,),) * 3),
        # The usual 1.5 strides, in units of the anchor's side, which is half a stride.
        center_sampling_radius=3.0,
        **_sizes(image_size),
    )


def build_fasterrcnn(num_classes: int, image_size: Sequence[int], proposals: int = 50) -> FasterRCNN:
    """Build a Faster R-CNN with strides 4 to 32, and `proposals` regions per image at inference."""
    _check(num_classes, image_size, proposals)
    return FasterRCNN(
        TinyPyramid((4, 8, 16, 32)),
        box_head=_box_head(),
        box_predictor=FastRCNNPredictor(_BOX_FEATURES, num_classes + 1),
        **_two_stage(image_size, proposals),
    )


def build_maskrcnn(num_classes: int, image_size: Sequence[int], proposals: int = 50) -> MaskRCNN:
    """Build a Mask R-CNN like `build_fasterrcnn`, with two convolutions in its mask head."""
    _check(num_classes, image_size, proposals)
    return MaskRCNN(
        TinyPyramid((4, 8, 16, 32)),
        box_head=_box_head(),
        box_predictor=FastRCNNPredictor(_BOX_FEATURES, num_classes + 1),
        mask_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], output_size=14, sampling_ratio=2),
        mask_head=MaskRCNNHeads(PYRAMID_CHANNELS, (_MASK_FEATURES, _MASK_FEATURES), 1),
        mask_predictor=MaskRCNNPredictor(_MASK_FEATURES, _MASK_FEATURES, num_classes + 1),
        **_two_stage(image_size, proposals),
    )


def _check(num_classes: int, image_size: Sequence[int], proposals: int = 1) -> None:
    """Raise ConfigError for numbers with which no network can be built."""
    for name, value in (("num_classes", num_classes), ("proposals", proposals)):
        if value < 1:
            raise ConfigError(f"model.{name}={value}: choose at least 1")
    if len(image_size) != 2 or not 1 <= image_size[0] <= image_size[1]:
        raise ConfigError(f"model.image_size={list(image_size)}: give (shorter, longer) side in whole pixels")


def _box_head() -> TwoMLPHead:
    return TwoMLPHead(PYRAMID_CHANNELS * 7 * 7, _BOX_FEATURES)


def _two_stage(image_size: Sequence[int], proposals: int) -> dict:
    return {
        "rpn_anchor_generator": AnchorGenerator(((14,), (24,), (42,), (80,)), ((0.5, 1.0, 2.0),) * 4),
        "rpn_pre_nms_top_n_train": 200,
        "rpn_pre_nms_top_n_test": 300,
        "rpn_post_nms_top_n_train": 100,
        "rpn_post_nms_top_n_test": proposals,
        "rpn_batch_size_per_image": 128,
        "box_batch_size_per_image": 32,
        "box_roi_pool": MultiScaleRoIAlign(["0", "1", "2", "3"], output_size=7, sampling_ratio=2),
        **_sizes(image_size),
    }


def _sizes(image_size: Sequence[int]) -> dict:
    return {"min_size": image_size[0], "max_size": image_size[1]}
