"""Tries an adapter: does it keep the contract of `AbstractDetector`, so that inversions through it mean anything?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.checks.images import random_image
from detinv.detectors.base import AbstractDetector
from detinv.detectors.canvas import on_canvas
from detinv.detectors.heads.postprocess import postprocess
from detinv.detectors.heads.predictions import Predictions
from detinv.detectors.locate import BOX_TOLERANCE, SCORE_TOLERANCE
from detinv.detectors.regions import Regions
from detinv.errors import DetinvError
from detinv.inversion.callbacks.pseudo_targets import PseudoTargets
from detinv.inversion.preset import Preset
from detinv.inversion.run import invert
from detinv.inversion.targets.base import Targets
from detinv.inversion.targets.matching import HungarianRule
from detinv.inversion.targets.paper import PaperRule
from detinv.inversion.targets.substitute import substitute
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Detections, Layout
from detinv.layouts.random import random_layout
from detinv.zoo.weights import weight_hash

_BATCH_TOLERANCE, _BF16_TOLERANCE = 1e-3, 0.1
_MANY = 8
# A maximum over few channels leaves one pixel in a hundred untouched; in another image, other ones.
_GRADIENT_IMAGES = 8


@dataclass(frozen=True)
class Verdict:
    """One line of the table.

    Args:
        claim: what shall hold.
        holds: whether it does; None when nothing could be shown.
        measured: the figures behind it.
    """

    claim: str
    holds: bool | None
    measured: str


def check_adapter(
    detector: AbstractDetector,
    preset: Preset,
    image_sizes: Sequence[tuple[int, int]] = ((480, 640), (640, 480), (500, 500)),
    *,
    steps: int = 20,
    seed: int = 0,
    images: Sequence[UInt8[Tensor, "3 _ _"]] = (),
) -> list[Verdict]:
    """All verdicts, in the order in which one would mend what does not hold.

    Args:
        detector: on the device to be tried.
        preset: of the short inversions.
        image_sizes: (height, width) of images as they would come from a camera; tried at the size the detector
            resizes them to.
        steps: of the short inversions. Their images serve as input, too: they surely contain something to detect.
        seed: of layouts and images.
        images: further input, such as photographs; resized to the detector's own size if need be.
    """
    trial = AdapterTrial(detector, preset, image_sizes, steps, seed, images)
    claims: list[tuple[str, Callable[[], tuple[bool | None, str]]]] = [
        ("frozen, in evaluation mode", trial.frozen),
        ("network_size settles", trial.settles),
        ("gradient reaches every pixel", trial.gradient),
        ("a batch equals single images", trial.batch),
        ("empty layout, one object, many objects", trial.inverts),
        ("raw predictions, post-processed, are its inference", trial.inference),
        ("pseudo-targets give the layout", trial.targets),
        ("bfloat16 is close to float32", trial.bfloat16),
        ("weights untouched", trial.weights),
        ("no hook left behind", trial.hooks),
    ]
    verdicts = []
    for claim, proof in claims:
        try:
            holds, measured = proof()
        except (DetinvError, ValueError, TypeError, RuntimeError, IndexError, AssertionError) as error:
            # What an adapter does wrong is a verdict, not the end of the others.
            holds, measured = False, f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        verdicts.append(Verdict(claim, holds, measured))
    return verdicts


class AdapterTrial:
    """One adapter on trial; each public method is the proof of one claim, and returns whether it holds and the figures.

    Args:
        detector, preset, image_sizes, steps, seed, images: see `check_adapter`.
    """

    def __init__(
        self,
        detector: AbstractDetector,
        preset: Preset,
        image_sizes: Sequence[tuple[int, int]],
        steps: int,
        seed: int,
        images: Sequence[Tensor],
    ) -> None:
        self.detector = detector
        self.preset = preset
        self.steps = steps
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)
        self.sizes = [detector.network_size(size) for size in image_sizes]
        self.images = [_resized(image, detector) for image in images]
        self.images += [random_image(size, self.generator) for size in self.sizes]
        self._hash, self._hooks = weight_hash(detector), _count_hooks(detector)

    def frozen(self) -> tuple[bool, str]:
        """No parameter asks for a gradient, no module is in training mode."""
        trained = [name for name, value in self.detector.named_parameters() if value.requires_grad]
        training = [name for name, module in self.detector.named_modules() if module.training]
        count = sum(value.numel() for value in self.detector.parameters())
        if trained or training:
            return False, f"call freeze(): {', '.join([*trained, *training][:3])}"
        return True, f"{count:,} parameters"

    def settles(self) -> tuple[bool, str]:
        """Applied to its own result, network_size changes nothing."""
        again = [self.detector.network_size(size) for size in self.sizes]
        return again == self.sizes, ", ".join(f"{width} x {height}" for height, width in self.sizes)

    def gradient(self) -> tuple[bool, str]:
        """Of a random combination of all outputs, to all pixels: each in some image, where a maximum may choose."""
        size = self.sizes[0]
        missed = torch.ones(size, dtype=torch.bool, device=self.detector.device)
        finite, tried = True, 0
        while finite and missed.any() and tried < _GRADIENT_IMAGES:
            pixels, layouts = self._input([random_image(size, self.generator)], [self._layout(size, 1)])
            pixels.requires_grad_()
            outputs = self._predict(pixels, layouts).outputs()
            total = torch.stack([(output * _noise_like(output, self.generator)).sum() for output in outputs]).sum()
            (gradient,) = torch.autograd.grad(total, pixels)
            inside = gradient[0, :, : size[0], : size[1]]
            missed &= inside.abs().amax(0) == 0
            finite, tried = bool(torch.isfinite(inside).all()), tried + 1
        count = int(missed.sum())
        measured = f"{count} of {missed.numel():,} pixels without, {len(outputs)} outputs, {tried} images"
        return finite and not count, measured if finite else f"{measured}; a gradient is not finite"

    def batch(self) -> tuple[bool, str]:
        """Outputs of two images together and alone, and no gradient from one to the other."""
        size = self.sizes[0]
        chosen = [random_image(size, self.generator) for _ in range(2)]
        layouts = [self._layout(size, count) for count in (2, 1)]
        pixels, batch = self._input(chosen, layouts)
        pixels.requires_grad_()
        together = self._comparable(self._predict(pixels, batch))
        (gradient,) = torch.autograd.grad(together[0][0].sum(), pixels)
        worst = 0.0
        for number in range(2):
            slots = batch.boxes.shape[1]
            alone = self._comparable(self._predict(*self._input([chosen[number]], [layouts[number]], slots)))
            for one, other in zip(together, alone, strict=True):
                worst = max(worst, _relative(one[number], other[0]))
        leak = float(gradient[1].abs().max())
        return worst < _BATCH_TOLERANCE and leak == 0, f"relative difference {worst:.1e}, gradient across {leak:.1g}"

    def inverts(self) -> tuple[bool | None, str]:
        """A few steps towards layouts of no, one and many objects; the images join those to detect in."""
        size = self.sizes[0]
        layouts = [replace(self._layout(size, count), id=f"layout{count}") for count in (0, 1, _MANY)]
        accelerator = "gpu" if self.detector.device.type == "cuda" else "cpu"
        result = invert(
            self.detector,
            layouts,
            self.preset,
            steps=self.steps,
            seed=self.seed,
            batch_size=len(layouts),
            trainer={"accelerator": accelerator},
            progress=False,
        )
        self.images += result.images
        # Targets move with the image, so single steps may rise.
        first, later = result.losses[0]["total"], [row["total"] for row in result.losses[1:]]
        if not later:
            return None, "one step shows nothing; give steps=20"
        last = min(later)
        found = f"{result.metrics['redetected']} of {result.metrics['objects']} objects found"
        return last < first, f"loss {first:.3g} to {last:.3g} in {self.steps} steps, {found}"

    def inference(self) -> tuple[bool | None, str]:
        """Every image alone, as the detector's own inference sees it."""
        count, missing, box_error, score_error = 0, 0, 0.0, 0.0
        for image in self.images:
            size = (image.shape[1], image.shape[2])
            with torch.no_grad():
                predictions = self._predict(*self._input([image], [self._layout(size, 0)]))
            (ours,), (own,) = postprocess(predictions, [size]), self.detector.detect([image])
            lost, box, score = _compare(ours, own)
            count, missing = count + len(own), missing + lost
            box_error, score_error = max(box_error, box), max(score_error, score)
        if count == 0:
            return None, f"no detection in {len(self.images)} images; give images=FOLDER or more steps"
        measured = f"{count - missing} of {count} detections in {len(self.images)} images"
        return missing == 0, f"{measured}, boxes within {box_error:.2g} px, scores within {score_error:.1g}"

    def targets(self) -> tuple[bool, str]:
        """f(Z) on random layouts, with Z from the rule that changes least."""
        exact, objects = 0, 0
        counts = (0, 1, 3, _MANY)
        for count, size in zip(counts, self.sizes * len(counts), strict=False):
            layout = self._layout(size, count)
            with torch.no_grad():
                pixels, batch = self._input([random_image(size, self.generator)], [layout])
                predictions = self._predict(pixels, batch)
            post = predictions.dense.head.post if predictions.roi is None else predictions.roi.post
            rows = predictions.dense.logits.shape[1]
            # A threshold of zero has no logarithm.
            threshold = max(post.score_thresh, 1e-6)
            builder = PseudoTargets(PaperRule(threshold, rows), HungarianRule(threshold, topk=rows))
            targets = builder.build("tried", predictions, batch, Targets())
            (found,) = postprocess(substitute(predictions, targets), [size])
            exact += _is_layout(found, layout)
            objects += len(layout)
        return exact == len(counts), f"{exact} of {len(counts)} layouts with {objects} objects exactly"

    def bfloat16(self) -> tuple[bool, str]:
        """Outputs under autocast are float32, and close to those without."""
        size = self.sizes[0]
        pixels, layouts = self._input([random_image(size, self.generator)], [self._layout(size, 2)])
        device = self.detector.device.type
        with torch.no_grad():
            exact = self._comparable(self._predict(pixels, layouts))
            with torch.autocast(device, dtype=torch.bfloat16):
                rounded = self._comparable(self._predict(pixels, layouts))
        kinds = {str(output.dtype) for output in rounded}
        worst = max(_relative(a, b) for a, b in zip(rounded, exact, strict=True))
        if kinds != {"torch.float32"}:
            return False, f"outputs must be float32, got {', '.join(sorted(kinds))}"
        return worst < _BF16_TOLERANCE, f"relative difference {worst:.2g}"

    def weights(self) -> tuple[bool, str]:
        """Not a bit of the state has changed since the trial began."""
        after = weight_hash(self.detector)
        return after == self._hash, f"{self._hash} before, {after} after"

    def hooks(self) -> tuple[bool, str]:
        """As many hooks as when the trial began."""
        after = _count_hooks(self.detector)
        return after == self._hooks, f"{self._hooks} before, {after} after"

    def _layout(self, size: tuple[int, int], objects: int) -> Layout:
        objects = min(objects, self.detector.detections_per_image)
        return random_layout("tried", size, len(self.detector.class_names), objects, self.generator)

    def _input(
        self, images: Sequence[Tensor], layouts: Sequence[Layout], slots: int | None = None
    ) -> tuple[Tensor, LayoutBatch]:
        """Images on a canvas, as the inversion would put them there."""
        batch = LayoutBatch.collate(layouts, self.detector.size_divisor, slots)
        return on_canvas(self.detector, images, batch.canvas_size), batch.to(self.detector.device)

    def _predict(self, pixels: Tensor, layouts: LayoutBatch) -> Predictions:
        return self.detector(pixels, layouts.image_sizes, Regions(layouts.boxes, layouts.valid))

    def _comparable(self, predictions: Predictions) -> list[Tensor]:
        """Outputs whose rows mean the same in two passes.

        Of a second stage, those at the given boxes; of queries chosen among tokens, whose order hangs on the last
        digit of a score, the tokens.
        """
        roi = predictions.roi
        if predictions.encoder is not None:
            return predictions.encoder.outputs()
        if roi is None:
            return predictions.outputs()
        given = slice(roi.logits.shape[1] - roi.given, None)
        return [*predictions.dense.outputs(), roi.logits[:, given], roi.deltas[:, given]]


