"""What happens to the pixels after each optimiser step."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from detinv.inputs.ranges import check_range
from detinv.inversion.pixels.pixels import AbstractPixels


@runtime_checkable
class PixelUpdate(Protocol):
    """Changes the pixels in place after step number `step` (0, 1, ...)."""

    def __call__(self, pixels: AbstractPixels, step: int) -> None: ...


@dataclass(frozen=True)
class Clamp:
    """Back into [0, 1], after every step."""

    def __call__(self, pixels: AbstractPixels, step: int) -> None:
        pixels.clamp_()


@dataclass(frozen=True)
class LimitContrast:
    """At most the contrast of the detector's training images, after every step.

    Steps of one size for the whole image go on for as long as there are any, and the contrast grows with them, whether
    or not the detector has ever seen as much.
    """

    def __call__(self, pixels: AbstractPixels, step: int) -> None:
        pixels.limit_contrast_()


@dataclass(frozen=True)
class PeriodicBlur:
    """Gaussian blur after steps 0, every, 2 every, ..., weaker each time.

    Args:
        every: steps between two blurs.
        start: sigma in pixels before the first decay; the first blur already is one decay weaker.
        decay: factor from blur to blur.
        end: sigma is never below it.
        until: steps from here on are not blurred; null for no end.

    Source: paper, section 4, after Yosinski et al. 2015; numbers from the published configurations.
    """

    every: int = 5
    start: float = 5.0
    decay: float = 0.985
    end: float = 0.5
    until: int | None = None

    def __post_init__(self) -> None:
        check_range(self, "every", least=1)
        check_range(self, "start end", above=True)
        check_range(self, "decay until")

    def sigma(self, step: int) -> float:
        """Of the blur after `step`, which must be a multiple of `every`."""
        return max(self.start * self.decay ** (step // self.every + 1), self.end)

    def __call__(self, pixels: AbstractPixels, step: int) -> None:
        if step % self.every == 0 and (self.until is None or step < self.until):
            pixels.blur_(self.sigma(step))
