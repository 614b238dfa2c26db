"""Running a batch in lanes, parts that know nothing of each other: the whole batch at once, or image by image.

On the CPU libraries choose kernels, and the order of sums, by the size of the batch and the number of threads, and
round accordingly. In a lane of its own an image's numbers depend on nothing but itself, to the last bit. It costs
nothing: several small images side by side are faster than a batch whose every layer is shared among the threads.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from detinv.inversion.losses import Terms
from detinv.types import Pixels

Look = Callable[[Pixels, int], Terms]
"""From the images of a lane and its number to loss terms, one value for each of its images."""

# From this many pixels on, one image keeps all threads busy; below, each thread takes an image of its own.
_LARGE = 256 * 256


@dataclass(frozen=True)
class Lanes:
    """How many threads there are, and for what.

    Args:
        threads: that a large image is shared among. Its last bits may depend on it.
        workers: small images at once. Nothing depends on it.
    """

    threads: int
    workers: int

    @classmethod
    def of_process(cls, processes: int = 1) -> "Lanes":
        """All threads of this process, of which there are several on the machine."""
        threads = torch.get_num_threads()
        return cls(threads, max(threads // processes, 1))

    def terms(self, images: Pixels, look: Look) -> Terms:
        """Loss terms of a batch, one value per image, each image in a lane of its own.

        Args:
            images: on the CPU; the terms have a gradient to them, once.
            look: called in several threads.
        """
        names: list[str] = []
        values = _EachAlone.apply(images, look, self._run(images), names)
        return dict(zip(names, values, strict=True))

    def _run(self, images: Pixels) -> "Run":
        if images.shape[-2] * images.shape[-1] < _LARGE:
            return lambda action, count: list(_pool(self.workers).map(action, range(count)))

        def in_turn(action: Callable[[int], Any], count: int) -> list[Any]:
            with cpu_threads(self.threads):
                return [action(number) for number in range(count)]

        return in_turn


Run = Callable[[Callable[[int], Any], int], list[Any]]


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Every operation is shared among so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    # Each thread knows for itself how many threads its operations are shared among.
    return ThreadPoolExecutor(workers, "detinv", initializer=torch.set_num_threads, initargs=(1,))


class _EachAlone(torch.autograd.Function):
    """Terms of all images, each computed, and differentiated, alone."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, look: Look, run: Run, names: list[str]) -> tuple[Tensor, ...]:
        kind = images.device.type
        mixed, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
        wanted = images.requires_grad

        def one(number: int) -> tuple[Tensor, Terms]:
            # Gradient and precision, too, are matters of each thread.
            with torch.set_grad_enabled(wanted), torch.autocast(kind, dtype, enabled=mixed):
                image = images[number : number + 1].detach().requires_grad_(wanted)
                return image, look(image, number)

        results = run(one, len(images))
        names.extend(results[0][1])
        ctx.run = run
        ctx.images = [image for image, _ in results]
        ctx.terms = [[terms[name] for name in names] for _, terms in results]
        return tuple(torch.cat([values[k].detach() for values in ctx.terms]) for k in range(len(names)))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        def one(number: int) -> Tensor:
            weights = [gradient[number : number + 1] for gradient in gradients]
            return torch.autograd.grad(ctx.terms[number], ctx.images[number], weights)[0]

        found = torch.cat(ctx.run(one, len(ctx.images)))
        # What the lanes keep for their gradients is as large as all activations.
        del ctx.images, ctx.terms
        return found, None, None, None
