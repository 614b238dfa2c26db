"""YOLO detectors of ultralytics by architecture or checkpoint: the target of configs/detector/yolo*.yaml."""

from collections.abc import Sequence

from detinv.detectors.ultralytics.library import RANDOM, load_network
from detinv.detectors.ultralytics.yolo import UltralyticsYOLO


def load_ultralytics(
    model: str,
    weights: str = RANDOM,
    trust_weights: bool = False,
    class_names: str | Sequence[str] | None = None,
    image_size: int = 640,
    score_thresh: float = 0.25,
    nms_thresh: float = 0.7,
    detections_per_image: int = 300,
    end_to_end: bool | None = None,
) -> UltralyticsYOLO:
    """Build or load a YOLO detector, frozen, on the CPU.

    Args:
        model, weights, trust_weights, class_names: see `load_network`.
        image_size, score_thresh, nms_thresh, detections_per_image, end_to_end: see `UltralyticsYOLO`.

    Raises:
        DetectorError: when the library is missing, or one of the arguments is not valid.
    """
    network, names = load_network(model, weights, class_names, trust_weights)
    return UltralyticsYOLO(network, names, image_size, score_thresh, nms_thresh, detections_per_image, end_to_end)
