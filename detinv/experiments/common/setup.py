"""The setup of an experiment: detectors, layouts, how to invert, and the store of what was made."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from detinv.detectors.base import AbstractDetector
from detinv.detectors.load import load_detector
from detinv.errors import ConfigError, OutputError
from detinv.experiments.common.photographs import read_photographs
from detinv.experiments.common.provenance import Provenance, package_versions
from detinv.experiments.common.store import NAME, Images, ResultStore
from detinv.inputs.fingerprint import settings_hash
from detinv.inversion.fit import device_of
from detinv.inversion.modules.ensemble import Ensemble
from detinv.inversion.pixels.pixels import batches_by_canvas
from detinv.inversion.preset import Preset
from detinv.inversion.resume.fingerprint import detector_hash, layout_hash
from detinv.inversion.run import invert
from detinv.layouts.layout import Detections, Layout
from detinv.layouts.sources import LayoutSource, layouts_for
from detinv.results.io.names import file_stems
from detinv.runtime.processes import Processes
from detinv.types import PRECISIONS
from detinv.zoo.weights import weight_hash

DetectorEntry = str | Mapping[str, Any]
"""A registered name or path; or a mapping with it as "name", with options of its registration, and optionally with
the "label" it has in this run."""


@dataclass
class ExperimentSetup:
    """What an experiment runs on; finished parts are stored, and reused as long as nothing they depend on changes.

    Args:
        out_dir: existing folder; see `ResultStore`.
        entries: the detectors under study, in order.
        source: of layouts.
        preset: how to invert.
        steps: optimiser updates of each image.
        batch_size: images optimised together.
        seed: of start images and views.
        trainer: arguments of Lightning's Trainer.
        compile_mode: see `invert`.
        images: folder of the layouts' photographs, where the layouts come from annotations.
        log: receives progress messages, one line each.
        processes: that share the inversions; the first writes.
        detectors: those loaded so far, by label; any that are given are used as they are.
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
    log: Callable[[str], None] = lambda text: None
    processes: Processes = field(default_factory=Processes)
    detectors: dict[str, AbstractDetector] = field(default_factory=dict)
    _hashes: dict[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """The detectors' labels, in order.

        Raises:
            ConfigError: when two are the same, or one cannot be the name of a folder.
        """
        labels = tuple(_label(entry) for entry in self.entries)
        for label in labels:
            if labels.count(label) > 1:
                raise ConfigError(f"detectors: two are called {label!r}; give one of them a label of its own")
            if not re.fullmatch(NAME, label):
                raise ConfigError(
                    f"detectors: {label!r} cannot name a folder; give it a label of letters, digits, '_', '-' and '.'"
                )
        return labels

    @property
    def store(self) -> ResultStore:
        """Where images and values are kept."""
        return ResultStore(self.out_dir, self.processes, self.log)

    @cached_property
    def device(self) -> torch.device:
        """Where detectors live and run: where the trainer inverts."""
        return device_of(self.processes.trainer(self.trainer))

    @property
    def precision(self) -> str:
        """Lightning's name of the numbers that networks compute with."""
        given = str(self.trainer.get("precision", PRECISIONS[0]))
        return "32-true" if given == "32" else given

    def detector(self, label: str) -> AbstractDetector:
        """Load the detector with that label, or else the one registered under that name; each is loaded once."""
        if label not in self.detectors:
            entry = next((entry for entry in self.entries if _label(entry) == label), label)
            if isinstance(entry, str):
                found = load_detector(entry)
            else:
                options = {str(key): value for key, value in entry.items() if key not in ("name", "label")}
                found = load_detector(str(entry["name"]), **options)
            self.detectors[label] = found.to(self.device)
        if label not in self._hashes:
            self._hashes[label] = detector_hash(self.detectors[label])
        return self.detectors[label]

    def detect(self, label: str, images: Images) -> list[Detections]:
        """Run a detector's own inference on the images, which the processes share."""
        return self.processes.share(self.detector(label).detect, images)

    def weight_hashes(self) -> dict[str, str]:
        """Return the weight hashes of all detectors loaded so far, by label."""
        return {label: weight_hash(detector) for label, detector in sorted(self.detectors.items())}

    def provenance(self, *labels: str, **inputs: Any) -> dict[str, Any]:
        """Describe what a stored part depends on: packages, device, these detectors and these inputs.

        Args:
            labels: of the detectors that take part.
            inputs: whatever else decides it, plain data or hashes, by the names that messages use.
        """
        for label in labels:
            self.detector(label)
        detectors = {f"detector {label}": self._hashes[label] for label in labels}
        return {**package_versions(), "device": self.device.type, **detectors, **inputs}

    def layouts(self, label: str, masks: bool = True) -> list[Layout]:
        """Return the layouts, in the frame of that detector's input and with its class numbers.

        Args:
            masks: false leaves them out.
        """
        found = layouts_for(self.source, self.detector(label))
        return found if masks else [layout.without_masks() for layout in found]

    def check_layouts(self) -> None:
        """Read the layouts for every detector, and photographs where a folder of them is given.

        Raises:
            DetinvError: for a mistake in one of them, such as a class that only one of the detectors knows.
        """
        for label in self.labels:
            self.layouts(label, masks=False)
        if self.images is not None:
            self.photographs(self.labels[0])

    @property
    def has_photographs(self) -> bool:
        """Whether `photographs` can give any."""
        return self.images is not None or hasattr(self.source, "scenes")

    def photographs(self, label: str) -> tuple[Images, list[Layout]]:
        """Return the images that the layouts were annotated on, and the layouts in those images' pixels.

        Raises:
            ConfigError: when there are none, because the layouts are written by hand or `images` is not given.
        """
        layouts = layouts_for(self.source, self.detector(label), lambda size: size)
        if hasattr(self.source, "scenes"):
            return [scene.image for scene in self.source.scenes()], layouts
        if self.images is None:
            raise ConfigError("this experiment needs the layouts' photographs: give their folder as images=DIR")
        return read_photographs(self.images, layouts), layouts

    def invert(
        self,
        key: str,
        label: str,
        layouts: Sequence[Layout],
        preset: Preset | None = None,
        steps: int | None = None,
    ) -> Images:
        """Invert the layouts to 8-bit images; those in `images/<key>/` that are up to date are read from there.

        Batches are always the same ones, and an interrupted one is continued, so a run that was interrupted gives the
        same images as one that was not.

        Args:
            key: names the images: letters, digits, `_`, `-`, `.` and slashes.
            label: of the detector.
            layouts: in the frame of its input, with distinct ids.
            preset, steps: where they differ from the setup's own.

        Raises:
            OutputError: when memory does not suffice for an image.
        """
        detector = self.detector(label)
        return self._inverted(key, (label,), detector, detector.size_divisor, layouts, preset, steps)

    def invert_jointly(self, key: str, layouts: Sequence[Layout], steps: int | None = None) -> Images:
        """Make images in which all detectors under study should report the layouts; see `invert`.

        Args:
            layouts: in the frame of the first detector's input and with its labels.
        """
        ensemble = Ensemble({label: self.detector(label) for label in self.labels})
        return self._inverted(key, self.labels, ensemble, ensemble.batch_divisor, layouts, None, steps)

    def _inverted(
        self,
        key: str,
        labels: Sequence[str],
        detector: AbstractDetector | Ensemble,
        divisor: int,
        layouts: Sequence[Layout],
        preset: Preset | None,
        steps: int | None,
    ) -> Images:
        preset = preset or self.preset
        steps = self.steps if steps is None else steps
        shared = self.provenance(
            *labels,
            preset=settings_hash(preset),
            steps=steps,
            seed=self.seed,
            precision=self.precision,
            compile_mode=self.compile_mode,
        )

        def make(members: Sequence[int], unfinished: Path) -> Images:
            result = invert(
                detector,
                [layouts[index] for index in members],
                preset,
                steps=steps,
                seed=self.seed,
                batch_size=self.batch_size,
                trainer=self.trainer,
                progress=False,
                compile_mode=self.compile_mode,
                folder=unfinished if steps else None,
            )
            for layout_id, reason in result.missing.items():
                raise OutputError(f"{key}, layout {layout_id}: {reason}")
            for layout_id, reason in result.stopped.items():
                self.log(f"{key}, layout {layout_id}: stopped early, {reason}")
            return list(result.images)

        return self.keep_images(key, f"inverting {' + '.join(labels)}", layouts, divisor, shared, make)

    def keep_images(
        self,
        key: str,
        doing: str,
        layouts: Sequence[Layout],
        divisor: int,
        shared: Provenance,
        make: Callable[[Sequence[int], Path], Images],
        own: Sequence[Provenance] | None = None,
    ) -> Images:
        """Make images with `make`, one for each layout, stored under the key; see `ResultStore.images`.

        Args:
            doing: logged while they are made.
            layouts: in the pixels of the images, with distinct ids.
            divisor: canvases have sides that are multiples of it; a batch shares one.
            shared: what all images depend on apart from their layouts.
            make: from the numbers of one batch's layouts, and a folder for its unfinished state, to their images, 8
                bit; a batch is made as a whole.
            own: what else each image depends on.
        """
        own = [{}] * len(layouts) if own is None else own
        provenances = [
            {**shared, "layout": f"{layout.id}: {layout_hash(layout)}", **mine}
            for layout, mine in zip(layouts, own, strict=True)
        ]
        store = self.store

        def made(members: Sequence[int]) -> Images:
            return make(members, store.unfinished(key, [provenances[index] for index in members]))

        return store.images(
            key,
            doing,
            file_stems([layout.id for layout in layouts]),
            provenances,
            # So large that each process has a whole batch.
            batches_by_canvas(layouts, divisor, self.batch_size * self.processes.count),
            made,
        )

    def keep(self, key: str, provenance: Provenance, compute: Callable[[], Any]) -> Any:
        """Compute a value, stored under the key; see `ResultStore.value`."""
        return self.store.value(key, provenance, compute)


def _label(entry: DetectorEntry) -> str:
    if isinstance(entry, str):
        return Path(entry).stem if entry.endswith((".yaml", ".yml")) else entry
    if "name" not in entry:
        raise ConfigError(f"detectors: {dict(entry)} has no name; write {{name: NAME, weights: PATH}}")
    return str(entry.get("label", _label(str(entry["name"]))))
