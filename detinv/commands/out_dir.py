"""The folder of a command's results, in all of its processes."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from omegaconf import DictConfig

from detinv.results.io.resume import claimed_folder
from detinv.runtime.processes import Processes


@contextmanager
def folder_of_all(team: Processes, config: DictConfig) -> Iterator[Path]:
    """Claim and hold `config.out_dir` in the first process, see `claimed_folder`, and give its path to all.

    Raises:
        OutputError: see `claimed_folder`.
        ProcessError: in the other processes, when the first one raised anything.
    """
    with ExitStack() as until_done:
        yield Path(team.decide(lambda: str(until_done.enter_context(claimed_folder(config)))))
