"""Weights on disk: half precision in safetensors files whose headers describe the model."""

import hashlib
import json
import os
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PosixPath
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from detinv.errors import DetectorError
from detinv.inputs.contents import described
from detinv.inputs.printable import one_line, reason_of
from detinv.zoo.checkpoints import ENTRIES, renamed_for, state_of
from detinv.zoo.class_columns import ClassColumns

# Number of keys that an error message lists before it gives only their number.
_NAMED = 3
# Characters of a key in an error message; files may call their tensors anything.
_KEY = 100
# Bytes with which a safetensors file begins: the length of its header.
_LENGTH = 8
# Bytes among which an archive has the name of what it holds first; PyTorch's is FOLDER/data.pkl.
_BEGINNING = 512


def bundled_weights(name: str) -> Path:
    """Return the path of the weights of the bundled detector `name`, which need not exist."""
    return Path(__file__).resolve().parent / "weights" / f"{name}.safetensors"


def save_weights(model: nn.Module, path: str | Path, metadata: Mapping[str, Any]) -> None:
    """Write a model's state into a file.

    Kernels and matrices are stored in half precision. Vectors (biases, normalisation and its running statistics), which
    are small, are stored in single precision; integers keep their type.

    Args:
        model: the detection model itself, not its adapter.
        path: of the safetensors file.
        metadata: values that JSON can hold: class names, image size, architecture, how the model was trained.

    Raises:
        ValueError: when a weight is too large for half precision, or not finite.
        OSError: when the file cannot be written.
    """
    state = {key: _compact(key, value) for key, value in model.state_dict().items()}
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(save(state, {key: json.dumps(value) for key, value in metadata.items()}))


def load_weights(
    model: nn.Module, path: str | Path, trust_weights: bool = False, classes: ClassColumns | None = None
) -> None:
    """Load the weights of a file into `model`; see `read_state` and `put_weights`.

    Raises:
        DetectorError: when the file is missing, broken or not trusted, or its weights belong to another architecture;
            the model is then unchanged.
    """
    put_weights(model, read_state(path, trust_weights), path, classes)


