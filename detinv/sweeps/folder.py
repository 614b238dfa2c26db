"""The folder of a sweep: its jobs, where each one lies, and how it ended."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from detinv.errors import OutputError
from detinv.results.io.files import prepare_out_dir, write_json
from detinv.results.io.names import file_stems
from detinv.sweeps.grammar import Combination, key_of
from detinv.sweeps.inputs import IGNORED
from detinv.sweeps.job import JobOutcome, Task

_RECORD = "sweep.json"
_OUTCOMES, _LOGS = "outcomes", "logs"


@dataclass(frozen=True)
class JobRecord:
    """One job as `sweep.json` stores it.

    Args:
        folder: name of its folder inside that of the sweep.
        overrides, swept: see `Combination`.
        status: "missing" until it has ended.
        error, seconds: see `JobOutcome`.
        inputs: what it was last started with, see `inputs_of`; None where that is not known.
    """

    folder: str
    overrides: tuple[str, ...]
    swept: tuple[str, ...]
    status: Literal["ok", "failed", "missing"] = "missing"
    error: str | None = None
    seconds: float | None = None
    inputs: Mapping[str, str] | None = None


class SweepFolder:
    """The folder of a sweep and its record, `sweep.json`, which is complete at any time.

    Args:
        path: of the folder; need not exist yet.
        command: that all jobs run.
        writes: whether this process keeps the record; of several that share the jobs, one does.

    Attributes:
        unwritten: why the record could not be written when the last job ended; None if it was.

    Raises:
        OutputError: when the record there cannot be read, or is of another command.
    """

    def __init__(self, path: Path, command: str, writes: bool = True) -> None:
        self.path = path
        self.command = command
        self.writes = writes
        self.unwritten: OutputError | None = None
        self._jobs = {job.folder: self._as_it_ended(job) for job in self._read()}

    def enlist(self, combinations: Sequence[Combination]) -> list[str]:
        """Add jobs that the folder does not have yet, and return the names of the folders of all these jobs."""
        known = {_identity(job): name for name, job in self._jobs.items()}
        new = {_identity(c): c for c in combinations if _identity(c) not in known}
        # Names in use come first, so that they stay as they are.
        wanted = [*self._jobs, *(_title(self.command, c) for c in new.values())]
        names = file_stems(wanted)[len(self._jobs) :]
        for (identity, combination), name in zip(new.items(), names, strict=True):
            known[identity] = name
            self._jobs[name] = JobRecord(name, combination.overrides, combination.swept)
        return list(dict.fromkeys(known[_identity(c)] for c in combinations))

    def job(self, name: str) -> JobRecord:
        """Return the job with the folder of that name."""
        return self._jobs[name]

    def task(self, name: str, overrides: Sequence[str]) -> Task:
        """Return the task that runs the job with these overrides."""
        return Task(self.command, tuple(overrides), Path.cwd(), self._outcome(name), self.path / _LOGS / f"{name}.log")

    def check_unchanged(self, inputs: Mapping[str, Mapping[str, str]]) -> None:
        """Check that jobs which have succeeded were made from the same inputs.

        Args:
            inputs: of jobs, by the names of their folders.

        Raises:
            OutputError: naming the first job that was not, and what has changed.
        """
        for name, now in inputs.items():
            job = self._jobs[name]
            if job.status != "ok" or job.inputs is None:
                continue
            before = job.inputs
            changed = [path for path in sorted({*before, *now}) if before.get(path) != now.get(path)]
            if changed:
                raise OutputError(
                    f"out_dir {self.path} holds results of the job {name} from before {' and '.join(changed)} changed; "
                    "choose another out_dir"
                )

    def begin(self, inputs: Mapping[str, Mapping[str, str]]) -> None:
        """Create the folder and mark jobs as missing.

        Args:
            inputs: of these jobs, by the names of their folders; see `inputs_of`.
        """
        if not self.writes:
            return
        for folder in (self.path, self.path / _OUTCOMES, self.path / _LOGS):
            prepare_out_dir(folder)
        for name, found in inputs.items():
            # How it ended the last time would be taken for its end if it is killed now.
            self._outcome(name).unlink(missing_ok=True)
            self._jobs[name] = replace(self._jobs[name], status="missing", error=None, seconds=None, inputs=found)
        self._write()

    def note(self, name: str, outcome: JobOutcome) -> None:
        """Record how a job ended; where that cannot be written, see `unwritten`, the next one's end is another try."""
        self._jobs[name] = replace(self._jobs[name], **asdict(outcome))
        try:
            self._write()
            self.unwritten = None
        except OutputError as error:
            self.unwritten = error

    def _outcome(self, name: str) -> Path:
        return self.path / _OUTCOMES / f"{name}.json"

    def _write(self) -> None:
        if not self.writes:
            return
        record = {"command": self.command, "jobs": [asdict(job) for job in self._jobs.values()]}
        write_json(self.path / _RECORD, record)

    def _read(self) -> list[JobRecord]:
        path = self.path / _RECORD
        if not path.exists():
            return []
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            command = record["command"]
            if "members" in record:
                raise OutputError(f"{path} was written by an earlier version of detinv; choose another out_dir=PATH")
            jobs = [
                JobRecord(**{**entry, "overrides": tuple(entry["overrides"]), "swept": tuple(entry["swept"])})
                for entry in record["jobs"]
            ]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise OutputError(f"{path} was not written by a sweep; repair it or choose another out_dir=PATH") from error
        if command != self.command:
            raise OutputError(
                f"out_dir {self.path} belongs to another sweep: the command was {command}, is {self.command}; choose "
                "another out_dir"
            )
        return jobs

    def _as_it_ended(self, job: JobRecord) -> JobRecord:
        """Read how a job ended from its own file, even if no process waited for it; without results it is missing."""
        try:
            outcome = JobOutcome(**json.loads(self._outcome(job.folder).read_text(encoding="utf-8")))
            job = replace(job, **asdict(outcome))
        except (OSError, ValueError, TypeError):
            # A job that was killed has written nothing.
            job = replace(job, status="missing") if job.status == "ok" else job
        if job.status == "ok" and not (self.path / job.folder).is_dir():
            return replace(job, status="missing", seconds=None)
        return job


def _identity(job: JobRecord | Combination) -> tuple[str, ...]:
    """Return the overrides that distinguish a job from all others."""
    kept = [
        word for word in job.overrides if word in job.swept or key_of(word).split(".")[0].split("@")[0] not in IGNORED
    ]
    return tuple(sorted(kept))


def _title(command: str, combination: Combination) -> str:
    """Name a job after the overrides that differ between jobs, or after all of them."""
    return "-".join(combination.swept or combination.overrides) or command
