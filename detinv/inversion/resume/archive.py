"""What an inversion has finished, and how far it is with the rest: kept in a folder, so that a crash costs nothing.

Images lie in `images/`, all else in `progress/`: a record of every finished batch, and the state of the one a process
is at. A batch's images are written before its record, and its state is removed after: whenever the process dies, the
batch is finished or can be continued.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.errors import ConfigError, OutputError
from detinv.inversion.resume.fingerprint import layout_hash
from detinv.layouts.layout import Layout
from detinv.results.io.files import TEMPORARY, prepare_out_dir, write_json, write_png, write_with
from detinv.results.io.images import read_image
from detinv.results.io.names import file_stems

_LOG = logging.getLogger("detinv")
_IDS = "detinv_ids"


@dataclass(frozen=True)
class Outcome:
    """What one batch came to.

    Args:
        images: 8-bit RGB, in the order of the batch.
        losses: rows for `losses.csv`.
        stopped: layouts whose loss did not stay finite, by id, and what happened; their image is the last good one.
    """

    images: Sequence[UInt8[Tensor, "3 _ _"]]
    losses: Sequence[Mapping[str, int | float]]
    stopped: Mapping[str, str]


class Archive:
    """The folder of one job.

    Args:
        folder: created when it is not there.
        layouts: of the whole job, with distinct ids.
        source: what all images depend on, plain values by name.

    Raises:
        OutputError: when it cannot be written, or holds images of another source or of other layouts.
    """

    def __init__(self, folder: str | Path, layouts: Sequence[Layout], source: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self._layouts = list(layouts)
        self._hashes = [layout_hash(layout) for layout in layouts]
        self._index = {layout.id: index for index, layout in enumerate(layouts)}
        self._stems = file_stems([layout.id for layout in layouts])
        self._source = dict(source)
        self._unsaved: dict[tuple[int, ...], Outcome] = {}
        self._claim()

    def tidy(self) -> "Archive":
        """Remove what a killed process was about to write; while no other is at work in the folder."""
        for place in (self.folder, self.folder / "images", self._progress):
            for path in place.glob(f".*{TEMPORARY}"):
                with suppress(OSError):
                    path.unlink()
        return self

    def outcomes(self) -> list[tuple[list[int], Outcome]]:
        """Every finished batch, as numbers of its layouts, and what it came to.

        A batch with a missing or broken file counts as unfinished.

        Raises:
            OutputError: when a layout was another one when its image was made.
        """
        found, taken = [], set[int]()
        for path in sorted(self._progress.glob("*.json")):
            record = _read_json(path)
            if record is None or not isinstance(record.get("hashes"), dict):
                continue
            batch = self._indices(list(record["hashes"]))
            if batch is None or taken.intersection(batch):
                continue
            for index in batch:
                if record["hashes"][self._layouts[index].id] != self._hashes[index]:
                    raise OutputError(
                        f"{self.folder} holds an image of another layout {self._layouts[index].id}; choose another "
                        "out_dir"
                    )
            images = [image for image in map(self._read, batch) if image is not None]
            if len(images) == len(batch):
                taken.update(batch)
                found.append((batch, Outcome(images, record["losses"], record["stopped"])))
        return found

    def keep(self, batch: Sequence[int], outcome: Outcome) -> None:
        """Write a finished batch. What cannot be written is kept in memory, and tried again with the next one."""
        self._unsaved[tuple(batch)] = outcome
        self.flush()

    def flush(self) -> None:
        """Try to write what could not be written before; a warning tells what still cannot."""
        for batch, outcome in list(self._unsaved.items()):
            try:
                self._write(batch, outcome)
            except OutputError as error:
                _LOG.warning("detinv: %s; the run goes on, and its images are kept in memory", error)
                return
            del self._unsaved[batch]

    def _write(self, batch: Sequence[int], outcome: Outcome) -> None:
        prepare_out_dir(self._progress)
        prepare_out_dir(self.folder / "images")
        for index, image in zip(batch, outcome.images, strict=True):
            write_png(self._image(index), image)
        name = self._name(batch)
        record = {
            "hashes": {self._layouts[index].id: self._hashes[index] for index in batch},
            "stopped": dict(outcome.stopped),
            "losses": list(outcome.losses),
        }
        write_json(self._progress / f"{name}.json", record, indent=None)
        with suppress(OSError):
            (self._progress / f"{name}.ckpt").unlink(missing_ok=True)

    def state(self, batch: Sequence[int]) -> Path | None:
        """The file from which a batch can be continued, where there is one."""
        path = self._progress / f"{self._name(batch)}.ckpt"
        return path if path.is_file() else None

    def interrupted(self) -> list[list[int]]:
        """Batches that can be continued; unreadable files are passed over."""
        found = []
        for path in sorted(self._progress.glob("*.ckpt")):
            try:
                content = torch.load(path, map_location="cpu", weights_only=True)
                indices = self._indices([str(name) for name in content[_IDS]])
            except Exception as error:  # whatever a broken file makes a member raise; the batch is begun anew
                _LOG.warning("detinv: %s cannot be read (%s); its images are begun anew", path, type(error).__name__)
                indices = None
            if indices is None:
                with suppress(OSError):
                    path.unlink()
            else:
                found.append(indices)
        return found

    def save_state(self, batch: Sequence[int], save: Callable[[Path, dict[str, Any]], None]) -> bool:
        """Let `save` write the state of a batch to the path it is given, with some entries of ours.

        Returns:
            Whether it was written, whole; a warning tells why not.
        """
        ids = {_IDS: [self._layouts[index].id for index in batch]}
        try:
            prepare_out_dir(self._progress)
            write_with(self._progress / f"{self._name(batch)}.ckpt", lambda path: save(path, ids))
        except OutputError as error:
            _LOG.warning("detinv: %s; the run goes on", error)
            return False
        return True

    def drop_state(self, batch: Sequence[int]) -> None:
        """Forget how far a batch was."""
        with suppress(OSError):
            (self._progress / f"{self._name(batch)}.ckpt").unlink(missing_ok=True)

    @property
    def _progress(self) -> Path:
        return self.folder / "progress"

    def _image(self, index: int) -> Path:
        return self.folder / "images" / f"{self._stems[index]}.png"

    def _name(self, batch: Sequence[int]) -> str:
        ids = json.dumps([self._layouts[index].id for index in batch])
        return hashlib.sha256(ids.encode()).hexdigest()[:16]

    def _indices(self, ids: Sequence[str]) -> list[int] | None:
        """Numbers of the layouts of those ids; None if the job has not all of them."""
        return [self._index[name] for name in ids] if all(name in self._index for name in ids) else None

    def _read(self, index: int) -> UInt8[Tensor, "3 _ _"] | None:
        try:
            image = read_image(self._image(index))
        except ConfigError:
            return None
        return image if tuple(image.shape[1:]) == self._layouts[index].image_size else None

    def _claim(self) -> None:
        """Write down what the images depend on, or make sure that it is still the same."""
        path = prepare_out_dir(self.folder / "progress") / "source.json"
        before = _read_json(path)
        if before is None:
            write_json(path, self._source)
            return
        for name, value in self._source.items():
            if before.get(name) != value:
                raise OutputError(
                    f"{self.folder} holds images with {name} {before.get(name)}, this run has {value}; choose another "
                    "out_dir"
                )


def _read_json(path: Path) -> dict[str, Any] | None:
    """What a file holds, or None where it is missing or broken."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
