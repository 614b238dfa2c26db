"""The library transformers, imported only when needed and without its log; its DETR-type networks, built or loaded."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from detinv.detectors.transformers.families import ARCHITECTURES, FAMILIES, Family
from detinv.detectors.transformers.random_weights import randomise_weights
from detinv.errors import DetectorError
from detinv.inputs.printable import suggestion
from detinv.zoo.weights import require_trust

_EXTRA = "pip install 'detinv[detr]'"
_OLDEST = (5, 4)
# Files in a folder of weights other than the weights themselves.
_CONFIGURATION, _PREPROCESSOR = "config.json", "preprocessor_config.json"


def require_transformers() -> Any:
    """Import the library and return it.

    Raises:
        DetectorError: when it is not installed, or too old.
    """
    try:
        import transformers
    except ImportError as error:
        raise DetectorError(
            f"this detector needs the library transformers, which cannot be imported ({error}); {_EXTRA}"
        ) from error
    version = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    if version < _OLDEST:
        raise DetectorError(
            f"this detector needs transformers {_OLDEST[0]}.{_OLDEST[1]} or newer, found {transformers.__version__}; "
            f"{_EXTRA}"
        )
    return transformers


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Suppress the library's progress bars, warnings and log within the block."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from huggingface_hub.utils import logging as hub_log
    from transformers.utils import logging as log

    levels = log.get_verbosity(), hub_log.get_verbosity()
    bars, hub_bars = log.is_progress_bar_enabled(), not are_progress_bars_disabled()
    log.set_verbosity_error()
    hub_log.set_verbosity_error()
    log.disable_progress_bar()
    disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(levels[0])
        hub_log.set_verbosity(levels[1])
        if bars:
            log.enable_progress_bar()
        if hub_bars:
            enable_progress_bars()


def build_network(architecture: str, num_classes: int, settings: Mapping[str, Any]) -> tuple[nn.Module, Any, Family]:
    """Build a network with random weights (see `randomise_weights`); return it, its image processor and its family.

    Args:
        architecture: one of `ARCHITECTURES`.
        num_classes: without background.
        settings: entries of the library's configuration to change; nested for `backbone_config`.

    Raises:
        DetectorError: for an architecture or an entry that does not exist, or a value that is not valid.
    """
    transformers = require_transformers()
    if architecture not in ARCHITECTURES:
        raise DetectorError(
            f"architecture {architecture!r} is not known{suggestion(architecture, ARCHITECTURES)} "
            f"(there are: {', '.join(ARCHITECTURES)})"
        )
    model_type, own = ARCHITECTURES[architecture]
    family = FAMILIES[model_type]
    if not hasattr(transformers, family.model):
        raise DetectorError(
            f"architecture {architecture!r}: transformers {transformers.__version__} has no {family.model}; install a "
            "newer one"
        )
    with quiet_transformers():
        wanted = _merged(own, settings, transformers.AutoConfig.for_model(model_type, **own).to_dict(), "settings")
        from huggingface_hub.errors import StrictDataclassError

        try:
            configuration = transformers.AutoConfig.for_model(model_type, num_labels=num_classes, **wanted)
            with torch.random.fork_rng(devices=[]):
                network = getattr(transformers, family.model)(configuration)
        except (StrictDataclassError, ValueError, TypeError, RuntimeError, AttributeError) as error:
            raise DetectorError(
                f"settings={dict(settings)}: {architecture} cannot be built like this ({_line(error)})"
            ) from error
        randomise_weights(network)
        size = {} if family.side is None else {"size": {"height": family.side, "width": family.side}}
        processor = getattr(transformers, family.processor)(**size)
    return network, processor, family


def load_network(weights: str, revision: str, trust_weights: bool) -> tuple[nn.Module, Any, Family]:
    """Load a trained network; return it, its image processor and its family.

    Args:
        weights: a folder that the library's `save_pretrained` wrote; or a name on the Hugging Face hub, whose files
            are taken from its cache, or downloaded into it.
        revision: of that name.
        trust_weights: whether weights that are a pickle may be opened.

    Raises:
        DetectorError: when something is missing, not trusted, of another type, or does not fit.
    """
    transformers = require_transformers()
    with quiet_transformers():
        folder = Path(weights) if Path(weights).is_dir() else _fetch(weights, revision, trust_weights)
        pickles = _check_files(weights, folder, trust_weights)
        try:
            # With the default it would ask whether to run code that comes with the weights.
            configuration = transformers.AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            family = FAMILIES.get(configuration.model_type)
            if family is None:
                raise DetectorError(
                    f"{weights}: its {_CONFIGURATION} says model_type {configuration.model_type!r}, for which there is "
                    f"no adapter (there are: {', '.join(FAMILIES)}); docs/bring-your-own-detector.md shows how to "
                    "write one"
                )
            network, report = getattr(transformers, family.model).from_pretrained(
                folder,
                config=configuration,
                local_files_only=True,
                use_safetensors=not pickles,
                dtype=torch.float32,
                output_loading_info=True,
            )
            processor = getattr(transformers, family.processor).from_pretrained(folder, local_files_only=True)
        except ImportError as error:
            raise DetectorError(f"{weights}: its network needs another library ({_line(error)}); {_EXTRA}") from error
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
            raise DetectorError(
                f"{weights}: cannot be loaded ({_line(error)}); give a folder that save_pretrained wrote"
            ) from error
    wrong = [*sorted(report["missing_keys"]), *sorted(str(key) for key in report["mismatched_keys"])]
    if wrong:
        raise DetectorError(
            f"{weights}: these weights do not fit their {_CONFIGURATION} (missing or of another shape: {wrong[0]}"
            f"{f' and {len(wrong) - 1} more' if wrong[1:] else ''}); give the weights of a {family.model}"
        )
    return network, processor, family


def _fetch(name: str, revision: str, trust_weights: bool) -> Path:
    """Return the folder of the hub's files in the library's cache; if it is complete, the network is not used."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    wanted = [_CONFIGURATION, _PREPROCESSOR, "model*.safetensors*"]
    if Path(name).is_file():
        raise DetectorError(f"{name}: is a file; give the folder it is in, with {_CONFIGURATION} and {_PREPROCESSOR}")
    if name.count("/") != 1 or name.startswith(("/", ".", "~")):
        raise DetectorError(
            f"{name}: neither a folder nor a name on the Hugging Face hub, such as facebook/detr-resnet-50"
        )
    try:
        cached = Path(snapshot_download(name, revision=revision, local_files_only=True))
        if all(any(cached.glob(pattern)) for pattern in wanted):
            return cached
    except (LocalEntryNotFoundError, HFValidationError):
        pass  # not cached yet
    try:
        # This comes first because it fails at once without a network; a download would retry for half a minute.
        there = [file.rfilename for file in HfApi().model_info(name, revision=revision, timeout=20).siblings or []]
        if trust_weights and not any(file.endswith(".safetensors") for file in there):
            wanted.append("pytorch_model*.bin*")
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except Exception as error:  # the library beneath the hub's client, and its errors, change from version to version
        raise DetectorError(
            f"{name}: not in the cache of Hugging Face, and the hub does not provide it ({_line(error)}); connect "
            f"once, or put {_CONFIGURATION}, {_PREPROCESSOR} and model.safetensors from "
            f"https://huggingface.co/{name}/tree/{revision} into a folder and say detector.weights=FOLDER"
        ) from error


