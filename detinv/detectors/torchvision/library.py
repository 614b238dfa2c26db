"""torchvision's detection models: built by name, resized, and where their published weights are."""

from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import nn
from torchvision.models import get_model, get_model_weights
from torchvision.ops import FrozenBatchNorm2d

from detinv.errors import DetectorError
from detinv.inputs.printable import suggestion

# Epsilon of the normalisation that the library freezes in its pretrained models. Three of them were trained when frozen
# layers had none, and their builders set it to zero together with the weights. None: nothing is frozen.
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
"""torchvision's names of the supported models."""


def build_network(
    architecture: str,
    num_columns: int,
    image_size: Sequence[int] | None = None,
    proposals: int | None = None,
    frozen_eps: float | None = None,
    freeze: bool = True,
) -> Any:
    """Build a model as torchvision's builder makes it for pretrained weights, but without any.

    Args:
        architecture: one of `ARCHITECTURES`.
        num_columns: the library's `num_classes`.
        image_size: (shorter, longer) side in pixels; (height, width) for SSDLite; None for the library's own.
        proposals: number of regions for the second stage; None for the library's own.
        frozen_eps: epsilon of the frozen normalisation; None for that of the library's COCO weights.
        freeze: whether normalisation is frozen at all where the library freezes it; its builders do not when they make
            a model to be trained from scratch.

    Raises:
        DetectorError: for options that do not suit the architecture.
    """
    options = {} if proposals is None else _proposal_options(architecture, proposals)
    model = get_model(architecture, weights=None, weights_backbone=None, num_classes=num_columns, **options)
    if freeze:
        _freeze_normalisation(model, architecture, frozen_eps)
    if image_size is not None:
        _resize(model, architecture, image_size)
    return model


def check_architecture(architecture: str) -> None:
    """Check that an architecture is supported.

    Raises:
        DetectorError: when it is not; suggests the nearest.
    """
    if architecture not in ARCHITECTURES:
        raise DetectorError(
            f"torchvision's architecture {architecture!r} is not known{suggestion(architecture, ARCHITECTURES)} "
            f"(there are: {', '.join(ARCHITECTURES)})"
        )


def freezes_normalisation(architecture: str) -> bool:
    """Tell whether the library freezes the normalisation of this model when it loads pretrained weights."""
    return _FROZEN_EPS[architecture] is not None


def coco_categories(architecture: str) -> list[str]:
    """Return the names of the columns of the library's COCO weights, unused ones included."""
    return get_model_weights(architecture).COCO_V1.meta["categories"]


def library_weights(architecture: str) -> dict[str, int]:
    """Return the names of the library's weights, with the number of columns of each."""
    return {name: len(found.meta["categories"]) for name, found in get_model_weights(architecture).__members__.items()}


def weights_file(architecture: str, weights: str) -> Path:
    """Return the file of the library's weights of that name, downloaded if it is not in torch.hub's folder yet.

    Raises:
        DetectorError: when it cannot be downloaded.
    """
    url = get_model_weights(architecture).__members__[weights].url
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


def _proposal_options(architecture: str, proposals: int) -> dict[str, int]:
    if "rcnn" not in architecture:
        raise DetectorError(f"proposals={proposals}: {architecture} has no second stage; leave the option out")
    if proposals < 1:
        raise DetectorError(f"proposals={proposals}: there must be at least one")
    return {"rpn_post_nms_top_n_test": proposals}


def _freeze_normalisation(model: Any, architecture: str, eps: float | None) -> None:
    """Freeze the layers that the library freezes in a pretrained model; without weights its builders do not."""
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
