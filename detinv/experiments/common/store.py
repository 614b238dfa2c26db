"""Where an experiment keeps images and numbers; they are used again only if they were made from the same inputs."""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from detinv.experiments.common.provenance import Provenance, as_json, changed_names, text_hash
from detinv.results.io.files import encode_png, plain, prepare_out_dir, write_bytes, write_json
from detinv.results.io.images import read_image
from detinv.runtime.processes import Processes

Images = list[UInt8[Tensor, "3 _ _"]]

NAME = r"[A-Za-z0-9_-][A-Za-z0-9_.-]*"
"""Pattern of names that are safe as those of folders."""
# Of the text inside a PNG file that holds the image's provenance.
_PNG_TEXT = "detinv-provenance"


@dataclass(frozen=True)
class ResultStore:
    """Images in `images/<key>/`, values in `values/<key>.json`, unfinished batches in `unfinished/<key>/`.

    Every file carries its provenance. One that is requested with another provenance is made again, and a line
    of the log says which of its inputs have changed.

    Args:
        folder: existing, unless nothing is stored.
        processes: that share the work; images are written by all of them, values by the first.
        log: receives progress messages, one line each.
    """

    folder: Path
    processes: Processes = field(default_factory=Processes)
    log: Callable[[str], None] = lambda text: None

    def images(
        self,
        key: str,
        doing: str,
        names: Sequence[str],
        provenances: Sequence[Provenance],
        batches: Sequence[Sequence[int]],
        make: Callable[[Sequence[int]], Images],
    ) -> Images:
        """Read those images of `images/<key>/` that are up to date, and make the batches in which one is not.

        Args:
            key: letters, digits, `_`, `-`, `.` and slashes.
            doing: logged while images are made.
            names: of the files, without ending.
            provenances: of each image.
            batches: numbers of the images that are made together, each number once.
            make: from the numbers of one batch to its images; called in all processes.
        """
        folder = self.folder / "images" / checked_key(key)
        paths = [folder / f"{name}.png" for name in names]
        wanted = [as_json(provenance) for provenance in provenances]
        due = self.processes.decide(lambda: self._images_due(key, folder, paths, wanted))
        found: dict[int, Tensor] = {}
        for number, members in enumerate(batches, 1):
            if not due.intersection(members):
                found |= {index: read_image(paths[index]) for index in members}
                continue
            self.log(f"{key}: {doing}, batch {number} of {len(batches)}")
            for place, (index, image) in enumerate(zip(members, make(members), strict=True)):
                # Encoding an image takes longer than many a step.
                if place % self.processes.count == self.processes.rank:
                    write_bytes(paths[index], encode_png(image, {_PNG_TEXT: json.dumps(wanted[index])}))
                found[index] = image
        # The state of unfinished batches is of use until every process has written.
        self.processes.gather(None)
        if self.processes.first:
            self._remove_unfinished(key)
        return [found[index] for index in range(len(paths))]

    def value(self, key: str, provenance: Provenance, compute: Callable[[], Any]) -> Any:
        """Read `values/<key>.json` if it is up to date; otherwise compute the value, as JSON knows it, and write it.

        Args:
            compute: called in all processes, so that inversions it asks for are shared.
        """
        path = self.folder / "values" / f"{checked_key(key)}.json"
        wanted = as_json(provenance)
        kept = self.processes.decide(lambda: self._kept_value(key, path, wanted))
        if kept is not None:
            return kept["value"]
        value = plain(compute())
        if self.processes.first:
            prepare_out_dir(path.parent)
            write_json(path, {"provenance": wanted, "value": value})
        return self.processes.decide(lambda: value)

    def unfinished(self, key: str, provenances: Sequence[Provenance]) -> Path:
        """Return the folder for the state of one unfinished batch of that provenance, without creating it."""
        return self.folder / "unfinished" / checked_key(key) / text_hash(list(provenances))

    def _images_due(self, key: str, folder: Path, paths: Sequence[Path], wanted: Sequence[Provenance]) -> set[int]:
        """Find the images to be made; those that exist but are out of date are logged."""
        prepare_out_dir(folder)
        due, outdated, names = set[int](), 0, set[str]()
        for index, (path, provenance) in enumerate(zip(paths, wanted, strict=True)):
            if not path.is_file():
                due.add(index)
            elif changed := changed_names(_png_provenance(path), provenance):
                due.add(index)
                outdated += 1
                names.update(changed)
        if outdated:
            self.log(f"{key}: {outdated} of {len(paths)} images are made again; changed: {', '.join(sorted(names))}")
        return due

    def _kept_value(self, key: str, path: Path, wanted: Provenance) -> dict[str, Any] | None:
        """Read the file if it is up to date; if it exists but is not, that is logged."""
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            self.log(f"{key}: computed again; {path.name} cannot be read ({error})")
            return None
        before = content.get("provenance") if isinstance(content, dict) and "value" in content else None
        changed = changed_names(before if isinstance(before, dict) else None, wanted)
        if changed:
            self.log(f"{key}: computed again; changed: {', '.join(changed)}")
            return None
        assert isinstance(content, dict)
        return content

    def _remove_unfinished(self, key: str) -> None:
        """Remove the state of unfinished batches, and the folders that are empty without it."""
        folder = self.folder / "unfinished" / key
        with suppress(OSError):
            shutil.rmtree(folder)
            for parent in folder.parents:
                if parent == self.folder:
                    break
                parent.rmdir()


def checked_key(key: str) -> str:
    """Return the key if it names a place inside a folder.

    Raises:
        ValueError: if it does not.
    """
    if not re.fullmatch(f"{NAME}(/{NAME})*", key):
        raise ValueError(f"key {key!r}: letters, digits, '_', '-', '.' and slashes only, no part begins with a dot")
    return key


def _png_provenance(path: Path) -> dict[str, Any] | None:
    """Read what an image was made from; None for a file that does not say it or cannot be read."""
    try:
        with Image.open(path, formats=("PNG",)) as file:
            file.load()
            found = json.loads(file.info.get(_PNG_TEXT, "null"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return found if isinstance(found, dict) else None
