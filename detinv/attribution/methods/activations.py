"""All methods that are made of features and their gradients, from one forward and one batched backward pass.

Legend: N objects, Q questions.
"""

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from detinv.attribution.core.forward import ForwardPass, run_forward
from detinv.attribution.core.frames import cells_extent, resampled
from detinv.attribution.core.gradients import Seeds, gradients, seeds_of
from detinv.attribution.core.objects import ExplainedObjects
from detinv.attribution.core.questions import Question
from detinv.attribution.core.smoothing import smoothed
from detinv.attribution.core.windows import window_seeds
from detinv.attribution.methods.base import PIXELS, ActivationMethod, Factor
from detinv.attribution.methods.layers import chosen_layers
from detinv.detectors.base import AbstractDetector
from detinv.detectors.feature_layers import FeatureLayer, HeadName
from detinv.errors import ConfigError, DetectorError

# Maps that are smoothed or multiplied share a grid whose cells are no larger than this, in pixels of the canvas.
_GRID = 4
# A product of maps of which one is zero almost everywhere must not be zero itself there.
_FLOOR = 1e-3
# Bytes that the gradients of one backward pass may take, by the kind of device. What fits its cache is fastest.
_MEMORY = {"cpu": 64 * 2**20}
_ACCELERATOR_MEMORY = 2**30


@dataclass(frozen=True)
class Job:
    """One method that answers one question, by its place in the list of questions."""

    method: ActivationMethod
    question: int


@dataclass(frozen=True)
class CanvasMap:
    """The map of one object.

    Args:
        job: number of the job.
        object: number of the object.
        value: the scalar that was asked for.
        map: on the CPU.
        extent: (x0, y0, x1, y1) on the canvas.
        layer: names of what the map was made from.
    """

    job: int
    object: int
    value: float
    map: Float[Tensor, "rows columns"]
    extent: tuple[float, float, float, float]
    layer: str


def activation_maps(
    detector: AbstractDetector,
    image: UInt8[Tensor, "3 height width"],
    objects: ExplainedObjects,
    questions: Sequence[Question],
    jobs: Sequence[Job],
    memory: int | None = None,
) -> tuple[list[CanvasMap], ForwardPass]:
    """Return the maps of all objects for all jobs.

    Args:
        memory: bytes that the gradients of one chunk may take; what is fast on the device by default.

    Raises:
        ConfigError: for a layer that the detector does not have.
        DetectorError: for a question that it cannot be asked.
    """
    memory = _MEMORY.get(detector.device.type, _ACCELERATOR_MEMORY) if memory is None else memory
    head: HeadName = "roi" if _has_second_stage(detector) else "dense"
    factors = [job.method.factors() for job in jobs]
    choices = [chosen_layers(detector, [factor.layer for factor in mine], head) for mine in factors]
    layers = {layer.name: layer for choice in choices for alike in choice for layer in alike if layer is not None}
    with_pixels = any(layer is None for choice in choices for alike in choice for layer in alike)
    window = None if head == "roi" else detector.head_window()
    seen = detector.level_layers(head) if window is not None else ()
    captured = {**layers, **{layer.name: layer for layer in seen}}
    passed = run_forward(detector, image, objects, questions, captured.values(), with_pixels)
    values = passed.scalars(questions)
    tensors = {name: passed.features[name] for name in layers}
    if with_pixels:
        tensors[PIXELS] = passed.pixels
    levels = _levels(detector, passed, head)
    found: list[CanvasMap] = []
    seeds = [seeds_of(values.flatten())] if window is None else window_seeds(window, seen, passed, questions)
    for numbers, chunk in _chunks(seeds, list(tensors.values()), memory):
        by_layer = dict(zip(tensors, chunk, strict=True))
        for number, (job, choice) in enumerate(zip(jobs, choices, strict=True)):
            mine = (numbers % len(questions) == job.question).nonzero()[:, 0]
            if len(mine):
                who = numbers[mine] // len(questions)
                taken = {name: gradient[mine] for name, gradient in by_layer.items()}
                of_class = questions[job.question].of_class
                maps = _Maps(detector, passed, tensors, taken, who, levels, of_class)
                for index, (values_of, extent, layer) in enumerate(maps.of(factors[number], choice)):
                    row = int(who[index])
                    scalar = float(values[row, job.question].detach())
                    found.append(CanvasMap(number, row, scalar, values_of.cpu(), extent, layer))
    return found, passed


