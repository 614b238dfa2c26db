"""What an experiment is."""

from abc import ABC, abstractmethod

from detinv.experiments.common.setup import ExperimentSetup
from detinv.results.reports.findings import Findings


class AbstractExperiment(ABC):
    """An experiment: what is inverted, how the images are judged, and what is counted.

    Options that belong to one experiment are arguments of its constructor; what all share (detectors, layouts, preset,
    steps, seed, folder) belongs to the setup.
    """

    title: str
    """What the experiment shows, as the heading of its report; names the paper's table or figure."""

    def check(self, setup: ExperimentSetup) -> None:
        """Ask for what `run` needs only after inversions that may take days: a mistake is to be found before them.

        By default nothing is.

        Raises:
            DetinvError: for a mistake in the input.
        """
        return

    @abstractmethod
    def run(self, setup: ExperimentSetup) -> Findings:
        """Run on the detectors of the setup, whose store keeps finished parts from being made again."""
