"""Sources of layouts, as options of a run: one class for each kind of `configs/layout`."""

from collections.abc import Sequence
from copy import copy
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Protocol, runtime_checkable

import yaml

from detinv.errors import ConfigError, LayoutError
from detinv.inputs.numbers import image_size_option, is_coordinate, is_count, is_whole
from detinv.inputs.printable import quoted, suggestion
from detinv.inputs.torch_settings import usual_torch
from detinv.layouts.coco import load_coco
from detinv.layouts.fitting import NetworkSize, fitted
from detinv.layouts.handwritten import load_handwritten
from detinv.layouts.labels import listed
from detinv.layouts.layout import Layout

_SAMPLE, _ANY_SAMPLE = "sample:", "sample"
# The first whose classes a detector knows is its sample.
_FIRST_SAMPLES = ("plain", "animals")


@runtime_checkable
class LayoutSource(Protocol):
    """Anything that can make layouts for a given detector."""

    def layouts(self, class_names: Sequence[str], network_size: NetworkSize, detections_per_image: int) -> list[Layout]:
        """Make layouts in the frame of the network's input, with distinct ids.

        Args:
            class_names: of the detector; labels number them.
            network_size: (height, width) of an image to (height, width) the detector resizes it to.
            detections_per_image: most objects the detector can report.

        Raises:
            LayoutError: naming the file and the entry that cannot be used.
        """
        ...


@runtime_checkable
class LayoutReader(Protocol):
    """What layouts are made for: a detector, or several of the same classes; see `AbstractDetector`."""

    class_names: tuple[str, ...]
    detections_per_image: int

    @property
    def has_masks(self) -> bool:
        """Whether masks are predicted."""
        ...

    def network_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) to which an image of `image_size` is resized."""
        ...


def layouts_for(source: LayoutSource, reader: LayoutReader, network_size: NetworkSize | None = None) -> list[Layout]:
    """Return the layouts of a source for a detector; without masks, a detector can do without broken segmentations.

    Args:
        network_size: the frame to make them in, by default the detector's own.
    """
    if isinstance(source, CocoLayouts) and not reader.has_masks:
        source = source.with_masks_optional()
    return source.layouts(reader.class_names, network_size or reader.network_size, reader.detections_per_image)


class CocoLayouts:
    """Layouts of a COCO annotation file; see `load_coco` for the options.

    Raises:
        ConfigError: for an option of another type.
    """

    def __init__(
        self,
        annotations: str | Path,
        image_ids: Sequence[int] | None = None,
        count: int | None = None,
        seed: int = 0,
        min_side: float = 0.0,
        min_area: float = 0.0,
        masks: bool = True,
    ) -> None:
        if count is not None and not is_count(count):
            raise ConfigError(f"layout.count={quoted(count)}: choose a number of images of at least 1, or null for all")
        if not is_whole(seed) or seed < 0:
            raise ConfigError(f"layout.seed={quoted(seed)}: choose a seed of 0 or more")
        if not is_coordinate(min_side) or min_side < 0:
            raise ConfigError(f"layout.min_side={quoted(min_side)}: choose a number of pixels of 0 or more")
        if not is_coordinate(min_area) or min_area < 0:
            raise ConfigError(f"layout.min_area={quoted(min_area)}: choose a number of square pixels of 0 or more")
        if image_ids is not None and not (isinstance(image_ids, Sequence) and all(map(is_whole, image_ids))):
            raise ConfigError(f"layout.image_ids={quoted(image_ids)}: give a list of whole numbers, such as [7,12]")
        self.annotations = str(annotations)
        self.image_ids = None if image_ids is None else list(image_ids)
        self.count = count
        self.seed = seed
        self.min_side = min_side
        self.min_area = min_area
        self.masks = masks
        self._masks_needed = True

    def with_masks_optional(self) -> "CocoLayouts":
        """Return the same source, with segmentations that cannot be read left out instead of refused."""
        source = copy(self)
        source._masks_needed = False
        return source

    @usual_torch()
    def layouts(self, class_names: Sequence[str], network_size: NetworkSize, detections_per_image: int) -> list[Layout]:
        """See `LayoutSource`."""
        return load_coco(
            self.annotations,
            class_names,
            image_ids=self.image_ids,
            count=self.count,
            seed=self.seed,
            min_side=self.min_side,
            min_area=self.min_area,
            masks=self.masks,
            masks_needed=self._masks_needed,
            network_size=network_size,
            detections_per_image=detections_per_image,
        )


class FileLayouts:
    """Layouts of a file written by hand; see `load_handwritten` for its form.

    Args:
        path: of the file; `sample:<name>` for one that comes with the package; or `sample` for one of those whose
            classes the detector knows.
        image_size: (height, width) where the file says nothing.
    """

    def __init__(self, path: str | Path, image_size: Sequence[int] = (128, 128)) -> None:
        self.path = str(path)
        self.image_size = image_size_option(image_size)

    @usual_torch()
    def layouts(self, class_names: Sequence[str], network_size: NetworkSize, detections_per_image: int) -> list[Layout]:
        """See `LayoutSource`."""
        name = _fitting_sample(class_names) if self.path == _ANY_SAMPLE else self.path
        if name.startswith(_SAMPLE):
            with as_file(_sample(name.removeprefix(_SAMPLE))) as path:
                layouts = load_handwritten(path, class_names, self.image_size)
        else:
            layouts = load_handwritten(name, class_names, self.image_size)
        return [fitted(layout, network_size, detections_per_image, name) for layout in layouts]


def _fitting_sample(class_names: Sequence[str]) -> str:
    """Return the first sample of classes that are all known."""
    for name in _FIRST_SAMPLES:
        content = yaml.safe_load(_sample(name).read_text(encoding="utf-8"))
        if all(one["label"] in class_names for one in content["objects"]):
            return f"{_SAMPLE}{name}"
    raise LayoutError(
        f"layout=sample: no sample has classes of this detector, which knows {listed(class_names)}; choose "
        "layout=random, or write one: layout=file layout.path=PATH"
    )


def _sample(name: str) -> Traversable:
    folder = files("detinv.layouts") / "samples"
    known = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    if name not in known:
        raise LayoutError(f"{_SAMPLE}{name}: no such sample{suggestion(name, known)} (there are {', '.join(known)})")
    return folder / f"{name}.yaml"
