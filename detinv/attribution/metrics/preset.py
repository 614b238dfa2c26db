"""A named set of measures: which objects count, where maps should lie, and how pixels are inserted and deleted."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from detinv.attribution.core.objects import ExplainedObjects
from detinv.attribution.metrics.base import AbstractLocation, Truth
from detinv.attribution.metrics.object_set import ObjectRule
from detinv.attribution.metrics.perturbation import Perturbation, curves_of
from detinv.config.folders import choices, config_dir
from detinv.config.instantiate import compose_choice, instantiate
from detinv.detectors.base import AbstractDetector
from detinv.errors import ConfigError
from detinv.inputs.printable import quoted, suggestion

GROUP = "attribution_metrics"
"""The folder of presets in `configs`."""
_HIGHER_IS_BETTER = {
    "insertion": True,
    "deletion": False,
    "insertion_normalised": True,
    "deletion_normalised": False,
}


@dataclass(frozen=True)
class MetricPreset:
    """A protocol by which maps are judged. Numbers of different protocols must not be compared.

    Args:
        objects: which detections count.
        locations: measures of where maps lie, by name.
        perturbation: how insertion and deletion are measured.
        source: of the protocol.
        departures: from its published code, and why.
    """

    objects: ObjectRule
    locations: Mapping[str, AbstractLocation]
    perturbation: Perturbation
    source: str
    departures: Sequence[str] = ()

    @property
    def higher_is_better(self) -> dict[str, bool]:
        """All measures by name, and whether a higher value is better."""
        return {**{name: one.higher_is_better for name, one in self.locations.items()}, **_HIGHER_IS_BETTER}

    def chosen(self, names: Sequence[str] | None) -> list[str]:
        """Return the measures that are asked for: all of them for None; "energy" stands for all that begin with it.

        Raises:
            ConfigError: for a name that no measure has.
        """
        known = list(self.higher_is_better)
        if names is None:
            return known
        for name in names:
            if not any(_is_of(one, name) for one in known):
                shown = list(dict.fromkeys(one.split("_")[0] for one in known))
                raise ConfigError(f"metrics: {quoted(name)} is none of {', '.join(shown)}{suggestion(name, shown)}")
        return [one for one in known if any(_is_of(one, name) for name in names)]


def preset_names() -> tuple[str, ...]:
    """Return the names of all presets."""
    return choices(config_dir(), GROUP)


def load_preset(name: str) -> MetricPreset:
    """Return a preset by its name.

    Raises:
        ConfigError: for an unknown one, naming the nearest.
    """
    known = preset_names()
    if name not in known:
        raise ConfigError(f"metric_preset={quoted(name)}: choose one of {', '.join(known)}{suggestion(name, known)}")
    found: MetricPreset = instantiate(compose_choice(GROUP, name))
    return found


def measured(
    preset: MetricPreset,
    names: Collection[str],
    detector: AbstractDetector,
    image: UInt8[Tensor, "3 height width"],
    objects: ExplainedObjects,
    truths: Sequence[Truth],
    heats: Float[Tensor, "object map height width"],
    seed: int = 0,
) -> list[list[dict[str, float]]]:
    """Measure all maps of one image.

    Args:
        names: of the measures; see `MetricPreset.chosen`.
        objects: that the maps explain.
        truths: what is known of each.
        heats: several maps of each, in the frame of the image.
        seed: of what is random in insertion and deletion.

    Returns:
        For each object and map its measures by name, in the order of `names`.
    """
    found = [
        [{name: one.measure(heat, truth) for name, one in preset.locations.items() if name in names} for heat in mine]
        for mine, truth in zip(heats, truths, strict=True)
    ]
    if any(name in names for name in _HIGHER_IS_BETTER) and len(objects):
        settings = preset.perturbation
        curves = curves_of(settings, detector, image, objects.boxes, objects.labels, heats, seed)
        areas = {"insertion": settings.area(curves.insertion), "deletion": settings.area(curves.deletion)}
        before = curves.before.double().clamp(min=torch.finfo(torch.float32).tiny)[:, None]
        areas |= {f"{name}_normalised": area / before for name, area in areas.items()}
        for name, area in areas.items():
            for mine, values in zip(found, area.tolist(), strict=True):
                for one, value in zip(mine, values, strict=True):
                    if name in names:
                        one[name] = value
    return [[{name: one[name] for name in names if name in one} for one in mine] for mine in found]


def _is_of(measure: str, name: str) -> bool:
    return measure == name or measure.startswith(f"{name}_")