def _check_files(weights: str, folder: Path, trust_weights: bool) -> bool:
    """Return whether the only weights in the folder are a pickle."""
    for name in (_CONFIGURATION, _PREPROCESSOR):
        if not (folder / name).is_file():
            raise DetectorError(
                f"{weights}: has no {name}; save model and image processor into one folder by save_pretrained"
            )
    if any(folder.glob("*.safetensors")):
        return False
    pickles = sorted(folder.glob("pytorch_model*.bin"))
    if not pickles:
        raise DetectorError(f"{weights}: has no model.safetensors; save the model into that folder by save_pretrained")
    require_trust(pickles[0], trust_weights)
    return True


def _merged(
    own: Mapping[str, Any], settings: Mapping[str, Any], known: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Return `own` with `settings` merged into it, entry by entry; each must be one of the `known`."""
    found = dict(own)
    for key, value in settings.items():
        if key not in known:
            raise DetectorError(f"{where}.{key}: the library's configuration has no such entry{suggestion(key, known)}")
        inner = known[key]
        nested = isinstance(value, Mapping) and isinstance(inner, Mapping)
        found[key] = _merged(own.get(key, {}), value, inner, f"{where}.{key}") if nested else value
    return found


def _line(error: Exception) -> str:
    """Return the error as one line of at most 200 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]} ..."
