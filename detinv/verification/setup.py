"""What all measurements of a verification share: sample sizes, seeds, an output folder, and experiments run in it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detinv.experiments.common.base import AbstractExperiment
from detinv.experiments.common.setup import DetectorEntry, ExperimentSetup
from detinv.inputs.ranges import check_range
from detinv.inversion.preset import Preset
from detinv.layouts.sources import CocoLayouts, LayoutSource
from detinv.results.io.files import plain, prepare_out_dir
from detinv.results.io.versions import versions
from detinv.results.reports.write_findings import write_findings
from detinv.worlds.sources import WorldLayouts


@dataclass(frozen=True)
class SampleSize:
    """How many images one group of claims is measured on.

    Args:
        count: layouts, or images of each class; at least 1.
        steps: optimiser updates of each image; 0 for measurements that invert nothing.

    Raises:
        ConfigError: for a number out of range.
    """

    count: int
    steps: int = 0

    def __post_init__(self) -> None:
        check_range(self, "count", least=1)
        check_range(self, "steps")


@dataclass(frozen=True)
class VerificationSetup:
    """Everything that the measurements of one verification have in common.

    Args:
        out_dir: existing folder; every experiment gets a folder of its own below it.
        preset: how to invert.
        sample_sizes: by name, as in `configs/size`.
        seed: of start images, views and layouts.
        batch_size: images optimised together.
        annotations: COCO annotation file of photographs, for groups that need some.
        images: folder of those photographs.
        say: called with one line of progress at a time.
    """

    out_dir: Path
    preset: Preset
    sample_sizes: Mapping[str, SampleSize]
    seed: int = 0
    batch_size: int = 16
    annotations: str | None = None
    images: str | None = None
    say: Callable[[str], None] = lambda text: None

    def layouts(self, world: str, size: str) -> WorldLayouts:
        """Return layouts of a world that no detector was trained on.

        Args:
            world: name of the world.
            size: name of the sample size that gives their number.
        """
        return WorldLayouts(world, count=self.sample_sizes[size].count, seed=7 + self.seed)

    def experiment_setup(
        self, folder: str, size: str, detectors: Sequence[DetectorEntry], layouts: LayoutSource
    ) -> ExperimentSetup:
        """Return an experiment setup with a folder of its own.

        Args:
            folder: its name, below `out_dir`.
            size: name of the sample size that gives the number of steps.
            detectors: to invert.
            layouts: to invert them for.
        """
        return ExperimentSetup(
            prepare_out_dir(self.out_dir / folder),
            detectors,
            layouts,
            self.preset,
            steps=self.sample_sizes[size].steps,
            batch_size=self.batch_size,
            seed=self.seed,
            images=self.images if isinstance(layouts, CocoLayouts) else None,
            log=self.say,
        )

    def run(self, experiment: AbstractExperiment, local: ExperimentSetup, subfolder: str = ".") -> dict[str, Any]:
        """Run an experiment, write its report, and return its numbers as JSON would give them back.

        Args:
            subfolder: of that experiment's folder, for tables, figures and report.
        """
        findings = experiment.run(local)
        about = {"seed": self.seed, "weight_hashes": local.weight_hashes(), "versions": versions()}
        config = f"steps: {local.steps}\nseed: {self.seed}\n"
        write_findings(findings, local.out_dir / subfolder, config, experiment.title, about)
        numbers = plain(findings.numbers)
        assert isinstance(numbers, dict)
        return numbers
