"""How a step runs a detector so that an image's numbers do not depend on its batch; on the CPU, to the last bit.

On the CPU, libraries choose kernels and the order of sums by the size of the batch, and divide the work among threads.
Three rules keep an image's numbers independent of the others:
- a batch is padded to a multiple of the number of threads, so that each thread gets whole images; a large image, which
  keeps all threads busy, is run alone, and so is every image where there is one thread;
- everything except the network runs on one thread;
- the last image is followed by a padding row, a copy of it, because the last few numbers of a tensor, which do not fill
  a vector register, may be computed by other instructions.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from detinv.detectors.acceleration.accelerate import accelerated
from detinv.detectors.acceleration.compile import many_shapes
from detinv.detectors.base import AbstractDetector
from detinv.detectors.canvas import whole_canvas
from detinv.detectors.heads.predictions import Predictions
from detinv.detectors.regions import Regions
from detinv.inversion.resume.fingerprint import detector_hash
from detinv.types import Pixels

# By detector: the copy that steps run, with the detector's hash, its device and the compile mode it was made for.
_Copy = tuple[tuple[str, torch.device, str | None], AbstractDetector | None]
_COPIES: WeakKeyDictionary[AbstractDetector, _Copy] = WeakKeyDictionary()
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

    def prepare(self) -> None:
        """Switch to an accelerated copy of the detector, made for the device where it is now."""
        made_of = (detector_hash(self.detector), self.detector.device, self.compile_mode)
        if self.detector not in _COPIES or _COPIES[self.detector][0] != made_of:
            copy = accelerated(self.detector, self.compile_mode)
            # The table must not keep alive a detector that runs unchanged.
            _COPIES[self.detector] = (made_of, None if copy is self.detector else copy)
        # An earlier user of the copy may have left it on another device.
        self.runs = (_COPIES[self.detector][1] or self.detector).to(made_of[1])

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

        def predict(images: Pixels, rows: Sequence[int]) -> Predictions:
            return self.runs(images, [image_sizes[row] for row in rows], regions.rows(rows))

        alone = self.threads == 1 or pixels.shape[-2] * pixels.shape[-1] >= _LARGE
        parts = _parts(len(pixels), self.threads, alone)
        found: list[Predictions] = []
        outputs = _Apart.apply(pixels, predict, parts, self.threads, found)
        return _with(found[0], dict(zip(_tensors(found[0]), outputs, strict=True)))


def padding_rows(device: torch.device) -> int:
    """Count the copies of the last image at the end of a network's predictions, and of the layouts for them."""
    return 1 if device.type == "cpu" else 0


def _parts(count: int, threads: int, alone: bool) -> list[list[int]]:
    """Row numbers of the images that are run together; padding repeats the last image."""
    if alone:
        return [[row] for row in range(count)]
    return [[min(row, count - 1) for row in range(-(-count // threads) * threads)]]


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Divide every CPU operation among `count` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Apart(torch.autograd.Function):
    """Gives every tensor of the predictions; each part is computed and differentiated by itself, on all threads."""

    @staticmethod
    def forward(
        ctx: Any,
        pixels: Tensor,
        predict: Callable[[Pixels, Sequence[int]], Predictions],
        parts: list[list[int]],
        threads: int,
        found: list[Predictions],
    ) -> tuple[Tensor, ...]:
        ctx.shape, ctx.threads, ctx.parts = pixels.shape, threads, []
        columns: list[list[Tensor]] = []
        for rows in parts:
            begin, own = rows[0], len(set(rows))
            images = pixels[begin : begin + own]
            if len(rows) > own:
                images = torch.cat([images, images[-1:].expand(len(rows) - own, -1, -1, -1)])
            with torch.set_grad_enabled(pixels.requires_grad), cpu_threads(threads):
                images = images.detach().requires_grad_(pixels.requires_grad)
                predictions = predict(images, rows)
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
        result = gradients[0].new_zeros(ctx.shape)
        for begin, own, images, tensors in ctx.parts:
            outputs = [tensor for tensor in tensors if tensor.requires_grad]
            weights = [
                _filled_up(gradient[begin : begin + own], len(tensor))
                for gradient, tensor in zip(gradients, tensors, strict=True)
                if tensor.requires_grad
            ]
            with cpu_threads(ctx.threads):
                result[begin : begin + own] = torch.autograd.grad(outputs, images, weights)[0][:own]
        # As large as all activations, and of no further use.
        ctx.parts = []
        return result, None, None, None, None


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
