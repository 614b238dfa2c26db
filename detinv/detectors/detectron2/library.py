"""Detectron2's configurations: how a model is built, and how its images are preprocessed."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import detectron2
from detectron2.config import LazyConfig, get_cfg, instantiate
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.modeling import build_model
from omegaconf import OmegaConf
from torch import nn

from detinv.detectors.detectron2.common import Preprocessing
from detinv.detectors.detectron2.quiet import quiet_log
from detinv.errors import DetectorError
from detinv.inputs.printable import suggestion

ZOO = Path(detectron2.__file__).parent / "model_zoo" / "configs"
"""Folder of the model zoo's configurations, which are installed with the library."""

_ENDINGS = (".yaml", ".py")
# Folders of the model zoo with parts of configurations, or with runs of a few steps.
_NO_MODELS = ("common", "quick_schedules")


@dataclass(frozen=True)
class Configuration:
    """A model that is not built yet.

    Args:
        path: of the configuration file.
        zoo_name: its name in the model zoo, without an ending, if it is from there.
        build: builds the model, with random weights.
        min_size, max_size, input_format: see `Preprocessing`; None where the file does not define it.
    """

    path: Path
    zoo_name: str | None
    build: Callable[[], nn.Module]
    min_size: int | None
    max_size: int | None
    input_format: str | None

    def preprocessing(self, min_size: int | None, max_size: int | None, input_format: str | None) -> Preprocessing:
        """Return the file's preprocessing, with the given values in place of its own.

        Raises:
            DetectorError: when a value is neither in the file nor given, or is not valid.
        """
        said: dict[str, Any] = {
            "min_size": self.min_size if min_size is None else min_size,
            "max_size": self.max_size if max_size is None else max_size,
            "input_format": self.input_format if input_format is None else input_format,
        }
        for name, value in said.items():
            if value is None:
                raise DetectorError(f"{self.path}: does not define {name}; give detector.{name}")
        if said["input_format"] not in ("BGR", "RGB"):
            raise DetectorError(f"input_format={said['input_format']}: images are BGR or RGB")
        for name, least in (("min_size", 0), ("max_size", 1)):
            if not isinstance(said[name], int) or said[name] < least:
                raise DetectorError(f"{name}={said[name]}: give a whole number of pixels")
        return Preprocessing(**said)


def read_configuration(model: str) -> Configuration:
    """Return the configuration called `model`.

    Args:
        model: name in Detectron2's model zoo, such as COCO-Detection/retinanet_R_50_FPN_3x, with or without an
            ending, where .yaml takes precedence over .py; or the path of a YAML file or of a LazyConfig. Configurations
            are programs, and are run.

    Raises:
        DetectorError: when there is none of that name, with the nearest as a suggestion, or it cannot be read.
    """
    path, zoo_name = _find(model)
    try:
        return _yaml(path, zoo_name) if path.suffix != ".py" else _lazy(path, zoo_name)
    except DetectorError:
        raise
    except Exception as error:  # a program may raise anything
        raise DetectorError(f"{path}: cannot be read as a configuration of Detectron2 ({_line(error)})") from error


def _find(model: str) -> tuple[Path, str | None]:
    """Return the path of the configuration, and its name in the zoo."""
    if model.endswith((*_ENDINGS, ".yml")) and Path(model).is_file():
        return Path(model), None
    found = [ZOO / f"{model}{ending}" for ending in ("", *_ENDINGS)]
    for path in found:
        if path.suffix in _ENDINGS and path.is_file():
            return path, path.relative_to(ZOO).with_suffix("").as_posix()
    names = zoo_names()
    raise DetectorError(
        f"model={model}: neither a file nor a name of Detectron2's model zoo{suggestion(model, names)} (there are "
        f"{len(names)} in {ZOO}, such as COCO-Detection/retinanet_R_50_FPN_3x)"
    )


def zoo_names() -> tuple[str, ...]:
    """Return the names of the model zoo's configurations, without endings."""
    files = (path.relative_to(ZOO) for ending in _ENDINGS for path in ZOO.rglob(f"*/*{ending}"))
    return tuple(sorted({file.with_suffix("").as_posix() for file in files if file.parts[0] not in _NO_MODELS}))


def _yaml(path: Path, zoo_name: str | None) -> Configuration:
    cfg = get_cfg()
    # The zoo's own files use YAML tags that can run code, of which the library warns.
    with quiet_log("fvcore.common.config") if zoo_name else nullcontext():
        cfg.merge_from_file(str(path))
    cfg.MODEL.DEVICE = "cpu"
    sizes = (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
    return Configuration(path, zoo_name, lambda: _built(path, build_model, cfg), *sizes, cfg.INPUT.FORMAT)


def _lazy(path: Path, zoo_name: str | None) -> Configuration:
    cfg = LazyConfig.load(str(path))
    if "model" not in cfg:
        raise DetectorError(f"{path}: describes no model; a LazyConfig needs an entry `model`")
    mapper = "dataloader.test.mapper"
    input_format = OmegaConf.select(cfg, f"{mapper}.image_format") or OmegaConf.select(cfg, "model.input_format")
    sizes = _sizes(OmegaConf.select(cfg, f"{mapper}.augmentations"))
    return Configuration(path, zoo_name, lambda: _built(path, instantiate, cfg.model), *sizes, input_format)


def _sizes(augmentations: Any) -> tuple[int | None, int | None]:
    """Return `min_size` and `max_size` of a test-time mapper that only resizes by the shortest edge."""
    steps = [] if augmentations is None else [instantiate(step) for step in augmentations]
    if len(steps) != 1 or not isinstance(steps[0], ResizeShortestEdge):
        return None, None
    lengths = set(steps[0].short_edge_length)
    return (lengths.pop(), steps[0].max_size) if len(lengths) == 1 else (None, None)


def _built(path: Path, build: Callable[[Any], nn.Module], node: Any) -> nn.Module:
    try:
        return build(node)
    except Exception as error:  # the library's constructors may raise anything
        raise DetectorError(f"{path}: Detectron2 cannot build this model ({_line(error)})") from error


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
