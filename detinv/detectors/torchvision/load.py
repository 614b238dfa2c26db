"""torchvision's detection models by name, with the library's COCO weights or one's own."""

import os
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import nn
from torchvision.models import get_model, get_model_weights
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.ssd import SSD
from torchvision.ops import FrozenBatchNorm2d

from detinv.config.printable import suggestion
from detinv.detectors.class_names import COCO, COCO_CLASSES, read_class_names
from detinv.detectors.torchvision.common import AbstractTorchvisionDetector
from detinv.detectors.torchvision.fcos import TorchvisionFCOS
from detinv.detectors.torchvision.random_weights import randomise_weights
from detinv.detectors.torchvision.rcnn import TorchvisionRCNN
from detinv.detectors.torchvision.retinanet import TorchvisionRetinaNet
from detinv.detectors.torchvision.ssd import TorchvisionSSD
from detinv.errors import DetectorError
from detinv.zoo.weights import load_weights

# Epsilon of the normalisation that the library freezes in its pretrained models. Three of them were trained when the
# frozen layers had none, and their builders set it to zero together with the weights. None: nothing is frozen.
_FROZEN_EPS: dict[str, float | None] = {
    "retinanet_resnet50_fpn": 0.0,
    "retinanet_resnet50_fpn_v2": None,
    "fcos_resnet50_fpn": 1e-5,
    "fasterrcnn_resnet50_fpn": 0.0,
    "fasterrcnn_resnet50_fpn_v2": None,
    "fasterrcnn_mobilenet_v3_large_fpn": 1e-5,
    "fasterrcnn_mobilenet_v3_large_320_fpn": 1e-5,
    "maskrcnn_resnet50_fpn": 0.0,
    "maskrcnn_resnet50_fpn_v2": None,
    "ssdlite320_mobilenet_v3_large": None,
}
ARCHITECTURES = tuple(_FROZEN_EPS)
"""torchvision's names of the models that `build` knows."""

_ADAPTERS: dict[type, Any] = {
    RetinaNet: TorchvisionRetinaNet,
    FCOS: TorchvisionFCOS,
    FasterRCNN: TorchvisionRCNN,
    SSD: TorchvisionSSD,
}
_RANDOM = "random"
# Category names of the library that are no classes.
_NO_CLASS = ("__background__", "N/A")


def build(
    architecture: str,
    class_names: str | Sequence[str] = COCO,
    num_columns: int = 91,
    weights: str = "COCO_V1",
    image_size: Sequence[int] | None = None,
    proposals: int | None = None,
    frozen_eps: float | None = None,
    trust_weights: bool = False,
) -> AbstractTorchvisionDetector:
    """One of torchvision's detectors, as its builder makes it for pretrained weights.

    Args:
        architecture: one of `ARCHITECTURES`.
        class_names: of the classes 0 ... K-1; see `read_class_names`.
        num_columns: the library's `num_classes`, which counts the background. COCO's 80 classes have 91, some of them
            unused, or 81; K other classes have K + 1, in order, of which the first is the background. One-stage heads
            of sigmoids may also have K.
        weights: a name from the library's weights, such as "COCO_V1", whose file is taken from torch.hub's folder or
            downloaded into it; the path of a file; or "random", for weights under which the model reports something,
            the same every time; see `randomise_weights`.
        image_size: (shorter, longer) side of what the network sees, in pixels: images are made as large as both
            allow. SSDLite takes (height, width), and every image gets just that size. The library's own by default.
        proposals: most regions that a second stage looks at; the library's own number by default.
        frozen_eps: epsilon of the frozen normalisation; that of the library's COCO weights by default.
        trust_weights: whether weights that are a pickle may be opened.

    Raises:
        DetectorError: for an unknown name, options that contradict each other, and weights that are not there or do
            not fit.
    """
    if architecture not in ARCHITECTURES:
        raise DetectorError(
            f"torchvision's architecture {architecture!r} is not known{suggestion(architecture, ARCHITECTURES)} "
            f"(there are: {', '.join(ARCHITECTURES)})"
        )
    names = read_class_names(class_names)
    columns = _columns(architecture, names, num_columns)
    options = {} if proposals is None else _proposal_options(architecture, proposals)
    model = get_model(architecture, weights=None, weights_backbone=None, num_classes=num_columns, **options)
    _freeze_normalisation(model, architecture, frozen_eps)
    if image_size is not None:
        _resize(model, architecture, image_size)
    if weights == _RANDOM:
        # A background is a column of a softmax only.
        first = int(not isinstance(model, RetinaNet | FCOS))
        randomise_weights(model, [column for column in range(first, num_columns) if column not in columns])
    else:
        _put_weights(model, architecture, weights, names, num_columns, trust_weights)
    adapter = next(adapter for kind, adapter in _ADAPTERS.items() if isinstance(model, kind))
    return adapter(model, names, columns)


