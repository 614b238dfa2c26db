"""DETR-type detectors of transformers, by the name of an architecture, a folder or a name on the hub."""

from collections.abc import Mapping, Sequence
from typing import Any

from detinv.config.instantiate import locate
from detinv.detectors.base import AbstractDetector
from detinv.detectors.class_names import COCO, read_class_names
from detinv.detectors.transformers.library import build_network, load_network
from detinv.errors import DetectorError

RANDOM = "random"
# Names in checkpoints of columns that belong to no class.
_NO_CLASS = ("N/A", "no-object", "background")


def load_transformers(
    architecture: str,
    weights: str = RANDOM,
    revision: str = "main",
    class_names: str | Sequence[str] | None = COCO,
    image_size: Sequence[int] | None = None,
    score_thresh: float = 0.05,
    settings: Mapping[str, Any] | None = None,
    trust_weights: bool = False,
) -> AbstractDetector:
    """Build or load a DETR-type detector, frozen, on the CPU.

    Args:
        architecture: one of `ARCHITECTURES`, built when `weights` is "random"; trained weights name their own.
        weights: "random"; a folder that the library's `save_pretrained` wrote, model and image processor; or a name on
            the Hugging Face hub.
        revision: of a name on the hub.
        class_names: of the classes in the order of the model's columns, see `read_class_names`; None for the names
            stored with the weights.
        image_size: of the network's input, in pixels: (shorter, longer) side where the image processor keeps the aspect
            ratio, as DETR's does, else (height, width). None for the size stored with the weights, or the library's
            default.
        score_thresh: detections at or below it are dropped. The library's default is 0.5; average precision needs less.
        settings: entries of the library's configuration to change, when `weights` is "random".
        trust_weights: whether weights that are a pickle may be opened.

    Raises:
        DetectorError: when the library is missing, an option is not valid, or weights are missing or do not fit.
    """
    names = None if class_names is None else read_class_names(class_names)
    if weights == RANDOM:
        if names is None:
            raise DetectorError(f"class_names: random weights have none stored; give a list of them, or {COCO}")
        network, processor, family = build_network(architecture, len(names), settings or {})
        columns = tuple(range(len(names)))
    else:
        if settings:
            raise DetectorError(
                f"settings: only for weights={RANDOM}, as trained ones have their own; leave out {', '.join(settings)}"
            )
        network, processor, family = load_network(weights, revision, trust_weights)
        columns, stored = _classes(network)
        names = stored if names is None else names
        if len(names) != len(columns):
            raise DetectorError(
                f"{weights}: has {len(columns)} classes, but class_names gives {len(names)}; give one name for each, "
                "or class_names=null for the names stored with the weights"
            )
    if image_size is not None:
        _resize(processor, image_size, bool(family.side))
    adapter = locate(family.adapter)(network, processor, names, columns, score_thresh)
    assert isinstance(adapter, AbstractDetector)
    return adapter


def _classes(network: Any) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Columns that belong to a class, in order, and the names stored with the weights."""
    stored = {int(column): str(name) for column, name in network.config.id2label.items()}
    columns = tuple(column for column, name in sorted(stored.items()) if name not in _NO_CLASS)
    return columns, read_class_names([stored[column] for column in columns])


def _resize(processor: Any, image_size: Sequence[int], fixed: bool) -> None:
    """Let the image processor resize to another size, by the rule it has or, if it must be `fixed`, to just that."""
    if len(image_size) != 2 or not all(isinstance(side, int) and side > 0 for side in image_size):
        raise DetectorError(f"image_size={list(image_size)}: give two whole numbers of pixels above 0")
    first, second = image_size
    if processor.size.shortest_edge and not fixed:
        if first > second:
            raise DetectorError(f"image_size={list(image_size)}: this detector takes the shorter side first")
        sides = {"shortest_edge": first, "longest_edge": second}
    else:
        sides = {"height": first, "width": second}
    processor.size = type(processor.size)(**sides)
