"""What experiments work with: detectors, layouts, a preset, and a folder that keeps what is finished."""

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.detectors.base import AbstractDetector
from detinv.detectors.load import load_detector
from detinv.errors import ConfigError, OutputError
from detinv.inversion.fitting import device_of
from detinv.inversion.modules.ensemble import Ensemble
from detinv.inversion.pixels.pixels import batches_by_canvas
from detinv.inversion.preset import Preset
from detinv.inversion.run import invert
from detinv.layouts.layout import Detections, Layout
from detinv.layouts.sources import LayoutSource
from detinv.results.io.files import plain, prepare_out_dir, write_json, write_png
from detinv.results.io.images import read_image
from detinv.results.io.names import file_stems
from detinv.runtime.processes import Processes
from detinv.zoo.weights import weight_hash

Images = list[UInt8[Tensor, "3 _ _"]]
DetectorEntry = str | Mapping[str, Any]
"""A registered name or path; or a mapping with it as "name", with options of its registration, and optionally with
the "label" it goes by in this run."""

_ENDINGS = (".png", ".jpg", ".jpeg")
_NAME = r"[A-Za-z0-9_-][A-Za-z0-9_.-]*"


@dataclass
class Workbench:
    """One experiment's means; what it made is kept under `out_dir`, and found again when the run is repeated.

    Args:
        out_dir: existing folder; images lie in `images/<key>/`, other finished parts in `parts/<key>.json`, and the
            state of an interrupted batch in `unfinished/<key>/`.
        entries: the detectors to be looked at, in order.
        source: of layouts.
        preset: how to invert.
        steps: optimiser updates of each image.
        batch_size: images optimised together.
        seed: of start images and views.
        trainer: arguments of Lightning's Trainer.
        compile_mode: see `invert`.
        images: folder of the layouts' photographs, where the layouts come from annotations.
        say: told what is going on, one line at a time.
        team: processes that share the inversions; the first writes.
    """

    out_dir: Path
    entries: Sequence[DetectorEntry]
    source: LayoutSource
    preset: Preset
    steps: int = 200
    batch_size: int = 16
    seed: int = 0
    trainer: Mapping[str, Any] = field(default_factory=dict)
    compile_mode: str | None = None
    images: str | Path | None = None
    say: Callable[[str], None] = lambda text: None
    team: Processes = field(default_factory=Processes)
    _loaded: dict[str, AbstractDetector] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """What the detectors go by, in order.

        Raises:
            ConfigError: when two go by the same name, or a name cannot be that of a folder.
        """
        labels = tuple(_label(entry) for entry in self.entries)
        for label in labels:
            if labels.count(label) > 1:
                raise ConfigError(f"detectors: two are called {label!r}; give one of them a label of its own")
            if not re.fullmatch(_NAME, label):
                raise ConfigError(
                    f"detectors: {label!r} cannot name a folder; give it a label of letters, digits, '_', '-' and '.'"
                )
        return labels

    @cached_property
    def device(self) -> torch.device:
        """Where detectors live, and look at images: where the trainer inverts."""
        return device_of(self.team.trainer(self.trainer))

    def detector(self, label: str) -> AbstractDetector:
        """The detector that goes by `label` here, or else the one registered under that name; loaded once."""
        if label not in self._loaded:
            entry = next((entry for entry in self.entries if _label(entry) == label), label)
            if isinstance(entry, str):
                found = load_detector(entry)
            else:
                options = {str(key): value for key, value in entry.items() if key not in ("name", "label")}
                found = load_detector(str(entry["name"]), **options)
            self._loaded[label] = found.to(self.device)
        return self._loaded[label]

    def detect(self, label: str, images: Images) -> list[Detections]:
        """What a detector's own inference finds in the images; each process looks at some of them."""
        return self.team.share(self.detector(label).detect, images)

    def weight_hashes(self) -> dict[str, str]:
        """Of all detectors loaded so far, by label."""
        return {label: weight_hash(detector) for label, detector in sorted(self._loaded.items())}

    def layouts(self, label: str, masks: bool = True) -> list[Layout]:
        """The layouts, in the frame of that detector's input and with its class numbers.

        Args:
            masks: false leaves them out.
        """
        detector = self.detector(label)
        found = self.source.layouts(detector.class_names, detector.network_size, detector.detections_per_image)
        return found if masks else [layout.without_masks() for layout in found]

    @property
    def has_photographs(self) -> bool:
        """Whether there is any use in asking for `photographs`."""
        return self.images is not None or hasattr(self.source, "scenes")

    def photographs(self, label: str) -> tuple[Images, list[Layout]]:
        """The images that the layouts were made of, and the layouts in those images' pixels.

        Raises:
            ConfigError: when the layouts have none: they are written by hand, or `images` is not given.
        """
        detector = self.detector(label)
        layouts = self.source.layouts(detector.class_names, lambda size: size, detector.detections_per_image)
        if hasattr(self.source, "scenes"):
            return [scene.image for scene in self.source.scenes()], layouts
        if self.images is None:
            raise ConfigError("this experiment looks at the layouts' photographs: give their folder as images=DIR")
        found = []
        for layout in layouts:
            paths = [Path(self.images) / f"{layout.id}{ending}" for ending in _ENDINGS]
            path = next((path for path in paths if path.is_file()), None)
            if path is None:
                raise ConfigError(f"images={self.images}: no photograph of layout {layout.id} ({paths[-2].name}) there")
            found.append(read_image(path))
        for image, layout in zip(found, layouts, strict=True):
            if tuple(image.shape[1:]) != layout.image_size:
                raise ConfigError(
                    f"images={self.images}: the photograph of {layout.id} is of size {tuple(image.shape[1:])}, its "
                    f"layout of size {layout.image_size}"
                )
        return found, layouts

    def invert(
        self,
        key: str,
        label: str,
        layouts: Sequence[Layout],
        preset: Preset | None = None,
        steps: int | None = None,
    ) -> Images:
        """Inverted images, 8 bit, one for each layout; those that lie in `images/<key>/` already are read from there.

        Batches are always the same ones, and one that was interrupted is gone on with, so a run that was interrupted
        gives the very images of one that was not.

        Args:
            key: names the images: letters, digits, `_`, `-`, `.` and slashes.
            label: of the detector.
            layouts: in the frame of its input, with distinct ids.
            preset, steps: where they differ from the bench's own.

        Raises:
            OutputError: when the folder holds images of other weights or another number of steps; when memory does
                not suffice for an image.
        """
        detector = self.detector(label)
        return self._inverted(
            key, label, detector, weight_hash(detector), detector.size_divisor, layouts, preset, steps
        )

    def invert_jointly(self, key: str, layouts: Sequence[Layout], steps: int | None = None) -> Images:
        """Images that all of the bench's detectors at once are asked to read as the layouts; see `invert`.

        Args:
            layouts: in the frame of the first detector's input and with its labels.
        """
        ensemble = Ensemble({label: self.detector(label) for label in self.labels})
        hashes = ",".join(self.weight_hashes()[label] for label in self.labels)
        return self._inverted(key, "all at once", ensemble, hashes, ensemble.batch_divisor, layouts, None, steps)

    def _inverted(
        self,
        key: str,
        label: str,
        judge: AbstractDetector | Ensemble,
        hashes: str,
        divisor: int,
        layouts: Sequence[Layout],
        preset: Preset | None,
        steps: int | None,
    ) -> Images:
        steps = self.steps if steps is None else steps

        def make(members: Sequence[int]) -> Images:
            result = invert(
                judge,
                [layouts[index] for index in members],
                preset or self.preset,
                steps=steps,
                seed=self.seed,
                batch_size=self.batch_size,
                trainer=self.trainer,
                progress=False,
                compile_mode=self.compile_mode,
                folder=self._unfinished(key) / str(members[0]) if steps else None,
            )
            for layout_id, reason in result.missing.items():
                raise OutputError(f"{key}, layout {layout_id}: {reason}")
            return list(result.images)

        source = {"weight_hash": hashes, "steps": steps, "seed": self.seed}
        return self.keep_images(key, f"inverting {label}", layouts, divisor, source, make)

    def keep_images(
        self,
        key: str,
        doing: str,
        layouts: Sequence[Layout],
        divisor: int,
        source: Mapping[str, Any],
        make: Callable[[Sequence[int]], Images],
    ) -> Images:
        """Images that `make` makes, one for each layout; those that lie in `images/<key>/` are read from there.

        Args:
            doing: what is told while they are made.
            layouts: in the pixels of the images, with distinct ids.
            divisor: canvases have sides that are multiples of it; a batch shares one.
            source: what the images depend on, plain values by name.
            make: from the numbers of one batch's layouts to their images, 8 bit; a batch is made as a whole.

        Raises:
            OutputError: when the folder holds images of another source.
        """
        folder = self.out_dir / "images" / _checked(key)
        paths = [folder / f"{stem}.png" for stem in file_stems([layout.id for layout in layouts])]
        # So many that each process has a whole batch.
        batches = batches_by_canvas(layouts, divisor, self.batch_size * self.team.count)
        missing = self.team.decide(lambda: self._missing(folder, paths, dict(source)))
        found: dict[int, Tensor] = {}
        for number, members in enumerate(batches, 1):
            if not missing.intersection(members):
                found |= {index: read_image(paths[index]) for index in members}
                continue
            self.say(f"{key}: {doing}, batch {number} of {len(batches)}")
            for place, (index, image) in enumerate(zip(members, make(members), strict=True)):
                # To encode an image takes longer than many a step.
                if place % self.team.count == self.team.rank:
                    write_png(paths[index], image)
                found[index] = image
        # What is unfinished is of use until everyone has written.
        self.team.gather(None)
        if self.team.first:
            self._tidy(key)
        return [found[index] for index in range(len(layouts))]

    def _unfinished(self, key: str) -> Path:
        return self.out_dir / "unfinished" / key

    def _tidy(self, key: str) -> None:
        """Remove what was kept of unfinished batches, with the folders that nothing else lies in."""
        folder = self._unfinished(key)
        with suppress(OSError):
            shutil.rmtree(folder)
            for parent in folder.parents:
                if parent == self.out_dir:
                    break
                parent.rmdir()

    def _missing(self, folder: Path, paths: Sequence[Path], source: dict[str, Any]) -> set[int]:
        """Numbers of the images that are not there, in a folder that is made sure to be of this source."""
        prepare_out_dir(folder)
        self._claim(folder / "source.json", source)
        return {index for index, path in enumerate(paths) if not path.is_file()}

    def keep(self, key: str, compute: Callable[[], Any]) -> Any:
        """What `compute` returns, as JSON knows it; read from `parts/<key>.json` where it lies there already."""
        path = self.out_dir / "parts" / f"{_checked(key)}.json"
        if self.team.decide(path.is_file):
            return self.team.decide(lambda: _read(path))
        # By every process: inversions that it asks for are shared out.
        value = plain(compute())
        if self.team.first:
            prepare_out_dir(path.parent)
            write_json(path, value)
        return self.team.decide(lambda: value)

    def _claim(self, path: Path, source: dict[str, Any]) -> None:
        """Write down what the images of a folder are made of, or make sure that it is still the same."""
        if not path.is_file():
            write_json(path, source)
            return
        before = _read(path)
        for name, value in source.items():
            if before.get(name) != value:
                raise OutputError(
                    f"{path.parent} holds images with {name} {before.get(name)}, this run has {value}; choose another "
                    "out_dir"
                )


def _label(entry: DetectorEntry) -> str:
    if isinstance(entry, str):
        return Path(entry).stem if entry.endswith((".yaml", ".yml")) else entry
    if "name" not in entry:
        raise ConfigError(f"detectors: {dict(entry)} has no name; write {{name: NAME, weights: PATH}}")
    return str(entry.get("label", _label(str(entry["name"]))))


def _checked(key: str) -> str:
    if not re.fullmatch(f"{_NAME}(/{_NAME})*", key):
        raise ValueError(f"key {key!r}: letters, digits, '_', '-', '.' and slashes only, no part begins with a dot")
    return key


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be read ({error}); remove it, and that part is made again") from error