def _chunks(seeds: Iterable[Seeds], tensors: list[Tensor], memory: int) -> Iterator[tuple[Tensor, list[Tensor]]]:
    with warnings.catch_warnings():
        # Pooling of regions has no rule of its own for batches of gradients, and loops.
        warnings.filterwarnings("ignore", message="There is a performance drop")
        yield from gradients(seeds, tensors, memory)


def _has_second_stage(detector: AbstractDetector) -> bool:
    try:
        detector.level_layers("roi")
    except DetectorError:
        return False
    return True


def _levels(detector: AbstractDetector, passed: ForwardPass, head: HeadName) -> Int64[Tensor, " object"]:
    """Return the number of the level that each object was predicted from."""
    if (head == "roi") != (passed.predictions.roi is not None):
        raise DetectorError(f"{type(detector).__name__}: its second stage needs level_layers('roi'); declare them")
    levels = detector.row_levels(passed.predictions, head)[0]
    start = 0
    if passed.predictions.roi is not None:
        start = passed.predictions.roi.rois.shape[1] - passed.predictions.roi.given
    return levels[passed.rows.rows + start]


_Placed = tuple[Tensor, tuple[float, float, float, float], str]


@dataclass(frozen=True)
class _Maps:
    """Features and gradients of some scalars of one chunk, and the objects they belong to."""

    detector: AbstractDetector
    passed: ForwardPass
    features: dict[str, Tensor]
    gradients: dict[str, Tensor]
    objects: Int64[Tensor, " scalar"]
    levels: Int64[Tensor, " object"]
    of_class: bool

    def of(self, factors: list[Factor], choice: list[list[FeatureLayer | None]]) -> list[_Placed]:
        """Return the map of each scalar, where it lies on the canvas, and its layers."""
        method = factors[0].method
        regional = [layer for alike in choice for layer in alike if layer is not None and layer.per_region]
        if regional:
            if len(choice) > 1:
                raise ConfigError(f"layer {regional[0].name} is one of regions, and cannot be combined with others")
            return self._of_regions(method, regional[0])
        combined = len(factors) > 1 or method.smoothing > 0
        parts = [self._of_layer(factor.method, alike, combined) for factor, alike in zip(factors, choice, strict=True)]
        height, width = self.passed.frame.canvas_size
        extent = (0.0, 0.0, float(width), float(height))
        if not combined:
            return [(self._finished(method, one[None])[0], own, name) for one, own, name in parts[0]]
        found: list[_Placed] = []
        for scalar in range(len(self.objects)):
            layered = [part[scalar] for part in parts]
            if len(factors) == 1:
                product = self._finished(method, layered[0][0])
            else:
                product = _product(torch.stack([one for one, _, _ in layered]), [factor.power for factor in factors])
            found.append((product, extent, " x ".join(dict.fromkeys(name for _, _, name in layered))))
        return found

    def _raw(self, method: ActivationMethod, features: Tensor, gradients: Tensor, boxes: Tensor) -> Tensor:
        """Return the method's maps; where an object is, evidence counts that moves the answer in either direction.

        Source: Cao & Johnson, section 4.3; what speaks for a larger delta and for a smaller one is added.
        """
        found = method.layer_map(features, gradients, boxes)
        if self.of_class or method.signed:
            return found
        return found.clamp(min=0) + method.layer_map(features, -gradients, boxes).clamp(min=0)

    def _finished(self, method: ActivationMethod, maps: Tensor) -> Tensor:
        return maps if method.signed else maps.clamp(min=0)

    def _of_layer(self, method: ActivationMethod, alike: list[FeatureLayer | None], combined: bool) -> list[_Placed]:
        """Return the map of each scalar at its layer; on the common grid, and smoothed, if it is to be combined."""
        names = [PIXELS if layer is None else layer.name for layer in alike]
        numbers = self.levels[self.objects] if len(alike) > 1 else torch.zeros_like(self.objects)
        found: dict[int, _Placed] = {}
        for number, (name, layer) in enumerate(zip(names, alike, strict=True)):
            mine = (numbers == number).nonzero()[:, 0]
            if not len(mine):
                continue
            features, gradients = self._grids(layer, name, mine)
            cells = (features.shape[2], features.shape[3])
            extent = cells_extent(None if layer is None else layer.stride, cells, self.passed.frame.canvas_size)
            maps = self._raw(method, features, gradients, self._boxes(self.objects[mine], cells, extent))
            if combined:
                maps = self._on_grid(maps, extent, method.smoothing)
            found.update({int(one): (found_map, extent, name) for one, found_map in zip(mine, maps, strict=True)})
        return [found[scalar] for scalar in range(len(self.objects))]

    def _grids(self, layer: FeatureLayer | None, name: str, mine: Tensor) -> tuple[Tensor, Tensor]:
        features, gradients = self.features[name].detach(), self.gradients[name][mine][:, 0]
        if layer is None:
            return features - self.detector.pixel_mean[:, None, None], gradients
        if layer.tokens:
            assert layer.stride is not None
            rows, columns = (math.ceil(side / layer.stride) for side in self.passed.frame.canvas_size)
            if features.shape[1] != rows * columns:
                raise ConfigError(f"layer {name}: its tokens are no grid; choose another layer")
            features = features.transpose(1, 2).unflatten(2, (rows, columns))
            gradients = gradients.transpose(1, 2).unflatten(2, (rows, columns))
        return features, gradients

    def _on_grid(self, maps: Tensor, extent: tuple[float, float, float, float], smoothing: float) -> Tensor:
        height, width = self.passed.frame.canvas_size
        part = (0.0, 0.0, width / extent[2], height / extent[3])
        cell = min(_GRID, extent[3] / maps.shape[1])
        grid = (round(height / cell), round(width / cell))
        if extent[3] / maps.shape[1] > _GRID or grid != tuple(maps.shape[1:]) or part != (0.0, 0.0, 1.0, 1.0):
            maps = resampled(maps, part, grid)
        maps = smoothed(maps, smoothing / cell)
        common = (-(-height // 2), -(-width // 2))
        return resampled(maps, (0.0, 0.0, 1.0, 1.0), common)

    def _boxes(
        self, objects: Tensor, cells: tuple[int, int], extent: tuple[float, float, float, float]
    ) -> Float[Tensor, "scalar rows columns"]:
        assert self.passed.rows.boxes is not None
        x0, y0, x1, y1 = (edge[:, None] for edge in self.passed.rows.boxes[objects].unbind(-1))
        xs = (torch.arange(cells[1], device=x0.device) + 0.5) * (extent[2] / cells[1])
        ys = (torch.arange(cells[0], device=x0.device) + 0.5) * (extent[3] / cells[0])
        return (((ys >= y0) & (ys <= y1))[:, :, None] & ((xs >= x0) & (xs <= x1))[:, None, :]).float()

    def _of_regions(self, method: ActivationMethod, layer: FeatureLayer) -> list[_Placed]:
        """Return maps inside the objects' own regions."""
        roi = self.passed.predictions.roi
        assert roi is not None
        rows = self.objects + roi.rois.shape[1] - roi.given
        features = self.features[layer.name].detach()[rows]
        gradients = self.gradients[layer.name][torch.arange(len(rows), device=rows.device), rows]
        if features.ndim != 4:
            raise ConfigError(f"layer {layer.name}: has no places; choose another layer")
        maps = self._finished(method, self._raw(method, features, gradients, torch.ones_like(features[:, 0])))
        found: list[_Placed] = []
        for one, region in zip(maps, roi.rois[0, rows].tolist(), strict=True):
            x0, y0, x1, y1 = region
            found.append((one, (x0, y0, x1, y1), layer.name))
        return found


def _product(maps: Float[Tensor, "factor rows columns"], powers: Sequence[float]) -> Float[Tensor, "rows columns"]:
    """Multiply maps, each scaled to a mean of 1 before it is raised to its power; the result has that mean, too.

    Where all of them are zero everywhere, so is the product.
    """
    positive = maps.clamp(min=0)
    if not bool(positive.any()):
        return positive[0]
    scaled = positive / positive.mean((1, 2), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)
    logarithm = ((scaled + _FLOOR).log() * maps.new_tensor(list(powers))[:, None, None]).sum(0)
    product = (logarithm - logarithm.max()).exp()
    return product / product.mean()
