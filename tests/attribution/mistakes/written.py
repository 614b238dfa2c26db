"""Detectors whose raw predictions are written by hand from what an image shows; all that follows is the library's own.

The network is a real one of the family, with random weights. What its last layers return is replaced, both in the
library's inference and in the adapter's forward pass.
"""

import math
from collections.abc import Callable
from copy import copy
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from detinv.config.detectors import detector_node
from detinv.detectors.base import AbstractDetector
from detinv.detectors.heads.predictions import DenseHead
from detinv.detectors.heads.scoring import Scoring
from detinv.detectors.load import load_detector
from detinv.detectors.nanodet.nanodet import BINS
from detinv.detectors.torchvision.ssd import TorchvisionSSD
from detinv.detectors.ultralytics.network import head_of
from detinv.layouts.boxes import area
from tests.attribution.mistakes.rectangles import CLASSES, SIDE, read
from tests.fakes import build_ssd, tiny_model

NAMES = [f"class{number}" for number in range(CLASSES)]
# Written raw predictions of one image: classes before their activation, regression, and quality where there is one.
Raw = tuple[Tensor, Tensor, Tensor | None]


def raw_predictions(head: DenseHead, columns: int, pixels: Tensor, copies: int | None) -> Raw:
    """Write raw predictions of what `pixels`, in [0, 1], show; the same for the same objects.

    An object has a row of high score with its box, and others of lower scores with nearly its box. All other rows have
    low scores.

    Args:
        copies: rows of each object; by default one to four.
    """
    boxes, labels = read(pixels)
    generator = torch.Generator().manual_seed(int(boxes.sum() * 8) + int(labels.sum()))

    def between(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    whole = bool((area(head.anchors) > 0.9 * SIDE * SIDE).all())
    scores = between(0, 0.02, len(head.anchors), columns)
    placed = head.anchors + between(-0.2, 0.2, len(head.anchors), 4) * (head.anchors[:, 2:3] - head.anchors[:, :1])
    if whole:
        corners = between(0, SIDE - 20, len(placed), 2)
        placed = torch.cat([corners, corners + between(10, 20, len(placed), 2)], 1)
    able = head.codec.expresses(boxes[None], head.anchors)[0]
    free = torch.ones(len(placed), dtype=torch.bool)
    for box, label, can in zip(boxes, labels, able, strict=True):
        apart = (head.anchors - box).abs().sum(1)
        nearest = apart.masked_fill(~(can & free), torch.inf).argsort(stable=True)[: int((can & free).sum())]
        assert len(nearest), "no row for this object"
        count = int(torch.randint(1, 5, (), generator=generator)) if copies is None else copies
        best = float(between(0.6, 0.95, 1))
        for place, row in enumerate(nearest[:count].tolist()):
            free[row] = False
            share = 1.0 if not place else float(between(0.85, 0.95, 1))
            scores[row, label] = best * share
            sides = (box[2:] - box[:2]).repeat(2)
            placed[row] = box + (0.02 if not place else 0.05) * between(-1, 1, 4) * sides
    regression = head.codec.encode(placed, head.anchors)
    return _before_activation(head.scoring, scores), regression, _quality(head.scoring, scores)


def _before_activation(scoring: Scoring, scores: Tensor) -> Tensor:
    """Return logits whose scores, together with `_quality`, are these."""
    if scoring.activation == "sigmoid":
        return (scores.sqrt() if scoring.quality_power else scores).logit()
    if scoring.background:
        scores = scores / scores.sum(1, keepdim=True).clamp(min=1)
        return torch.cat([scores, 1 - scores.sum(1, keepdim=True)], 1).clamp(min=1e-6).log()
    best, label = scores.max(1)
    rest = ((1 - best) / (scores.shape[1] - 1))[:, None].expand_as(scores)
    return rest.scatter(1, label[:, None], best[:, None]).log()


def _quality(scoring: Scoring, scores: Tensor) -> Tensor | None:
    if not scoring.quality_power:
        return None
    best = scores.amax(1)
    return (best.sqrt() if scoring.activation == "sigmoid" else best).logit()


def _as_bins(distances: Tensor, count: int) -> Tensor:
    """Return logits of distributions over 0 ... `count` - 1 whose means are these distances."""
    distances = distances.clamp(1e-3, count - 1 - 1e-3)
    apart = (distances[..., None] - torch.arange(count)).abs()
    return (1 - apart).clamp(min=1e-9).log().flatten(-2)


class _Writer:
    """Hooks that replace what one network returns, by what its latest input shows."""

    def __init__(self, detector: AbstractDetector, copies: int | None) -> None:
        self.copies = copies
        self.pixels = torch.full((3, SIDE, SIDE), 0.5)
        raw = detector(self.pixels[None]).dense
        self.head, self.columns = raw.head, raw.num_classes

    def see(self, unnormalised: Callable[[Tensor], Tensor]) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self.pixels = unnormalised(inputs[0])[0]

        return hook

    @property
    def raw(self) -> Raw:
        return raw_predictions(self.head, self.columns, self.pixels, self.copies)

    def say(self, made: Callable[[Any, Raw], Any]) -> Callable[..., Any]:
        return lambda module, inputs, output: made(output, self.raw)


def _ssd(copies: int | None) -> AbstractDetector:
    detector = TorchvisionSSD(tiny_model(build_ssd, CLASSES, (SIDE, SIDE), 0), NAMES)
    writer = _Writer(detector, copies)
    detector.model.backbone.register_forward_pre_hook(writer.see(_normalised_by(detector)))
    # Background comes first.
    detector.model.head.register_forward_hook(
        writer.say(lambda _, raw: {"cls_logits": raw[0].roll(1, 1)[None], "bbox_regression": raw[1][None]})
    )
    return detector


def _coco(name: str, copies: int | None) -> AbstractDetector:
    """YOLOX, NanoDet and FastestDet, whose networks are ours: inference and adapter call `logits`."""
    detector: Any = load_detector(name, options=detector_node(name)["options"] | {"image_size": _SIDES[name]})
    writer, network = _Writer(detector, copies), detector.network
    seen: Callable[[Tensor], Tensor] = {
        "yolox_nano": lambda inputs: inputs / 255,
        "nanodet_m": lambda inputs: (
            inputs * detector.deviation.flip(0)[:, None, None] + detector.pixel_mean.flip(0)[:, None, None]
        ),
        "fastestdet": lambda inputs: inputs,
    }[name]

    def logits(inputs: Tensor) -> tuple[Tensor, ...]:
        writer.pixels = seen(inputs)[0].flip(0)
        classes, regression, quality = writer.raw
        if quality is None:
            return classes[None], _as_bins(regression, BINS)[None]
        if name == "yolox_nano":
            return regression[None], quality[None, :, None], classes[None]
        side = math.isqrt(len(classes))
        return tuple(one.T.unflatten(1, (side, side))[None] for one in (quality[:, None], regression, classes))

    network.logits = logits
    return detector


def _transformer(architecture: str, copies: int | None) -> AbstractDetector:
    from tests.transformers_fakes import tiny_transformer

    detector = tiny_transformer(architecture, CLASSES, image_size=[SIDE, SIDE])
    writer, model = _Writer(detector, copies), detector.model
    model.model.backbone.register_forward_pre_hook(writer.see(_normalised_by(detector)))
    if architecture == "detr_resnet50":
        model.class_labels_classifier.register_forward_hook(writer.say(lambda _, raw: raw[0][None]))
        model.bbox_predictor.register_forward_hook(writer.say(lambda _, raw: raw[1].logit()[None]))
        return detector

    def written(output: Any, raw: Raw) -> Any:
        output.intermediate_logits, output.intermediate_reference_points = raw[0][None, None], raw[1][None, None]
        return output

    model.model.decoder.register_forward_hook(writer.say(written))
    return detector


def _yolo(architecture: str, copies: int | None) -> AbstractDetector:
    from detinv.detectors.ultralytics.load import load_ultralytics

    with torch.random.fork_rng():
        torch.manual_seed(0)
        detector = load_ultralytics(f"{architecture}.yaml", class_names=NAMES, image_size=SIDE)
    writer, head = _Writer(detector, copies), head_of(detector.model)
    detector.model.model[0].register_forward_pre_hook(writer.see(lambda inputs: inputs))
    boxes, classes = (head.one2one_cv2, head.one2one_cv3) if detector.end_to_end else (head.cv2, head.cv3)
    start = 0
    for number, stride in enumerate(int(stride) for stride in head.stride):
        side = SIDE // stride
        own, start = slice(start, start + side * side), start + side * side

        def as_map(rows: Tensor, side: int = side) -> Tensor:
            return rows.T.unflatten(1, (side, side))[None]

        def regressed(output: Tensor, raw: Raw, own: slice = own, stride: int = stride, as_map: Any = as_map) -> Tensor:
            rows = raw[1][own]
            # Without distributions our deltas are shares of the image, and the network's are in strides.
            return as_map(_as_bins(rows, head.reg_max) if head.reg_max > 1 else rows * (SIDE / stride))

        boxes[number].register_forward_hook(writer.say(regressed))
        classes[number].register_forward_hook(writer.say(lambda _, raw, own=own, as_map=as_map: as_map(raw[0][own])))
    return detector


def _normalised_by(detector: Any) -> Callable[[Tensor], Tensor]:
    """Return what undoes a detector's normalisation."""
    if not getattr(getattr(detector, "processor", None), "do_normalize", True):
        return lambda inputs: inputs
    return lambda inputs: inputs * detector.pixel_std[:, None, None] + detector.pixel_mean[:, None, None]


_SIDES: dict[str, Any] = {"yolox_nano": SIDE, "nanodet_m": [SIDE, SIDE], "fastestdet": [SIDE, SIDE]}
BUILDERS: dict[str, Callable[[str, int | None], AbstractDetector]] = {
    "ssd": lambda _, copies: _ssd(copies),
    **dict.fromkeys(_SIDES, _coco),
    **dict.fromkeys(("detr_resnet50", "rtdetr_r18", "rtdetr_v2_r18"), _transformer),
    **dict.fromkeys(("yolov8n", "yolo11n", "yolov10n", "yolo26n"), _yolo),
}
ONE_ROW = ("detr_resnet50", "rtdetr_r18", "rtdetr_v2_r18", "yolov10n", "yolo26n")
"""Families whose training leaves one row for each object, and which do not suppress."""


def written_detector(name: str, copies: int | None = None, **settings: Any) -> AbstractDetector:
    """Return a detector whose raw predictions are written, by its architecture and constants of its post-processing.

    Args:
        copies: rows of each object; by default one to four, and one in families that do not suppress.
    """
    if copies is None and name in ONE_ROW:
        copies = 1
    detector, settings = _network(name, copies), {"score_thresh": 0.05, **settings}
    if name == "ssd":
        model = copy(detector.model)
        for setting, value in settings.items():
            setattr(model, "detections_per_img" if setting == "detections_per_image" else setting, value)
        return TorchvisionSSD(model, NAMES)
    if name in _SIDES:
        return type(detector)(detector.network, detector.class_names, detector.image_size, **settings)
    if hasattr(detector, "processor"):
        return type(detector)(detector.model, detector.processor, detector.class_names, detector.columns, **settings)
    return type(detector)(detector.model, NAMES, detector.image_size, **settings)


@cache
def _network(name: str, copies: int | None) -> Any:
    return BUILDERS[name](name, copies)
