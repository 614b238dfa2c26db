"""The folder of a sweep: who its members are, where each one lies, and how it ended."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from detinv.errors import OutputError
from detinv.results.io.files import prepare_out_dir, write_json
from detinv.results.io.names import file_stems
from detinv.sweeps.grammar import Combination, key_of
from detinv.sweeps.member import Outcome, Task

_RECORD = "sweep.json"
_OUTCOMES, _LOGS = "outcomes", "logs"
# Where a run is watched, where it lies and who trusts it do not make it another run.
_BESIDE = ("out_dir", "logger", "trust_config")


@dataclass(frozen=True)
class Member:
    """One member as `sweep.json` keeps it.

    Args:
        folder: its name, below that of the sweep.
        overrides, swept: see `Combination`.
        status: "missing" until it has ended.
        error, seconds: see `Outcome`.
    """

    folder: str
    overrides: tuple[str, ...]
    swept: tuple[str, ...]
    status: Literal["ok", "failed", "missing"] = "missing"
    error: str | None = None
    seconds: float | None = None


class SweepFolder:
    """The folder of a sweep and its record, `sweep.json`, which is complete at any time.

    Args:
        path: of the folder; need not exist yet.
        command: that all members run.

    Raises:
        OutputError: when the record there cannot be read, or is of another command.
    """

    def __init__(self, path: Path, command: str) -> None:
        self.path = path
        self.command = command
        self._members = {member.folder: self._as_it_ended(member) for member in self._read()}

    def enlist(self, combinations: Sequence[Combination]) -> list[str]:
        """The folders' names of these members; those that are not known yet get one that no other has."""
        known = {_identity(member): name for name, member in self._members.items()}
        strangers = {_identity(c): c for c in combinations if _identity(c) not in known}
        # Names in use come first, where they stay as they are.
        wanted = [*self._members, *(_title(self.command, c) for c in strangers.values())]
        names = file_stems(wanted)[len(self._members) :]
        for (identity, combination), name in zip(strangers.items(), names, strict=True):
            known[identity] = name
            self._members[name] = Member(name, combination.overrides, combination.swept)
        return list(dict.fromkeys(known[_identity(c)] for c in combinations))

    def member(self, name: str) -> Member:
        """The member in the folder of that name."""
        return self._members[name]

    def task(self, name: str, overrides: Sequence[str]) -> Task:
        """What runs that member with these overrides."""
        outcome = self.path / _OUTCOMES / f"{name}.json"
        return Task(self.command, tuple(overrides), Path.cwd(), outcome, self.path / _LOGS / f"{name}.log")

    def begin(self, names: Sequence[str]) -> None:
        """Create the folder, and note that these members are still to be run."""
        for folder in (self.path, self.path / _OUTCOMES, self.path / _LOGS):
            prepare_out_dir(folder)
        for name in names:
            self._members[name] = replace(self._members[name], status="missing", error=None, seconds=None)
        self._write()

    def note(self, name: str, outcome: Outcome) -> None:
        """Write down how a member ended."""
        self._members[name] = replace(self._members[name], **asdict(outcome))
        self._write()

    def _write(self) -> None:
        record = {"command": self.command, "members": [asdict(member) for member in self._members.values()]}
        write_json(self.path / _RECORD, record)

    def _read(self) -> list[Member]:
        path = self.path / _RECORD
        if not path.exists():
            return []
        try:
            record: dict[str, Any] = json.loads(path.read_text())
            command = record["command"]
            members = [
                Member(**{**entry, "overrides": tuple(entry["overrides"]), "swept": tuple(entry["swept"])})
                for entry in record["members"]
            ]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise OutputError(f"{path} is not what a sweep wrote; mend it or choose another out_dir=PATH") from error
        if command != self.command:
            raise OutputError(
                f"out_dir {self.path} belongs to another sweep: the command was {command}, is {self.command}; choose "
                "another out_dir"
            )
        return members

    def _as_it_ended(self, member: Member) -> Member:
        """By its own word, which counts even if nobody waited for it; without results it has not been run."""
        path = self.path / _OUTCOMES / f"{member.folder}.json"
        try:
            member = replace(member, **asdict(Outcome(**json.loads(path.read_text()))))
        except (OSError, ValueError, TypeError):
            # Whoever is killed leaves no word.
            member = replace(member, status="missing") if member.status == "ok" else member
        if member.status == "ok" and not (self.path / member.folder).is_dir():
            return replace(member, status="missing", seconds=None)
        return member


def _identity(member: Member | Combination) -> tuple[str, ...]:
    """What makes it this member and no other."""
    kept = [
        word
        for word in member.overrides
        if word in member.swept or key_of(word).split(".")[0].split("@")[0] not in _BESIDE
    ]
    return tuple(sorted(kept))


def _title(command: str, combination: Combination) -> str:
    """What a member is called: by what differs, or by all there is."""
    return "-".join(combination.swept or combination.overrides) or command
