"""How a step runs a detector so that an image's numbers depend on no other image, on the CPU to the last bit.

On the CPU libraries choose kernels, and the order of sums, by the size of the batch, and share out the work among
threads. Three rules make an image's numbers its own:
- a batch is filled up to a multiple of the number of threads, so that each thread has whole images; a large image,
  which keeps all threads busy, is run alone, and so is every image where there is one thread;
- whatever is computed besides the network takes one thread;
- the last image has a copy behind it, because the last few numbers of a tensor, which fill no vector register, may be
  computed by other instructions.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from detinv.detectors.acceleration.accelerate import accelerated
from detinv.detectors.base import AbstractDetector
from detinv.detectors.canvas import whole_canvas
from detinv.detectors.heads.predictions import Predictions
from detinv.detectors.regions import Regions
from detinv.types import Pixels
from detinv.zoo.weights import weight_hash

# By detector: the copy of it that steps run, and the weights, the device and the mode that it was made for.
_Copy = tuple[tuple[str, torch.device, str | None], AbstractDetector | None]
_COPIES: WeakKeyDictionary[AbstractDetector, _Copy] = WeakKeyDictionary()
# From this many pixels on, one image keeps all threads busy.
_LARGE = 256 * 256
# No processor's vector instructions take more numbers than this at once, unrolled or not.
_REGISTERS = 64


class Network(nn.Module):
    """The raw predictions of a frozen detector, as steps need them.

    Args:
        detector: frozen.

    Attributes:
        runs: what looks at the images: the detector, or once prepared a copy that gives the same with less work.
        threads: of the CPU; the last bits may depend on how many there are.
        compile_mode: see `compile_parts`; None compiles nothing.
    """

    def __init__(self, detector: AbstractDetector) -> None:
        super().__init__()
        self.detector = self.runs = detector
        self.threads = torch.get_num_threads()
        self.compile_mode: str | None = None

    def prepare(self) -> None:
        """Take the less laborious copy of the detector, for the device where it is now."""
        made_of = (weight_hash(self.detector), self.detector.device, self.compile_mode)
        if self.detector not in _COPIES or _COPIES[self.detector][0] != made_of:
            copy = accelerated(self.detector, self.compile_mode)
            # A detector that runs as it is must not be kept alive by itself.
            _COPIES[self.detector] = (made_of, None if copy is self.detector else copy)
        # Whoever used the copy before may have left it elsewhere.
        self.runs = (_COPIES[self.detector][1] or self.detector).to(made_of[1])

    def forward(
        self,
        pixels: Pixels,
        image_sizes: Sequence[tuple[int, int]] | None = None,
        regions: Regions | None = None,
    ) -> Predictions:
        """See `AbstractDetector.forward`; on the CPU the last image's predictions are there twice: see `echoes`."""
        image_sizes = whole_canvas(pixels) if image_sizes is None else image_sizes
        regions = Regions.none(pixels) if regions is None else regions
        if pixels.device.type != "cpu":
            return self.runs(pixels, image_sizes, regions)

        def look(images: Pixels, rows: Sequence[int]) -> Predictions:
            return self.runs(images, [image_sizes[row] for row in rows], regions.rows(rows))

        alone = self.threads == 1 or pixels.shape[-2] * pixels.shape[-1] >= _LARGE
        parts = _parts(len(pixels), self.threads, alone)
        found: list[Predictions] = []
        outputs = _Apart.apply(pixels, look, parts, self.threads, found)
        return _with(found[0], dict(zip(_tensors(found[0]), outputs, strict=True)))


def echoes(device: torch.device) -> int:
    """How many copies of the last image a network's predictions, and the layouts compared with them, have behind it."""
    return 1 if device.type == "cpu" else 0


def _parts(count: int, threads: int, alone: bool) -> list[list[int]]:
    """Images that are run together; those that only fill up repeat the last one."""
    if alone:
        return [[row] for row in range(count)]
    return [[min(row, count - 1) for row in range(-(-count // threads) * threads)]]


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Every operation is shared among so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Apart(torch.autograd.Function):
    """Every tensor of the predictions; each part is computed, and differentiated, by itself and by all threads."""

    @staticmethod
    def forward(
        ctx: Any,
        pixels: Tensor,
        look: Callable[[Pixels, Sequence[int]], Predictions],
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
                predictions = look(images, rows)
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
        # Kept for this gradient alone, and as large as all activations.
        ctx.parts = []
        return result, None, None, None, None


def _stacked(pieces: Sequence[Tensor]) -> Tensor:
    """All images, and the last one once more; what comes of it must not be written to."""
    first = pieces[0]
    if len(pieces) == len(first) == 1 and first.numel() % _REGISTERS == 0:
        # The most there is to copy, and the least need of it: every number of such an image fills a register.
        return first.expand(2, *first.shape[1:])
    return torch.cat([*pieces, pieces[-1][-1:]])


def _filled_up(gradient: Tensor, count: int) -> Tensor:
    """`gradient` with zeros for images that only filled up a part."""
    if len(gradient) == count:
        return gradient
    return torch.cat([gradient, gradient.new_zeros(count - len(gradient), *gradient.shape[1:])])


def _tensors(node: Any, prefix: str = "") -> dict[str, Tensor]:
    """The tensors that count images, by the path of their fields; the constants of a head are not among them."""
    found: dict[str, Tensor] = {}
    for field in fields(node):
        value = getattr(node, field.name)
        if isinstance(value, Tensor):
            found[prefix + field.name] = value
        elif field.name in ("dense", "roi", "encoder") and is_dataclass(value):
            found |= _tensors(value, f"{prefix}{field.name}.")
    return found


def _with(node: Any, tensors: dict[str, Tensor]) -> Any:
    """`node` with other tensors in the places that `_tensors` names."""
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