def _columns(architecture: str, names: Sequence[str], num_columns: int) -> tuple[int, ...]:
    """The model's column of each class."""
    categories = _coco_categories(architecture)
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


def _proposal_options(architecture: str, proposals: int) -> dict[str, int]:
    if "rcnn" not in architecture:
        raise DetectorError(f"proposals={proposals}: {architecture} has no second stage; leave the option out")
    if proposals < 1:
        raise DetectorError(f"proposals={proposals}: there must be at least one")
    return {"rpn_post_nms_top_n_test": proposals}


def _coco_categories(architecture: str) -> list[str]:
    return get_model_weights(architecture).COCO_V1.meta["categories"]


def _freeze_normalisation(model: Any, architecture: str, eps: float | None) -> None:
    """Frozen layers where the library has them in a pretrained model; without weights its builders put others."""
    default = _FROZEN_EPS[architecture]
    if default is not None:
        _replace_normalisation(model.backbone, default if eps is None else eps)
    elif eps is not None:
        raise DetectorError(f"frozen_eps={eps}: {architecture} has no frozen normalisation; leave the option out")


def _replace_normalisation(module: nn.Module, eps: float) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, FrozenBatchNorm2d(child.num_features, eps))
        else:
            _replace_normalisation(child, eps)


def _resize(model: Any, architecture: str, image_size: Sequence[int]) -> None:
    if len(image_size) != 2 or not all(isinstance(side, int) and side > 0 for side in image_size):
        raise DetectorError(f"image_size={list(image_size)}: give two whole numbers of pixels above 0")
    if model.transform.fixed_size is not None:
        height, width = image_size
        model.transform.fixed_size = (width, height)
        return
    shorter, longer = image_size
    if shorter > longer:
        raise DetectorError(f"image_size={list(image_size)}: {architecture} takes the shorter side first")
    model.transform.min_size, model.transform.max_size = (shorter,), longer


def _put_weights(
    model: nn.Module, architecture: str, weights: str, names: Sequence[str], num_columns: int, trust_weights: bool
) -> None:
    known = get_model_weights(architecture).__members__
    if weights in known:
        columns = len(known[weights].meta["categories"])
        if tuple(names) != COCO_CLASSES or num_columns != columns:
            raise DetectorError(
                f"weights={weights}: these have {columns} columns for COCO's classes, not {num_columns} for "
                f"{len(names)} class names; give the path of your own weights, or class_names={COCO} and "
                f"num_columns={columns}"
            )
        load_weights(model, _library_file(architecture, known[weights].url))
    elif Path(weights).suffix or os.path.exists(weights):
        load_weights(model, weights, trust_weights)
    else:
        choices = (*known, _RANDOM)
        raise DetectorError(
            f"weights={weights}: {architecture} has no weights of that name{suggestion(weights, choices)} "
            f"(there are: {', '.join(choices)}; or give the path of a file)"
        )


def _library_file(architecture: str, url: str) -> Path:
    """The file of the library's weights, which is downloaded if it is not there."""
    name = Path(urlparse(url).path).name
    file = Path(torch.hub.get_dir()) / "checkpoints" / name
    if file.is_file():
        return file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        found = torch.hub.HASH_REGEX.search(name)
        torch.hub.download_url_to_file(url, str(file), found.group(1) if found else None)
    except (OSError, RuntimeError, HTTPException) as error:
        raise DetectorError(
            f"{name}: torchvision's weights of {architecture} are not in {file.parent}, and downloading {url} failed "
            f"({error}); put the file there, or give detector.weights=PATH"
        ) from error
    return file
