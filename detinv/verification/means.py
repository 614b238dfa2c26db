"""What all checks work with: sizes, a folder, and experiments that are run in it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detinv.config.ranges import check_range
from detinv.experiments.common.base import AbstractExperiment
from detinv.experiments.common.workbench import DetectorEntry, Workbench
from detinv.inversion.preset import Preset
from detinv.layouts.sources import LayoutSource
from detinv.results.io.files import plain, prepare_out_dir
from detinv.results.io.versions import versions
from detinv.results.reports.write_findings import write_findings
from detinv.worlds.sources import WorldLayouts


@dataclass(frozen=True)
class Part:
    """How much of one experiment is run.

    Args:
        count: layouts, or seeds of each class.
        steps: optimiser updates of each image.
    """

    count: int
    steps: int = 0

    def __post_init__(self) -> None:
        check_range(self, "count", least=1)
        check_range(self, "steps")


@dataclass(frozen=True)
class Means:
    """The means of a verification.

    Args:
        out_dir: existing folder; every experiment has a folder of its own below it.
        preset: how to invert.
        parts: sizes, by name.
        seed: of start images, views and layouts.
        batch_size: images optimised together.
        say: told what is going on.
    """

    out_dir: Path
    preset: Preset
    parts: Mapping[str, Part]
    seed: int = 0
    batch_size: int = 16
    say: Callable[[str], None] = lambda text: None

    def layouts(self, world: str, part: str) -> WorldLayouts:
        """As many unseen layouts of a world as the part asks for."""
        return WorldLayouts(world, count=self.parts[part].count, seed=7 + self.seed)

    def bench(
        self,
        name: str,
        part: str,
        detectors: Sequence[DetectorEntry],
        source: LayoutSource,
        preset: Preset | None = None,
    ) -> Workbench:
        """A workbench with a folder of its own.

        Args:
            name: of the folder.
            part: whose number of steps is taken.
        """
        return Workbench(
            prepare_out_dir(self.out_dir / name),
            detectors,
            source,
            preset or self.preset,
            steps=self.parts[part].steps,
            batch_size=self.batch_size,
            seed=self.seed,
            say=self.say,
        )

    def run(self, experiment: AbstractExperiment, bench: Workbench, into: str = ".") -> dict[str, Any]:
        """The numbers of an experiment, as JSON gives them back.

        Args:
            into: folder of its tables, figures and report, below the bench's.
        """
        findings = experiment.run(bench)
        about = {"seed": self.seed, "weight_hashes": bench.weight_hashes(), "versions": versions()}
        write_findings(
            findings, bench.out_dir / into, f"steps: {bench.steps}\nseed: {self.seed}\n", experiment.title, about
        )
        numbers = plain(findings.numbers)
        assert isinstance(numbers, dict)
        return numbers
