"""Methods of attribution side by side: where their maps lie, and whether the detection depends on what they mark."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from detinv.attribution.attribution import Attribution
from detinv.attribution.load import load_method
from detinv.attribution.methods.base import AbstractMethod
from detinv.attribution.metrics.preset import MetricPreset
from detinv.attribution.pictures import heat_picture, object_picture
from detinv.errors import ConfigError
from detinv.experiments.attribution.controls import ControlClaim, control_claims, randomisation_claims
from detinv.experiments.attribution.judged import (
    Chosen,
    JudgedImage,
    chosen_objects,
    explained,
    judge,
    randomised_similarities,
)
from detinv.experiments.attribution.tables import (
    Measures,
    claim_table,
    difference_table,
    exclusion_table,
    faithfulness_table,
    method_table,
    similarity_chart,
    summarised,
)
from detinv.experiments.common.base import AbstractExperiment
from detinv.experiments.common.provenance import image_hash, text_hash
from detinv.experiments.common.setup import ExperimentSetup
from detinv.inputs.fingerprint import settings_hash
from detinv.inversion.resume.fingerprint import layout_hash
from detinv.results.io.files import write_csv
from detinv.results.io.names import file_stems
from detinv.results.reports.findings import Figure, Findings
from detinv.viz.image import Picture
from detinv.viz.sheet import SheetRow, sheet

_SIDE = 176


class ExplainMethods(AbstractExperiment):
    """Judges maps of the question "class" on annotated photographs.

    Args:
        metrics: the measures, and which objects count.
        methods: names of methods; the first is compared with all others.
        options: arguments of methods that differ from those of `configs/method`, by name.
        objects: how many are explained for each detector, photograph after photograph, until there are as many.
        per_image: at most, those of highest score; None for all.
        randomised: names of methods whose maps are compared with those of networks with random weights.
        randomised_images: photographs on which they are; 0 for none.
        examples: photographs in the picture; 0 for no picture.

    Raises:
        ConfigError: for a method that does not exist or has no such option, or a number below 1.
    """

    title = "Methods of attribution, measured"

    def __init__(
        self,
        metrics: MetricPreset,
        methods: Sequence[str],
        options: Mapping[str, Mapping[str, Any]] | None = None,
        objects: int = 40,
        per_image: int | None = 3,
        randomised: Sequence[str] = (),
        randomised_images: int = 4,
        examples: int = 4,
    ) -> None:
        if not methods or len(set(methods)) < len(methods):
            raise ConfigError("experiment.methods: name at least one, each once")
        for name, value, least in (("objects", objects, 1), ("examples", examples, 0), ("per_image", per_image, 1)):
            if value is not None and value < least:
                raise ConfigError(f"experiment.{name}={value}: choose at least {least}")
        self.metrics = metrics
        self.methods = {name: _with(load_method(name), name, (options or {}).get(name, {})) for name in methods}
        self.objects = objects
        self.per_image = per_image
        self.randomised = {name: self.methods.get(name) or load_method(name) for name in randomised}
        self.randomised_images = randomised_images
        self.examples = examples

    def check(self, setup: ExperimentSetup) -> None:
        """See `AbstractExperiment.check`."""
        setup.check_layouts()

    def run(self, setup: ExperimentSetup) -> Findings:
        """Measure every detector; objects.csv has the measures of every object.

        Raises:
            ConfigError: when there are no photographs.
        """
        stored = {label: self._stored(setup, label) for label in setup.labels}
        rows: dict[str, list[Measures]] = {
            label: [one["measures"] for image in images for one in image["objects"]] for label, images in stored.items()
        }
        first = next(iter(self.methods))
        better = self.metrics.higher_is_better
        similar = {label: self._similarities(setup, label) for label in setup.labels} if self.randomised_images else {}
        claims: dict[str, list[ControlClaim]] = {
            label: [*control_claims(rows[label], first, better), *randomisation_claims(similar.get(label, {}))]
            for label in setup.labels
        }
        write_csv(setup.out_dir / "objects.csv", list(_lines(stored)))
        summaries = {label: summarised(rows[label], self.methods, better) for label in setup.labels}
        numbers = {
            label: {
                "objects": len(rows[label]),
                "images": len(stored[label]),
                "counts": _summed(stored[label]),
                "methods": summaries[label],
                "similarity": similar.get(label, {}),
                "claims": [{**vars(one)} for one in claims[label]],
            }
            for label in setup.labels
        }
        return Findings(
            numbers={"detectors": numbers, "compared": first},
            tables=[
                *(faithfulness_table(label, summaries[label]) for label in setup.labels),
                *(claim_table(label, claims[label]) for label in setup.labels),
                method_table(numbers, better),
                difference_table(rows, self.methods, better),
                exclusion_table(numbers),
            ],
            figures=[*similarity_chart(similar), *self._pictures(setup)],
            decided={
                "protocol": self.metrics.source,
                **{f"departure {number}": text for number, text in enumerate(self.metrics.departures, 1)},
                "insertion and deletion": repr(self.metrics.perturbation),
                "objects": f"{self.metrics.objects!r}, at most {self.per_image} in a photograph, photograph after "
                f"photograph until there are {self.objects}",
                "question": "class",
                "intervals": "95 %, bootstrap over objects",
            },
        )

    def _stored(self, setup: ExperimentSetup, label: str) -> list[dict[str, Any]]:
        """Return what was measured in the photographs up to the one with which there are enough objects."""
        images = _images(setup, label)
        stems = file_stems([one.layout.id for one in images])
        found: list[dict[str, Any]] = []
        total = 0
        for one, stem in zip(images, stems, strict=True):
            if total >= self.objects:
                break
            provenance = setup.provenance(
                label,
                image=image_hash([one.image]),
                layout=f"{one.layout.id}: {layout_hash(one.layout)}",
                number=one.number,
                methods={name: settings_hash(method) for name, method in self.methods.items()},
                metrics=settings_hash(self.metrics),
                per_image=self.per_image,
                seed=setup.seed,
            )
            judged = partial(self._judged, setup, label, one)
            entry: dict[str, Any] = setup.keep(f"judged/{label}/{stem}", provenance, judged)
            total += len(entry["objects"])
            found.append(entry)
        setup.log(f"{label}: {total} objects in {len(found)} photographs")
        return found

    def _judged(self, setup: ExperimentSetup, label: str, one: JudgedImage) -> dict[str, Any]:
        setup.log(f"{label}: {one.layout.id}")
        chosen = self._chosen(setup, label, one)
        return judge(setup.detector(label), one, chosen, self.metrics, self.methods, setup.seed)

    def _chosen(self, setup: ExperimentSetup, label: str, one: JudgedImage) -> Chosen:
        return chosen_objects(setup.detector(label), one, self.metrics, self.per_image)

    def _with_objects(self, setup: ExperimentSetup, label: str, count: int) -> list[tuple[JudgedImage, Chosen]]:
        """Return the first photographs in which an object counts."""
        found: list[tuple[JudgedImage, Chosen]] = []
        for one in _images(setup, label):
            if len(found) == count:
                break
            chosen = self._chosen(setup, label, one)
            if len(chosen.objects):
                found.append((one, chosen))
        return found

    def _similarities(self, setup: ExperimentSetup, label: str) -> dict[str, dict[str, list[float]]]:
        images = _images(setup, label)
        provenance = setup.provenance(
            label,
            images=image_hash([one.image for one in images]),
            layouts=text_hash([layout_hash(one.layout) for one in images]),
            methods={name: settings_hash(method) for name, method in self.randomised.items()},
            objects=settings_hash(self.metrics.objects),
            per_image=self.per_image,
            count=self.randomised_images,
            seed=setup.seed,
        )

        def compute() -> dict[str, dict[str, list[float]]]:
            setup.log(f"{label}: random weights, stage by stage")
            chosen = self._with_objects(setup, label, self.randomised_images)
            return randomised_similarities(setup.detector(label), chosen, self.randomised, setup.seed)

        kept: dict[str, dict[str, list[float | None]]] = setup.keep(f"randomised/{label}", provenance, compute)
        return {
            method: {
                stage: [float("nan") if value is None else value for value in values]
                for stage, values in by_stage.items()
            }
            for method, by_stage in kept.items()
        }

    def _pictures(self, setup: ExperimentSetup) -> list[Figure]:
        if not self.examples:
            return []
        found = []
        for label in setup.labels:
            rows = []
            for one, chosen in self._with_objects(setup, label, self.examples):
                objects = chosen.objects.select(chosen.objects.scores.argmax()[None])
                (maps,) = explained(setup.detector(label), one, objects, self.methods, setup.seed)
                shown = list(maps.values())
                cells = [object_picture(shown[0], _SIDE)]
                cells += [_drawn(one.image, each) for each in shown]
                title = f"{shown[0].class_names[shown[0].label]} {shown[0].score:.2f}, {one.layout.id}"
                rows.append(SheetRow(title, cells))
            if rows:
                headings = ["what is explained", *(name.replace("_", " ") for name in self.methods)]
                note = "The brighter, the more it counts; each map from its own lowest to its own highest value."
                found.append(Figure(f"maps_{label}", f"Maps of {label}", sheet(headings, rows, note)))
        return found


def _drawn(image: UInt8[Tensor, "3 height width"], one: Attribution) -> Picture:
    heat = one.heat()
    # Maps such as D-RISE's are all above zero.
    return heat_picture(image, heat if one.signed else heat - heat.min(), one.box, signed=one.signed, side=_SIDE)


def _with(method: AbstractMethod, name: str, options: Mapping[str, Any]) -> AbstractMethod:
    try:
        changeable: Any = method
        return replace(changeable, **options)
    except TypeError as error:
        raise ConfigError(f"experiment.options.{name}: {error}") from error


def _images(setup: ExperimentSetup, label: str) -> list[JudgedImage]:
    images, layouts = setup.photographs(label)
    return [JudgedImage(number, *pair) for number, pair in enumerate(zip(images, layouts, strict=True))]


def _summed(stored: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    names = dict.fromkeys(name for image in stored for name in image["counts"])
    return {name: sum(image["counts"].get(name, 0) for image in stored) for name in names}


def _lines(stored: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    return [
        {
            "detector": label,
            "image": image["image"],
            "object": number,
            "class": one["class"],
            "score": one["score"],
            "method": method,
            **values,
        }
        for label, images in stored.items()
        for image in images
        for number, one in enumerate(image["objects"])
        for method, values in one["measures"].items()
    ]
