"""How a step runs a detector so that an image's numbers do not depend on its batch; on the CPU, to the last bit.

On the CPU, libraries choose kernels and the order of sums by the size of the batch, and divide the work among threads.
Three rules keep an image's numbers independent of the others:
- each thread gets whole images: small ones are shared among threads of Python, which run copies of the network that use
  the same code for one image as for several; a detector that runs unchanged gets a batch padded to a multiple of the
  number of threads; a large image, which keeps all threads busy, is run alone, and so is every image where there is one
  thread or the detector says that it `depends_on_batch`;
- everything except the network runs on one thread;
- the last image is followed by a padding row, a copy of it, because the last few numbers of a tensor, which do not fill
  a vector register, may be computed by other instructions.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from detinv.detectors.acceleration.accelerate import accelerated, sharing_copy
from detinv.detectors.acceleration.compile import forget_other_rounding, many_shapes
from detinv.detectors.acceleration.same_kernels import keep_kernels
from detinv.detectors.base import AbstractDetector
from detinv.detectors.canvas import whole_canvas
from detinv.detectors.heads.predictions import Predictions
from detinv.detectors.regions import Regions
from detinv.inversion.modules.workers import cpu_threads, run_together
from detinv.inversion.resume.fingerprint import detector_hash
from detinv.runtime.processes import processes_here
from detinv.types import Pixels

T = TypeVar("T")

# By detector: the copies that steps run, with the detector's hash, its device and the compile mode they were made for.
# Copies share their weights. The first runs images alone, the others are for threads of Python that share a batch;
# there are none of a detector that runs unchanged.
_Copies = tuple[tuple[str, torch.device, str | None], list[AbstractDetector]]
_COPIES: WeakKeyDictionary[AbstractDetector, _Copies] = WeakKeyDictionary()
# Threads of Python that share a batch; with more, they would wait for Python's lock. Each has its part of torch's.
_MOST_WORKERS = 4
# From this many pixels on, one image keeps all threads busy.
_LARGE = 256 * 256
# No processor's vector instructions process more numbers than this at once, unrolled or not.
_REGISTERS = 64


class Network(nn.Module):
    """Computes the raw predictions of a frozen detector for the steps of an inversion.

    Args:
        detector: frozen.

    Attributes:
        runs: the network that is run: the detector, or after `prepare` a copy that gives the same with less work.
        threads: CPU threads that the network uses; the last bits of its results may depend on their number.
        compile_mode: see `compile_parts`; None compiles nothing.
    """

    def __init__(self, detector: AbstractDetector) -> None:
        super().__init__()
        self.detector = self.runs = detector
        self.threads = torch.get_num_threads()
        self.compile_mode: str | None = None
        # Not modules of this one: they share the weights of `runs`.
        self._crew: tuple[AbstractDetector, ...] = ()

    def prepare(self) -> None:
        """Switch to an accelerated copy of the detector, made for the device where it is now."""
        if self.compile_mode is not None:
            forget_other_rounding()
        device = self.detector.device
        made_of = (detector_hash(self.detector), device, self.compile_mode)
        if self.detector not in _COPIES or _COPIES[self.detector][0] != made_of:
            copy = accelerated(self.detector, self.compile_mode)
            # The table must not keep alive a detector that runs unchanged.
            _COPIES[self.detector] = (made_of, [] if copy is self.detector else [copy])
        copies = _COPIES[self.detector][1]
        if not copies:
            self.runs, self._crew = self.detector, ()
            return
        # Processes on one machine share its cores; how many threads share a batch does not change an image.
        workers = max(1, min(self.threads, _MOST_WORKERS) // processes_here())
        if device.type != "cpu" or self.threads == 1 or self.compile_mode is not None:
            workers = 0
        for _ in range(1 + workers - len(copies)):
            copies.append(sharing_copy(copies[0]))
            keep_kernels(copies[-1])
        # An earlier user of the copies may have left them on another device.
        self.runs, *crew = (copy.to(device) for copy in copies[: 1 + workers])
        self._crew = tuple(crew)

    def forward(
        self,
        pixels: Pixels,
        image_sizes: Sequence[tuple[int, int]] | None = None,
        regions: Regions | None = None,
    ) -> Predictions:
        """Predict as `AbstractDetector.forward` does; on the CPU followed by `padding_rows` copies of the last row."""
        image_sizes = whole_canvas(pixels) if image_sizes is None else image_sizes
        regions = Regions.none(pixels) if regions is None else regions
        with ExitStack() as stack:
            if self.compile_mode is not None:
                stack.enter_context(many_shapes())
            return self._predict(pixels, image_sizes, regions)

    def _predict(self, pixels: Pixels, image_sizes: Sequence[tuple[int, int]], regions: Regions) -> Predictions:
        if pixels.device.type != "cpu":
            return self.runs(pixels, image_sizes, regions)

        def predict(network: AbstractDetector, images: Pixels, rows: Sequence[int]) -> Predictions:
            return network(images, [image_sizes[row] for row in rows], regions.rows(rows))

        networks, parts, threads = self._shared_out(len(pixels), pixels.shape[-2] * pixels.shape[-1] >= _LARGE)
        predicts = [partial(predict, network) for network in networks]
        found: list[Predictions] = []
        outputs = _Apart.apply(pixels, predicts, parts, threads, found)
        return _with(found[0], dict(zip(_tensors(found[0]), outputs, strict=True)))

    def _shared_out(self, count: int, large: bool) -> tuple[Sequence[AbstractDetector], list[list[int]], int]:
        """Networks that run at a time, row numbers of the images of each, and threads of torch for each.

        Each network runs any number of parts, one after the other. Padding repeats the last image.
        """
        alone = self.detector.depends_on_batch
        if self.threads == 1 or large or (alone and not self._crew):
            return [self.runs], [[row] for row in range(count)], self.threads
        if not self._crew:
            return [self.runs], [_padded(range(count), count, self.threads)], self.threads
        share = 1 if alone else -(-count // len(self._crew))
        threads = min(self.threads // min(self.threads, _MOST_WORKERS), share)
        share = -(-share // threads) * threads
        starts = range(0, count, share)
        parts = [_padded(range(start, min(start + share, count)), count, threads) for start in starts]
        return self._crew[: len(parts)], parts, threads


def _padded(rows: range, count: int, threads: int) -> list[int]:
    """Row numbers up to a multiple of `threads`; the last of all `count` is repeated."""
    length = -(-len(rows) // threads) * threads
    return [min(row, count - 1) for row in range(rows.start, rows.start + length)]


def padding_rows(device: torch.device) -> int:
    """Count the copies of the last image at the end of a network's predictions, and of the layouts for them."""
    return 1 if device.type == "cpu" else 0


