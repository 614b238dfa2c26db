"""Claims about numbers: an image's outputs depend on no other image, and little on the precision."""

import torch
from torch import Tensor

from detinv.checks.finding import Finding
from detinv.checks.trial import AdapterTrial, comparable_outputs

_BATCH_TOLERANCE, _BF16_TOLERANCE = 1e-3, 0.1


def batch_equals_single_images(trial: AdapterTrial) -> Finding:
    """Two images have the same outputs together and alone, and no gradient flows from one to the other."""
    size = trial.sizes[0]
    images = [trial.image(size) for _ in range(2)]
    layouts = [trial.layout(size, count) for count in (2, 1)]
    pixels, batch = trial.batch(images, layouts)
    pixels.requires_grad_()
    together = comparable_outputs(trial.predict(pixels, batch))
    (gradient,) = torch.autograd.grad(together[0][0].sum(), pixels)
    worst = 0.0
    for number in range(2):
        single = trial.batch([images[number]], [layouts[number]], batch.boxes.shape[1])
        for one, other in zip(together, comparable_outputs(trial.predict(*single)), strict=True):
            worst = max(worst, _relative(one[number], other[0]))
    leak = float(gradient[1].abs().max())
    measured = f"relative difference {worst:.1e}, gradient across {leak:.1g}"
    if worst < _BATCH_TOLERANCE and leak == 0:
        return Finding(True, measured)
    advice = "an image's outputs depend on the others: look for statistics over the batch, as of BatchNorm in training"
    return Finding(False, measured, advice)


def bfloat16_is_close(trial: AdapterTrial) -> Finding:
    """Outputs under autocast are float32, and close to those without."""
    size = trial.sizes[0]
    pixels, layouts = trial.batch([trial.image(size)], [trial.layout(size, 2)])
    with torch.no_grad():
        exact = comparable_outputs(trial.predict(pixels, layouts))
        with torch.autocast(trial.detector.device.type, dtype=torch.bfloat16):
            rounded = comparable_outputs(trial.predict(pixels, layouts))
    kinds = {str(output.dtype) for output in rounded}
    if kinds != {"torch.float32"}:
        advice = "call float() on what forward() returns"
        return Finding(False, f"outputs must be float32, got {', '.join(sorted(kinds))}", advice)
    worst = max(_relative(a, b) for a, b in zip(rounded, exact, strict=True))
    measured = f"relative difference {worst:.2g}"
    if worst < _BF16_TOLERANCE:
        return Finding(True, measured)
    advice = (
        "this concerns only trainer.precision=bf16-mixed: compute the head in float32 (torch.autocast(..., "
        "enabled=False)), or keep the default precision"
    )
    return Finding(False, measured, advice)


def _relative(a: Tensor, b: Tensor) -> float:
    """Root mean square of the difference, in units of the spread of `b`."""
    a, b = a.detach().float(), b.detach().float()
    return float((a - b).square().mean().sqrt() / b.std().clamp(min=1e-6))