def _resized(image: Tensor, detector: AbstractDetector) -> Tensor:
    size = detector.network_size((image.shape[1], image.shape[2]))
    resized = torch.nn.functional.interpolate(image[None].float(), size, mode="bilinear", antialias=True)[0]
    return resized.round().clamp(0, 255).to(torch.uint8)


def _noise_like(output: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(output.shape, generator=generator).to(output)


def _relative(a: Tensor, b: Tensor) -> float:
    """Root mean square of the difference, in units of the spread of `b`."""
    a, b = a.detach().float(), b.detach().float()
    return float((a - b).square().mean().sqrt() / b.std().clamp(min=1e-6))


def _count_hooks(detector: AbstractDetector) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in detector.modules() for kind in kinds)


def _compare(ours: Detections, own: Detections) -> tuple[int, float, float]:
    """How many detections one side lacks, and the largest errors of boxes and scores among the others."""
    apart = (ours.boxes[None] - own.boxes[:, None]).abs().amax(-1)
    scores_apart = (ours.scores[None] - own.scores[:, None]).abs()
    same = (ours.labels[None] == own.labels[:, None]) & (apart <= BOX_TOLERANCE) & (scores_apart <= SCORE_TOLERANCE)
    apart = torch.where(same, apart, torch.inf)
    box_error = score_error = 0.0
    matched = 0
    for row in range(len(own)):
        error, place = apart[row].min(0) if len(ours) else (apart.new_tensor(torch.inf), 0)
        if torch.isfinite(error):
            box_error, score_error = max(box_error, float(error)), max(score_error, float(scores_apart[row, place]))
            apart[:, place] = torch.inf
            matched += 1
    return max(len(own), len(ours)) - matched, box_error, score_error


def _is_layout(found: Detections, layout: Layout) -> bool:
    """Whether exactly the layout's objects were found."""
    if len(found) != len(layout):
        return False
    wanted = list(range(len(layout)))
    for box, label in zip(found.boxes, found.labels, strict=True):
        same = [
            k
            for k in wanted
            if int(layout.labels[k]) == int(label) and float((layout.boxes[k] - box).abs().max()) <= BOX_TOLERANCE
        ]
        if not same:
            return False
        wanted.remove(same[0])
    return True