class _Apart(torch.autograd.Function):
    """Gives every tensor of the predictions; each part is computed and differentiated by itself.

    Where there are several ways to predict, all of them are used at the same time.
    """

    @staticmethod
    def forward(
        ctx: Any,
        pixels: Tensor,
        predicts: Sequence[Callable[[Pixels, Sequence[int]], Predictions]],
        parts: list[list[int]],
        threads: int,
        found: list[Predictions],
    ) -> tuple[Tensor, ...]:
        records = pixels.requires_grad

        def run(number: int, rows: list[int]) -> tuple[int, int, Tensor, Predictions]:
            begin, own = rows[0], len(set(rows))
            images = pixels[begin : begin + own]
            if len(rows) > own:
                images = torch.cat([images, images[-1:].expand(len(rows) - own, -1, -1, -1)])
            with torch.set_grad_enabled(records):
                images = images.detach().requires_grad_(records)
                return begin, own, images, predicts[number % len(predicts)](images, rows)

        ctx.threads, ctx.at_once, ctx.parts = threads, len(predicts), []
        columns: list[list[Tensor]] = []
        tasks = [partial(run, number, rows) for number, rows in enumerate(parts)]
        for begin, own, images, predictions in _run(tasks, threads, ctx.at_once):
            tensors = list(_tensors(predictions).values())
            ctx.parts.append((begin, own, images, tensors))
            columns.append([tensor.detach()[:own] for tensor in tensors])
            found.append(predictions)
        stacked = tuple(_stacked(pieces) for pieces in zip(*columns, strict=True))
        constant = [one for one, tensor in zip(stacked, ctx.parts[0][3], strict=True) if not tensor.requires_grad]
        ctx.mark_non_differentiable(*constant)
        return stacked

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        def differentiate(begin: int, own: int, images: Tensor, tensors: list[Tensor]) -> Tensor:
            outputs = [tensor for tensor in tensors if tensor.requires_grad]
            weights = [
                _filled_up(gradient[begin : begin + own], len(tensor))
                for gradient, tensor in zip(gradients, tensors, strict=True)
                if tensor.requires_grad
            ]
            return torch.autograd.grad(outputs, images, weights)[0][:own]

        tasks = [partial(differentiate, *part) for part in ctx.parts]
        result = torch.cat(_run(tasks, ctx.threads, ctx.at_once))
        # As large as all activations, and of no further use.
        ctx.parts = []
        return result, None, None, None, None


def _run(tasks: Sequence[Callable[[], T]], threads: int, at_once: int) -> list[T]:
    """Run `at_once` tasks at the same time, and return all results in order; task number n follows n - `at_once`."""

    def run_in_turn(first: int) -> list[T]:
        return [task() for task in tasks[first::at_once]]

    if at_once == 1:
        with cpu_threads(threads):
            return run_in_turn(0)
    groups = run_together([partial(run_in_turn, first) for first in range(at_once)], threads)
    return [groups[number % at_once][number // at_once] for number in range(len(tasks))]


def _stacked(pieces: Sequence[Tensor]) -> Tensor:
    """All images followed by a padding row; the result must not be written to."""
    first = pieces[0]
    if len(pieces) == len(first) == 1 and first.numel() % _REGISTERS == 0:
        # Such an image fills whole registers, so it needs no padding; a copy would be the most expensive here.
        return first.expand(2, *first.shape[1:])
    return torch.cat([*pieces, pieces[-1][-1:]])


def _filled_up(gradient: Tensor, count: int) -> Tensor:
    """`gradient` with zeros for the padding of a part."""
    if len(gradient) == count:
        return gradient
    return torch.cat([gradient, gradient.new_zeros(count - len(gradient), *gradient.shape[1:])])


def _tensors(node: Any, prefix: str = "") -> dict[str, Tensor]:
    """The tensors with a row for each image, by the path of their fields; a head's constants are not among them."""
    found: dict[str, Tensor] = {}
    for field in fields(node):
        value = getattr(node, field.name)
        if isinstance(value, Tensor):
            found[prefix + field.name] = value
        elif field.name in ("dense", "roi", "encoder") and is_dataclass(value):
            found |= _tensors(value, f"{prefix}{field.name}.")
    return found


def _with(node: Any, tensors: dict[str, Tensor]) -> Any:
    """`node` with other tensors in the places named by `_tensors`."""
    own = {path: value for path, value in tensors.items() if "." not in path}
    heads = {path.partition(".")[0] for path in tensors if "." in path}
    below = {
        head: _with(
            getattr(node, head),
            {path.partition(".")[2]: value for path, value in tensors.items() if path.startswith(f"{head}.")},
        )
        for head in heads
    }
    return replace(node, **own, **below)
