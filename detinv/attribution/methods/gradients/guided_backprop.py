"""The gradient of the pixels, where only positive gradients pass through rectifiers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from detinv.attribution.core.forward import canvas_of
from detinv.attribution.core.objects import ExplainedObjects
from detinv.attribution.core.questions import Question
from detinv.attribution.core.versions import version_gradients
from detinv.attribution.methods.base import ImageMaps, ImageMethod
from detinv.detectors.base import AbstractDetector
from detinv.errors import DetectorError

_RECTIFIERS = {torch.relu, torch.relu_, F.relu, F.relu_, Tensor.relu, Tensor.relu_}
_OTHERS = {
    F.silu: "SiLU",
    F.gelu: "GELU",
    F.leaky_relu: "LeakyReLU",
    torch.prelu: "PReLU",
    F.prelu: "PReLU",
    F.elu: "ELU",
    F.hardswish: "Hardswish",
    F.mish: "Mish",
}


class _Guided(TorchFunctionMode):
    """Rectifiers that pass back positive gradients only, whether they are modules, functions or in place."""

    def __init__(self) -> None:
        super().__init__()
        self.rectified = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _OTHERS:
            raise DetectorError(
                f"guided_backprop: this detector's network has {_OTHERS[func]}, and the method is defined for ReLU; "
                "choose another method, such as gradient"
            )
        if func not in _RECTIFIERS:
            return func(*args, **(kwargs or {}))
        self.rectified += 1
        found = torch.threshold(args[0], 0.0, 0.0)
        if found.requires_grad:
            found.register_hook(lambda gradient: gradient.clamp(min=0))
        return found


@dataclass(frozen=True)
class GuidedBackprop(ImageMethod):
    """Guided backpropagation: a rectifier's gradient is dropped where it is negative, too.

    Source: Springenberg et al. 2015, "Striving for Simplicity", section 3.4.

    Departures: the largest absolute value over the colours. Where a side of a box is asked for, what moves it in either
    direction is added. The method is defined for ReLU; a network with another
    nonlinearity is refused.
    """

    def explain(
        self,
        detector: AbstractDetector,
        image: Tensor,
        objects: ExplainedObjects,
        questions: Sequence[Question],
        seed: int,
    ) -> ImageMaps:
        for module in detector.modules():
            if isinstance(module, nn.SiLU | nn.GELU | nn.LeakyReLU | nn.PReLU | nn.Hardswish | nn.ELU | nn.Mish):
                raise DetectorError(
                    f"guided_backprop: this detector's network has {type(module).__name__}, and the method is defined "
                    "for ReLU; choose another method, such as gradient"
                )
        pixels, frame, size = canvas_of(detector, image)
        mode = _Guided()
        _, found = version_gradients(detector, pixels, size, frame, objects, questions, within=mode)
        if not mode.rectified:
            raise DetectorError("guided_backprop: this detector's network has no ReLU that could be guided")
        _, opposite = version_gradients(detector, pixels, size, frame, objects, questions, -1.0, _Guided())
        maps, others = found.abs().amax(2), opposite.abs().amax(2)
        where = torch.tensor([not one.of_class for one in questions], device=maps.device)
        return ImageMaps(maps + others * where[:, None, None], 2, 2 * len(objects) * len(questions))