def put_weights(
    model: nn.Module, given: Mapping[str, Tensor], path: str | Path, classes: ClassColumns | None = None
) -> None:
    """Load weights into `model`, in its own precision; all keys and shapes must match, and all values be finite.

    Keys that the model's own modules still accept under an older name, as some of torchvision's do, match as well, and
    so do keys with a prefix; see `renamed_for`.

    Args:
        given: tensors by name.
        path: of the weights, for error messages.
        classes: how the model counts its classes, so that an error message can say what the file has instead.

    Raises:
        DetectorError: when the weights belong to another architecture, or contain NaN or infinity; the model is then
            unchanged.
    """
    before = {key: value.clone() for key, value in model.state_dict().items()}
    given = renamed_for(given, before.keys(), path)
    misshapen = [key for key, value in before.items() if key in given and given[key].shape != value.shape]
    fitting = {key: value for key, value in given.items() if key not in misshapen}
    others = [f"{key} {tuple(given[key].shape)} for {tuple(before[key].shape)}" for key in misshapen]
    try:
        # Comparing names here would not do: modules rename keys of their older versions while loading.
        missing, unexpected = model.load_state_dict(fitting, strict=False)
    except RuntimeError as error:  # a renamed key has another shape
        missing, unexpected = [], []
        others += [line.strip() for line in str(error).splitlines()[1:]]
    problems = [
        _enumerate("missing", sorted(set(missing) - set(misshapen))),
        _enumerate("unexpected", sorted(unexpected)),
        _enumerate("of another shape", others),
        # Checked in the model, not in the file, which may declare tensors far larger than itself.
        _enumerate(
            "not finite", [key for key, value in model.state_dict().items() if _became_infinite(before[key], value)]
        ),
    ]
    if any(problems):
        model.load_state_dict(before)
        numbers = classes.difference(before, given) if classes is not None and misshapen else ""
        raise DetectorError(
            f"{path}: these weights do not fit the detector ({'; '.join(filter(None, problems))}); "
            + (numbers or "give the weights of this architecture and number of classes")
        )


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return the metadata that `save_weights` or another program wrote; empty unless it is a safetensors file."""
    try:
        if not _is_safetensors(Path(path)):
            return {}
        with safe_open(path, framework="pt") as file:
            return {key: _parsed(value) for key, value in (file.metadata() or {}).items() if key != "format"}
    except (OSError, SafetensorError, ValueError) as error:
        raise _unreadable(Path(path), error) from error


def _parsed(text: str) -> Any:
    """Parse an entry of a header, which is JSON in our own files, and any text in others."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def weight_hash(model: nn.Module) -> str:
    """Return twelve hexadecimal digits that depend on every bit of the model's state, but not on its device."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        data = value.detach().cpu().contiguous()
        digest.update(f"{key} {data.dtype} {tuple(data.shape)}\n".encode())
        digest.update(data.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


def _compact(key: str, value: Tensor) -> Tensor:
    value = value.detach().cpu().contiguous()
    if not value.is_floating_point():
        return value
    stored = value.half() if value.ndim >= 2 else value.float()
    if not stored.isfinite().all():
        raise ValueError(f"{key} contains values that are not finite in {stored.dtype}")
    return stored


def read_state(path: str | Path, trust_weights: bool = False) -> dict[str, Tensor]:
    """Read tensors by name from a safetensors file or a PyTorch checkpoint.

    A checkpoint may be the state dict itself or contain it under a usual name; see `state_of`.

    Args:
        trust_weights: whether a pickle of more than tensors may be opened, which runs any code that its author put
            into it.

    Raises:
        DetectorError: when the file is missing or broken, or is a pickle that is not trusted.
    """
    path = Path(path)
    if not os.path.isfile(path):
        problem = "is a folder" if os.path.isdir(path) else "no such weights file"
        raise DetectorError(f"{path}: {problem}; give the path of a .safetensors, .pt or .pth file")
    try:
        if _is_safetensors(path):
            return load_file(path)
        with warnings.catch_warnings():
            # Warnings about files written in uncommon ways; unreadable ones raise an error.
            warnings.simplefilter("ignore")
            # Training scripts keep their options beside the weights. These classes only hold what they are given.
            with torch.serialization.safe_globals([Namespace, PosixPath]):
                state = torch.load(path, map_location="cpu", weights_only=not trust_weights)
    except UnpicklingError as error:
        if _is_pickle(path):
            require_trust(path, trust_weights)
        raise _unreadable(path, error) from error
    except Exception as error:  # a broken file, or the code in a pickle, may raise anything
        if "TorchScript" in str(error):
            require_trust(path, trust_weights)
        raise _unreadable(path, error) from error
    found = state_of(state, path)
    if found is None:
        raise DetectorError(
            f"{path}: not a state dict, and none under a usual name ({', '.join(ENTRIES)}); save "
            "`model.state_dict()` of the detection model"
        )
    return found


def require_trust(path: str | Path, trust_weights: bool) -> None:
    """Raise DetectorError, with the reason, unless the user trusts the pickle at `path`."""
    if not trust_weights:
        raise DetectorError(
            f"{path}: not plain tensors but a pickle, and opening a pickle runs whatever code its author put into it; "
            "if you trust its source, set detector.trust_weights=true"
        )


def _is_pickle(path: Path) -> bool:
    """Return whether the file has the form of one: PyTorch's archive, or a bare pickle of protocol 2 or later."""
    with path.open("rb") as file:
        return zipfile.is_zipfile(path) or file.read(1) == b"\x80"


def _is_safetensors(path: Path) -> bool:
    """Return whether a file is one by its name, or else by its first bytes: the length of a header, and its brace."""
    if path.suffix == ".safetensors":
        return True
    with path.open("rb") as file:
        head = file.read(_LENGTH + 1)
    length = int.from_bytes(head[:_LENGTH], "little")
    return head[_LENGTH:] == b"{" and 1 < length <= path.stat().st_size - _LENGTH


def _unreadable(path: Path, error: Exception) -> DetectorError:
    with suppress(OSError), path.open("rb") as file:
        head = file.read(_BEGINNING)
    # A pickle is described by what failed to read it.
    others = "" if head[:2] == b"\x80\x02" else described(head)
    known = _archive_problem(path, head) if head[:2] == b"PK" else others
    reason = f"it is {known}" if known else reason_of(error)
    if "Weights only load failed" in reason:
        reason = "it is no file of PyTorch"
    return DetectorError(f"{path}: cannot be read as weights ({reason}); give a whole .safetensors, .pt or .pth file")


def _archive_problem(path: Path, head: bytes) -> str:
    """Return what an archive is that cannot be read; nothing for one of PyTorch's, which what failed describes."""
    # What it holds is listed at its end.
    if not zipfile.is_zipfile(path):
        return "cut off or damaged; copy it again"
    name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    if not name.endswith(b"/data.pkl"):
        return "a zip archive of something else"
    return "in PyTorch's format; call it .pth" if path.suffix == ".safetensors" else ""


def _became_infinite(before: Tensor, now: Tensor) -> bool:
    return bool(before.isfinite().all()) and not bool(now.isfinite().all())


def _enumerate(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return f"{what}: {', '.join(one_line(key, _KEY) for key in keys[:_NAMED])}{more}"
