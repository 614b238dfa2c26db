"""Explained images on disk: each is finished as a whole, found again by what it depends on, and never made twice."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.attribution.attribution import Attribution
from detinv.attribution.core.measures import Placement
from detinv.attribution.core.objects import ExplainedObjects
from detinv.attribution.explain import ExplainedImage
from detinv.attribution.measure import means_of
from detinv.attribution.pictures import attribution_sheet
from detinv.detectors.acceleration.full_precision import precision_settings
from detinv.errors import ConfigError
from detinv.results.io.files import prepare_out_dir, write_json, write_npz, write_png
from detinv.results.io.images import read_image
from detinv.viz.image import Picture

# Of the entries; those of another one are made anew.
_FORMAT = 2


class AttributionArchive:
    """The finished images of a folder: `maps/NAME.npz`, `pictures/NAME.png` and, written last, `progress/NAME.json`.

    Torch's settings of how float32 products may be rounded count among what they were made from.

    Args:
        folder: an existing one.
        settings: what all images depend on, ready for JSON: detector, methods, questions.

    Raises:
        OutputError: when its folders cannot be written.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._folder = folder
        self._settings = json.dumps({"format": _FORMAT, "float32": precision_settings(), **settings}, sort_keys=True)
        for name in ("maps", "pictures", "progress"):
            prepare_out_dir(folder / name)

    def key(self, image: UInt8[Tensor, "3 height width"], objects: ExplainedObjects, asked: str = "") -> str:
        """Return what identifies an image's maps: its pixels, its objects, their scores and masks, and the settings.

        Args:
            asked: what else they depend on, such as the number of the image, with which seeds are mixed.
        """
        digest = hashlib.sha256((self._settings + asked).encode())
        masks = [] if objects.masks is None else [objects.masks]
        for tensor in (image, objects.boxes, objects.labels, objects.scores, *masks):
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
        return digest.hexdigest()

    def finished(self, stem: str, key: str) -> dict[str, Any] | None:
        """Return what was stored of an image, or None if it is not finished or was made from something else.

        An image with a missing or broken file counts as unfinished.
        """
        try:
            stored = json.loads(self._progress(stem).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(stored, dict) or stored.get("key") != key:
            return None
        wanted = {entry["map"] for entry in stored["attributions"]}
        return stored if not wanted or (wanted <= self._maps(stem) and self._has_picture(stem)) else None

    def store(
        self,
        stem: str,
        key: str,
        name: str,
        explained: ExplainedImage,
        about: Mapping[str, Any],
        picture: Picture | None = None,
        measures: Sequence[Mapping[str, float]] = (),
    ) -> dict[str, Any]:
        """Write an image's maps, its picture and its entry, and return the entry.

        Args:
            stem: name of the files, without ending.
            name: of the image.
            about: what else is to be known, such as seconds.
            picture: written also where there are no maps; by default a row for each object and a column for each
                question.
            measures: of each map, where there are any.
        """
        entries = [_entry(one, f"map_{number:04d}") for number, one in enumerate(explained.attributions)]
        for entry, found in zip(entries, measures, strict=bool(measures)):
            entry["measures"] = dict(found)
        if entries:
            maps = {entry["map"]: one.map.numpy() for entry, one in zip(entries, explained.attributions, strict=True)}
            write_npz(self._folder / "maps" / f"{stem}.npz", maps)
            picture = attribution_sheet(explained.attributions) if picture is None else picture
        if picture is not None:
            write_png(self._folder / "pictures" / f"{stem}.png", picture)
        costs = {"forwards": explained.forwards, "backwards": explained.backwards}
        stored = {"key": key, "image": name, "file": stem, **costs, **about, "attributions": entries}
        write_json(self._progress(stem), stored)
        return stored

    def attributions(
        self, stored: Mapping[str, Any], photograph: UInt8[Tensor, "3 height width"], class_names: Sequence[str]
    ) -> list[Attribution]:
        """Read the maps of an image back.

        Args:
            stored: its entry.
            photograph: the image.
            class_names: of the detector.
        """
        with np.load(self._folder / "maps" / f"{stored['file']}.npz") as maps:
            return [_read(entry, maps[entry["map"]], photograph, class_names) for entry in stored["attributions"]]

    def _maps(self, stem: str) -> set[str]:
        """Return the names of the maps in an image's file; none if it is missing or broken."""
        try:
            # Given a path, NumPy leaves a broken file open.
            with (self._folder / "maps" / f"{stem}.npz").open("rb") as file, np.load(file) as maps:
                return set(maps.files)
        except (OSError, ValueError, EOFError, BadZipFile):
            return set()

    def _has_picture(self, stem: str) -> bool:
        try:
            read_image(self._folder / "pictures" / f"{stem}.png")
        except ConfigError:
            return False
        return True

    def _progress(self, stem: str) -> Path:
        return self._folder / "progress" / f"{stem}.json"


def _entry(one: Attribution, name: str) -> dict[str, Any]:
    return {
        "object": one.object,
        "question": one.question,
        "against": _named(one),
        "value": one.value,
        "method": one.method,
        "layer": one.layer,
        "box": list(one.box),
        "class": one.class_names[one.label],
        "score": one.score,
        "map": name,
        "map_size": list(one.map.shape),
        "extent": list(one.extent),
        "signed": one.signed,
        "placement": asdict(Placement.of(one.heat(), one.box)),
    }


def _read(entry: Mapping[str, Any], values: np.ndarray, photograph: Tensor, class_names: Sequence[str]) -> Attribution:
    against = entry["against"]
    return Attribution(
        image=0,
        object=entry["object"],
        box=tuple(entry["box"]),
        label=class_names.index(entry["class"]),
        score=entry["score"],
        question=entry["question"],
        against=class_names.index(against) if against in class_names else against,
        value=entry["value"],
        method=entry["method"],
        layer=entry["layer"],
        map=torch.from_numpy(values),
        extent=tuple(entry["extent"]),
        signed=entry["signed"],
        photograph=photograph,
        class_names=tuple(class_names),
        seed=0,
    )


def _named(one: Attribution) -> str | None:
    return one.class_names[one.against] if isinstance(one.against, int) else one.against


def _mean(values: Iterable[float | None]) -> float:
    """Return the mean of those that are defined; what is NaN is None when it is read back."""
    defined = [value for value in values if value is not None and math.isfinite(value)]
    return float(np.mean(defined)) if defined else math.nan


def summary(stored: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Average where the maps lie, for each method and question; NaN where no map has any energy."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    measures: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for image in stored:
        for entry in image["attributions"]:
            groups.setdefault((entry["method"], entry["question"]), []).append(entry["placement"])
            measures.setdefault((entry["method"], entry["question"]), []).append(entry.get("measures", {}))
    return [
        {
            "method": method,
            "question": question,
            "maps": len(found),
            **{name: _mean(one[name] for one in found) for name in ("maximum_in_box", "energy_in_box", "compactness")},
            "measures": means_of(measures[method, question]),
        }
        for (method, question), found in groups.items()
    ]
