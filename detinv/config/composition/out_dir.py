"""The folder for results when no `out_dir` is given: named by date and time, claimed against other jobs."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import count
from pathlib import Path

_PARENT = Path("outputs")
# Environment variables by which launchers number the processes of a job.
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")


def dated_folder(command: str) -> Path:
    """Name a folder that does not exist yet, without creating it."""
    return next(folder for folder in _candidates(command) if not folder.exists())


def claim_dated_folder(command: str) -> Path:
    """Create a folder that did not exist, so that no other process has claimed it.

    Raises:
        OSError: when folders cannot be created here.
    """
    _PARENT.mkdir(exist_ok=True)
    for folder in _candidates(command):
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("the candidates are endless")


def is_first_process() -> bool:
    """Tell whether this process is the first of its job, or the only one, by what launchers say."""
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)


@contextmanager
def claimed_while_used() -> Iterator[Callable[[str], Path]]:
    """Give a function that claims dated folders; those that are still empty at the end are removed.

    So a mistake in the input leaves nothing behind. Only the first process of a job claims: the others take the folder
    that it passes on. Where nothing can be created, the folder is only named, and an error follows when it is used.
    """
    parent_existed = _PARENT.exists()
    claimed: list[Path] = []

    def claim(command: str) -> Path:
        if not is_first_process():
            return dated_folder(command)
        try:
            claimed.append(claim_dated_folder(command).absolute())
        except OSError:
            return dated_folder(command)
        return _PARENT / claimed[-1].name

    try:
        yield claim
    finally:
        for folder in claimed:
            # Fails, as it should, where the folder is not empty.
            with suppress(OSError):
                folder.rmdir()
                if not parent_existed:
                    folder.parent.rmdir()


def _candidates(command: str) -> Iterator[Path]:
    stem = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{command}"
    yield _PARENT / stem
    yield from (_PARENT / f"{stem}-{number}" for number in count(2))
