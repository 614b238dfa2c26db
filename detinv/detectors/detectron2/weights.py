"""Detectron2's weights: files of its model zoo, of its trainer, and of its predecessors in Caffe2."""

import pickle
from pathlib import Path

import torch
from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts
from detectron2.utils.file_io import PathManager
from torch import Tensor, nn

from detinv.detectors.detectron2.quiet import quiet_log
from detinv.errors import DetectorError
from detinv.zoo.class_columns import ClassColumns
from detinv.zoo.weights import put_weights, read_state, require_trust

# Old files also hold constants, which models now take from their configuration.
_CONSTANTS = ("pixel_mean", "pixel_std", "anchor_generator.cell_anchors.")


def load_detectron2_weights(
    model: nn.Module, path: str | Path, trust_weights: bool, classes: ClassColumns | None = None
) -> None:
    """Load the weights at `path` into `model`; every key and every shape must fit.

    Args:
        path: of a .pkl file, which is always a pickle, or of a .pth or .safetensors file; see `read_state`.
        trust_weights: whether a pickle may be opened.
        classes: see `put_weights`.

    Raises:
        DetectorError: when the file is missing, broken or not trusted, or its weights belong to another architecture.
    """
    path = Path(path)
    state = _read_pickle(model, path, trust_weights) if path.suffix == ".pkl" else read_state(path, trust_weights)
    put_weights(model, {key: value for key, value in state.items() if not _is_constant(key)}, path, classes)


def zoo_weights(zoo_name: str | None, trust_weights: bool) -> Path:
    """Return the file of the model zoo's weights for one of its configurations, downloaded if it is not cached.

    Raises:
        DetectorError: when the zoo has none, they are not trusted (they are pickles), or cannot be downloaded.
    """
    if zoo_name is None:
        raise DetectorError("weights=zoo: the model is not one of Detectron2's model zoo; give detector.weights=PATH")
    try:
        from detectron2 import model_zoo
    except ImportError as error:  # it imports pkg_resources, which newer versions of setuptools lack
        raise DetectorError(
            f"weights=zoo: Detectron2's model zoo cannot be imported ({error}); pip install 'setuptools<81'"
        ) from error
    try:
        url = model_zoo.get_checkpoint_url(zoo_name)
    except RuntimeError as error:
        raise DetectorError(
            f"weights=zoo: Detectron2 has released none for {zoo_name}; give detector.weights=PATH of your own"
        ) from error
    require_trust(url, trust_weights)
    try:
        return Path(PathManager.get_local_path(url))
    except (OSError, RuntimeError) as error:
        raise DetectorError(
            f"{url}: cannot be downloaded ({error}); fetch it from there by other means and give detector.weights=PATH"
        ) from error


def _read_pickle(model: nn.Module, path: Path, trust_weights: bool) -> dict[str, Tensor]:
    """Return tensors by the model's names.

    A file of the model zoo is a dictionary with entries "model" and "__author__", and "matching_heuristics" where names
    have to be matched by their endings. All other files come from Caffe2, possibly within an entry "blobs".
    """
    if not path.is_file():
        raise DetectorError(f"{path}: no such weights file; give the path of a .pkl, .pth or .safetensors file")
    require_trust(path, trust_weights)
    try:
        with path.open("rb") as file:
            found = pickle.load(file, encoding="latin1")
    except Exception as error:  # a pickle is a program and may raise anything
        raise DetectorError(f"{path}: cannot be opened as a pickle ({type(error).__name__}: {error})") from error
    if not isinstance(found, dict):
        raise DetectorError(f"{path}: holds a {type(found).__name__} instead of weights by name")
    own = "model" in found and "__author__" in found
    arrays = found["model"] if own else found.get("blobs", found)
    state = {key: torch.as_tensor(value) for key, value in arrays.items() if not key.endswith("_momentum")}
    if own and not found.get("matching_heuristics"):
        return state
    return _match(model, state, caffe2=not own or found["__author__"] == "Caffe2")


def _match(model: nn.Module, state: dict[str, Tensor], caffe2: bool) -> dict[str, Tensor]:
    """Rename by Detectron2's own rules; its log is suppressed, as the result is checked afterwards."""
    with quiet_log(align_and_update_state_dicts.__module__):
        return align_and_update_state_dicts(model.state_dict(), state, c2_conversion=caffe2)


def _is_constant(key: str) -> bool:
    return any(constant in key for constant in _CONSTANTS)
