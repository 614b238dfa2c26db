"""The library ultralytics, imported only when needed and without its log; its networks, built or loaded.

It is licensed under the AGPL-3.0, so detinv does not import it before one of its detectors is requested.
"""

import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from torch import nn

from detinv.config.trust import require_trusting
from detinv.detectors.class_names import read_class_names
from detinv.detectors.ultralytics.network import head_of
from detinv.detectors.ultralytics.random_weights import randomise_weights
from detinv.errors import DetectorError
from detinv.inputs.printable import suggestion
from detinv.zoo.class_columns import ClassColumns
from detinv.zoo.weights import load_weights

RANDOM = "random"
HEADS = ("Detect", "v10Detect")
"""Names of the library's heads that predict boxes and classes and nothing else."""

_RELEASES = "https://github.com/ultralytics/assets/releases"
# On its first import the library would otherwise look for a network connection, write a settings file into the user's
# folder, install packages that are missing, and log.
_QUIET = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}


def require_ultralytics() -> None:
    """Import the library, if necessary, without output, files, or patches that remain.

    Raises:
        DetectorError: when it is not installed.
    """
    try:
        if "ultralytics" in sys.modules:
            import ultralytics  # fails if an earlier import failed
        else:
            with _without_side_effects():
                import ultralytics.nn.tasks  # noqa: F401
    except ImportError as error:
        raise DetectorError(
            f"this detector needs the library ultralytics (AGPL-3.0), which cannot be imported ({error}); "
            "pip install 'detinv[yolo]'"
        ) from error


def build_network(model: str, num_classes: int) -> nn.Module:
    """Build a YOLO detection network with random weights.

    Args:
        model: the library's name of an architecture with its scale, such as yolov8n.yaml, or the path of a model file.

    Raises:
        DetectorError: for an architecture the library does not know, and for one that does not end in a plain
            detection head.
        ConfigError: when `model` is a file and configurations are not trusted.
    """
    if os.path.isfile(model):
        require_trusting(f"{model}: ultralytics runs parts of a model file as Python, and would do so with this one")
    require_ultralytics()
    from ultralytics.nn.tasks import DetectionModel, yaml_model_load

    if not Path(model).is_file() and model not in (known := architectures()):
        raise DetectorError(
            f"model={model}: neither a file nor an architecture of ultralytics{suggestion(model, known)} (say "
            "yolov8n.yaml, yolo11n.yaml, yolov10n.yaml, ...)"
        )
    description = yaml_model_load(model)
    check_head(str(description["head"][-1][2]), model)
    return DetectionModel(description | {"nc": num_classes}, verbose=False)


def architectures() -> tuple[str, ...]:
    """Return the names of the library's detection architectures, with their scales."""
    import ultralytics
    from yaml import safe_load

    found = []
    for path in sorted((Path(ultralytics.__file__).parent / "cfg" / "models").rglob("*.yaml")):
        description = safe_load(path.read_text(encoding="utf-8"))
        if str(description["head"][-1][2]) in HEADS:
            scales = description.get("scales") or {}
            # "yolov8-p2" and scale "n" make "yolov8n-p2"; a name that ends in a scale has only that scale.
            scaled = [re.sub(r"^(yolov?\d+)(-|$)", rf"\g<1>{scale}\2", path.stem) for scale in scales]
            found += [f"{name}.yaml" for name in {path.stem, *scaled}]
    return tuple(sorted(found))


def check_head(head: str, where: str) -> None:
    """Check that `head` is a plain detection head.

    Raises:
        DetectorError: when it is not; the message names `where`.
    """
    if head == "RTDETRDecoder":
        raise DetectorError(f"{where}: is an RT-DETR; use that of transformers instead: detector=rtdetr_r50")
    if head not in HEADS:
        raise DetectorError(
            f"{where}: ends in a head {head}; only networks that detect nothing but boxes can be inverted (heads "
            f"{' and '.join(HEADS)}), such as yolov8n"
        )


def load_network(model: str, weights: str, class_names: Any, trust_weights: bool) -> tuple[nn.Module, tuple[str, ...]]:
    """Load a YOLO network with its weights; return it and the names of its classes.

    Args:
        model: see `build_network`; not used for a checkpoint that holds a whole network.
        weights: "random", see `randomise_weights`; or the path of a state dict of `model`, or of one of the library's
            checkpoints.
        class_names: see `read_class_names`; None for the checkpoint's or, without a checkpoint, COCO's.
        trust_weights: whether the library's checkpoints, which are pickles of whole networks, may be opened.

    Raises:
        DetectorError: when the weights are missing, not trusted, or do not fit.
    """
    require_ultralytics()
    if weights != RANDOM and not os.path.isfile(weights):
        raise DetectorError(
            f"weights={weights}: no such file; fetch the library's own from {_RELEASES} and give the path, or say "
            "detector.weights=random for none"
        )
    if weights != RANDOM and trust_weights and not _is_plain(Path(weights)):
        return _load_checkpoint(Path(weights), class_names)
    names = read_class_names("coco" if class_names is None else class_names)
    network = build_network(model, len(names))
    if weights == RANDOM:
        randomise_weights(network)
    else:
        load_weights(network, weights, classes=ClassColumns(len(names)))
    return network, names


def _is_plain(path: Path) -> bool:
    """Return whether the file holds nothing but tensors, or cannot be read at all."""
    if path.suffix == ".safetensors":
        return True
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        return False
    except Exception:  # a broken file may raise anything
        return True
    return True


def _load_checkpoint(path: Path, class_names: Any) -> tuple[nn.Module, tuple[str, ...]]:
    """Load the network in one of the library's checkpoints, in fp32 and not fused; return it and its class names."""
    from ultralytics.nn.tasks import load_checkpoint

    with TemporaryDirectory() as folder:
        # The library alters some names and downloads what it then does not find; this name it simply reads.
        copy = Path(folder) / "checkpoint.pt"
        shutil.copyfile(path, copy)
        try:
            network = load_checkpoint(copy, device="cpu", fuse=False)[0]
        except (ImportError, AttributeError, TypeError, RuntimeError, ValueError, LookupError, EOFError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0].replace(str(copy), str(path))
            raise DetectorError(f"{path}: cannot be read as a checkpoint of ultralytics ({reason})") from error
    check_head(type(head_of(network)).__name__, str(path))
    own = tuple(str(name) for name in network.names.values())
    names = own if class_names is None else read_class_names(class_names)
    if len(names) != len(own):
        raise DetectorError(
            f"{path}: detects {len(own)} classes, but class_names has {len(names)}; leave class_names out to use the "
            "checkpoint's"
        )
    return network, names


@contextmanager
def _without_side_effects() -> Iterator[None]:
    """Undo what the library's first import changes globally."""
    before = {name: os.environ.get(name) for name in (*_QUIET, "YOLO_CONFIG_DIR")}
    save, image_open = torch.save, Image.open
    with TemporaryDirectory() as settings, warnings.catch_warnings():
        os.environ.update(_QUIET, YOLO_CONFIG_DIR=settings)
        try:
            yield
        finally:
            torch.save, Image.open = save, image_open
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
