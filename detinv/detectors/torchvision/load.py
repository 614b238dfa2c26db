"""torchvision's detectors by name, with the library's COCO weights, one's own or random ones."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.ssd import SSD

from detinv.detectors.class_names import COCO, COCO_CLASSES, read_class_names
from detinv.detectors.torchvision.common import AbstractTorchvisionDetector
from detinv.detectors.torchvision.fcos import TorchvisionFCOS
from detinv.detectors.torchvision.library import (
    build_network,
    check_architecture,
    coco_categories,
    freezes_normalisation,
    library_weights,
    weights_file,
)
from detinv.detectors.torchvision.random_weights import randomise_weights
from detinv.detectors.torchvision.rcnn import TorchvisionRCNN
from detinv.detectors.torchvision.retinanet import TorchvisionRetinaNet
from detinv.detectors.torchvision.ssd import TorchvisionSSD
from detinv.errors import DetectorError
from detinv.inputs.notes import say_once
from detinv.inputs.printable import suggestion
from detinv.zoo.class_columns import ClassColumns
from detinv.zoo.weights import load_weights, put_weights, read_state

_ADAPTERS: dict[type, Any] = {
    RetinaNet: TorchvisionRetinaNet,
    FCOS: TorchvisionFCOS,
    FasterRCNN: TorchvisionRCNN,
    SSD: TorchvisionSSD,
}
_RANDOM = "random"
# Category names of the library that do not stand for a class.
_NO_CLASS = ("__background__", "N/A")


def load_torchvision(
    architecture: str,
    class_names: str | Sequence[str] = COCO,
    num_columns: int = 91,
    weights: str = "COCO_V1",
    image_size: Sequence[int] | None = None,
    proposals: int | None = None,
    frozen_eps: float | None = None,
    trust_weights: bool = False,
) -> AbstractTorchvisionDetector:
    """Build one of torchvision's detectors, as its builder makes it for pretrained weights, frozen, on the CPU.

    Args:
        architecture: one of `ARCHITECTURES`.
        class_names: of the classes 0 ... K-1; see `read_class_names`.
        num_columns: the library's `num_classes`, which counts the background. COCO's 80 classes have 91, some of them
            unused, or 81; K other classes have K + 1, in order, of which the first is the background. One-stage heads
            with sigmoids may also have K.
        weights: a name from the library's weights, such as "COCO_V1", whose file is taken from torch.hub's folder or
            downloaded into it; the path of a file; or "random", for weights under which the model reports something,
            the same every time; see `randomise_weights`.
        image_size: (shorter, longer) side of the network's input, in pixels: images are made as large as both allow.
            SSDLite takes (height, width), and every image gets exactly that size. The library's own by default.
        proposals: largest number of regions that the second stage receives; the library's own number by default.
        frozen_eps: epsilon of the frozen normalisation; that of the library's COCO weights by default. Weights of your
            own that were trained with normalisation that was not frozen, from scratch, say so by counting batches
            (`num_batches_tracked`); the network then has that normalisation, and this option is not used.
        trust_weights: whether weights that are a pickle may be opened.

    Raises:
        DetectorError: for an unknown name, options that contradict each other, and weights that are missing or do not
            fit.
    """
    check_architecture(architecture)
    names = read_class_names(class_names)
    columns = _columns(architecture, names, num_columns)
    given = _read(architecture, weights, names, num_columns, trust_weights)
    counts_batches = any(key.endswith(".num_batches_tracked") for key in given or ())
    if counts_batches and freezes_normalisation(architecture):
        say_once(f"{weights}: trained with normalisation that was not frozen, so none is, and frozen_eps has no effect")
    model = build_network(architecture, num_columns, image_size, proposals, frozen_eps, freeze=not counts_batches)
    if given is not None:
        put_weights(model, given, weights, ClassColumns(num_columns, option="detector.num_columns"))
    elif weights == _RANDOM:
        # Only a softmax has a column for the background.
        first = int(not isinstance(model, RetinaNet | FCOS))
        randomise_weights(model, [column for column in range(first, num_columns) if column not in columns])
    else:
        load_weights(model, weights_file(architecture, weights))
    adapter = next(adapter for kind, adapter in _ADAPTERS.items() if isinstance(model, kind))
    return adapter(model, names, columns)


def _columns(architecture: str, names: Sequence[str], num_columns: int) -> tuple[int, ...]:
    """Return the model's column of each class."""
    categories = coco_categories(architecture)
    if tuple(names) == COCO_CLASSES and num_columns == len(categories):
        return tuple(column for column, name in enumerate(categories) if name not in _NO_CLASS)
    if num_columns == len(names) + 1:
        return tuple(range(1, num_columns))
    if num_columns == len(names) and architecture.startswith(("retinanet", "fcos")):
        return tuple(range(num_columns))
    raise DetectorError(
        f"num_columns={num_columns} does not fit {len(names)} class names: give num_columns={len(names) + 1}, as "
        f"torchvision counts the background"
        + (f", or {len(categories)} for weights of COCO's own category ids" if tuple(names) == COCO_CLASSES else "")
    )


def _read(
    architecture: str, weights: str, names: Sequence[str], num_columns: int, trust_weights: bool
) -> dict[str, Tensor] | None:
    """Return the tensors of a file of the user's own; None for random weights and the library's, which must fit."""
    known = library_weights(architecture)
    if weights == _RANDOM:
        return None
    if weights in known:
        columns = known[weights]
        if tuple(names) != COCO_CLASSES or num_columns != columns:
            raise DetectorError(
                f"weights={weights}: these have {columns} columns for COCO's classes, not {num_columns} for "
                f"{len(names)} class names; give the path of your own weights, or class_names={COCO} and "
                f"num_columns={columns}"
            )
        return None
    if Path(weights).suffix or os.path.exists(weights):
        return read_state(weights, trust_weights)
    choices = (*known, _RANDOM)
    raise DetectorError(
        f"weights={weights}: {architecture} has no weights of that name{suggestion(weights, choices)} "
        f"(there are: {', '.join(choices)}; or give the path of a file)"
    )
