"""What an inversion has finished, and the state of its running batch: kept in a folder, so that a crash costs nothing.

Images are in `images/`, everything else in `progress/`: a record of every finished batch, and the state of the batch
that each process is working on. A batch's images are written before its record, and its state is removed after it:
whenever the process dies, the batch is either finished or can be continued.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.errors import ConfigError, OutputError
from detinv.inputs.fingerprint import LENGTH
from detinv.inversion.resume.fingerprint import layout_hash
from detinv.layouts.layout import Layout
from detinv.results.io.files import TEMPORARY, prepare_out_dir, write_json, write_png, write_with
from detinv.results.io.images import read_image
from detinv.results.io.in_use import held
from detinv.results.io.names import file_stems

_PROGRESS = "progress"
_LOG = logging.getLogger("detinv")
# Of saved states: which layouts they are of, as hashes by id.
_LAYOUTS = "detinv_layouts"


@dataclass(frozen=True)
class BatchResult:
    """The result of one batch.

    Args:
        images: 8-bit RGB, in the order of the batch.
        losses: rows for `losses.csv`.
        stopped: reasons by layout id, for layouts whose loss did not stay finite; their image is the last good one.
    """

    images: Sequence[UInt8[Tensor, "3 _ _"]]
    losses: Sequence[Mapping[str, int | float]]
    stopped: Mapping[str, str]


class Archive:
    """The folder of one job.

    Args:
        folder: created if it does not exist.
        layouts: of the whole job, with distinct ids.
        source: everything that all images depend on, plain values by name.

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
        self._unsaved: dict[tuple[int, ...], BatchResult] = {}
        self._claim()

    def tidy(self) -> "Archive":
        """Remove unfinished files of a killed process; call it while no other process uses the folder."""
        for place in (self.folder, self.folder / "images", self._progress):
            for path in place.glob(f".*{TEMPORARY}"):
                with suppress(OSError):
                    path.unlink()
        return self

    def batches(self) -> list[tuple[list[int], BatchResult]]:
        """List every finished batch, as indices of its layouts, with its result.

        A batch with a missing, broken or changed file counts as unfinished. The state of a finished batch is removed: a
        process that dies right after finishing it leaves it behind.

        Raises:
            OutputError: when a layout differs from the one that its image was made for.
        """
        found, taken = [], set[int]()
        for path in sorted(self._progress.glob("*.json")):
            record = _read_json(path)
            if record is None or not all(isinstance(record.get(name), dict) for name in ("hashes", "pixels")):
                continue
            batch = self._indices(list(record["hashes"]))
            if batch is None or taken.intersection(batch):
                continue
            self._check_same(record["hashes"])
            images = [image for index in batch if (image := self._read(index, record["pixels"])) is not None]
            if len(images) == len(batch):
                taken.update(batch)
                self.drop_state(batch)
                found.append((batch, BatchResult(images, record["losses"], record["stopped"])))
        return found

    def keep(self, batch: Sequence[int], result: BatchResult) -> None:
        """Write a finished batch. If it cannot be written, keep it in memory and try again with the next one."""
        self._unsaved[tuple(batch)] = result
        self.flush()

    def flush(self) -> None:
        """Try again to write what could not be written; log a warning if it still cannot."""
        for batch, result in list(self._unsaved.items()):
            try:
                self._write(batch, result)
            except OutputError as error:
                _LOG.warning("detinv: %s; the run continues, and its images are kept in memory", error)
                return
            del self._unsaved[batch]

    def _write(self, batch: Sequence[int], result: BatchResult) -> None:
        prepare_out_dir(self._progress)
        prepare_out_dir(self.folder / "images")
        for index, image in zip(batch, result.images, strict=True):
            write_png(self._image(index), image)
        name = self._name(batch)
        record = {
            "hashes": self._hashes_of(batch),
            "pixels": {
                self._layouts[index].id: _pixel_hash(image) for index, image in zip(batch, result.images, strict=True)
            },
            "stopped": dict(result.stopped),
            "losses": list(result.losses),
        }
        write_json(self._progress / f"{name}.json", record, indent=None)
        with suppress(OSError):
            (self._progress / f"{name}.ckpt").unlink(missing_ok=True)

    def state(self, batch: Sequence[int]) -> Path | None:
        """Return the file from which a batch can be continued, if there is one."""
        path = self._progress / f"{self._name(batch)}.ckpt"
        return path if path.is_file() else None

    def interrupted(self) -> list[list[int]]:
        """List batches that can be continued; unreadable files are removed with a warning.

        Raises:
            OutputError: when a layout differs from the one that its image was begun for.
        """
        found = []
        for path in sorted(self._progress.glob("*.ckpt")):
            hashes: dict[str, str] = {}
            try:
                # Unlike this, torch takes numbers that have changed on the disk.
                with ZipFile(path) as file:
                    if file.testzip() is not None:
                        raise BadZipFile
                content = torch.load(path, map_location="cpu", weights_only=True)
                hashes = dict(content[_LAYOUTS])
                indices = self._indices(list(hashes))
            except Exception as error:  # a broken file may raise anything; the batch starts again
                _LOG.warning("detinv: %s cannot be read (%s); its images are started again", path, type(error).__name__)
                indices = None
            if indices is None:
                with suppress(OSError):
                    path.unlink()
            else:
                self._check_same(hashes)
                found.append(indices)
        return found

    def save_state(self, batch: Sequence[int], save: Callable[[Path, dict[str, Any]], None]) -> bool:
        """Have `save` write the state of a batch, with our entries, to the path it is called with.

        Returns:
            Whether the whole file was written; if not, a warning says why.
        """
        of = {_LAYOUTS: self._hashes_of(batch)}
        try:
            prepare_out_dir(self._progress)
            write_with(self._progress / f"{self._name(batch)}.ckpt", lambda path: save(path, of))
        except OutputError as error:
            _LOG.warning("detinv: %s; the run continues", error)
            return False
        return True

    def drop_state(self, batch: Sequence[int]) -> None:
        """Remove the saved state of a batch."""
        with suppress(OSError):
            (self._progress / f"{self._name(batch)}.ckpt").unlink(missing_ok=True)

    @property
    def _progress(self) -> Path:
        return self.folder / _PROGRESS

    def _image(self, index: int) -> Path:
        return self.folder / "images" / f"{self._stems[index]}.png"

    def _name(self, batch: Sequence[int]) -> str:
        ids = json.dumps([self._layouts[index].id for index in batch])
        return hashlib.sha256(ids.encode()).hexdigest()[:16]

    def _indices(self, ids: Sequence[str]) -> list[int] | None:
        """Indices of the layouts with these ids; None if the job does not have all of them."""
        return [self._index[name] for name in ids] if all(name in self._index for name in ids) else None

    def _hashes_of(self, batch: Sequence[int]) -> dict[str, str]:
        return {self._layouts[index].id: self._hashes[index] for index in batch}

    def _check_same(self, hashes: Mapping[str, str]) -> None:
        """Raise OutputError if a layout of the job differs from that of a finished or begun image."""
        for name, before in hashes.items():
            if before != self._hashes[self._index[name]]:
                raise OutputError(f"{self.folder} holds an image of another layout {name}; choose another out_dir")

    def _read(self, index: int, pixels: Mapping[str, str]) -> UInt8[Tensor, "3 _ _"] | None:
        """Read an image; None where it is not the one that was kept."""
        try:
            image = read_image(self._image(index))
        except ConfigError:
            return None
        return image if _pixel_hash(image) == pixels.get(self._layouts[index].id) else None

    def _claim(self) -> None:
        """Write down what the images depend on, or check that it has not changed."""
        path = prepare_out_dir(self._progress) / "source.json"
        before = _read_json(path)
        if before is None:
            if any(self._progress.glob("*.ckpt")) or any(one != path for one in self._progress.glob("*.json")):
                raise OutputError(
                    f"{path} is missing or broken, which says what the images there were made from; choose another "
                    f"out_dir, or remove {self._progress} to have them made again"
                )
            write_json(path, self._source)
            return
        if before.keys() != self._source.keys():
            raise OutputError(f"{self.folder} holds images of another version of detinv; choose another out_dir")
        for name, value in self._source.items():
            if before[name] != value:
                raise OutputError(
                    f"{self.folder} holds images with {name} {before.get(name)}, this run has {value}; choose another "
                    "out_dir"
                )


@contextmanager
def held_archive(folder: str | Path, layouts: Sequence[Layout], source: Mapping[str, Any]) -> Iterator[None]:
    """Prepare the folder of one job, and hold it against other jobs within the block; see `Archive`.

    Raises:
        OutputError: where `Archive` does, and when another process holds it.
    """
    with held(prepare_out_dir(Path(folder) / _PROGRESS)):
        Archive(folder, layouts, source).tidy()
        yield


def _pixel_hash(image: UInt8[Tensor, "3 _ _"]) -> str:
    digest = hashlib.sha256(repr(tuple(image.shape)).encode())
    digest.update(image.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:LENGTH]


def _read_json(path: Path) -> dict[str, Any] | None:
    """A file's content, or None if it is missing or broken."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
