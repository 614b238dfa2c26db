"""The same maps by the libraries that people use: grad-cam, captum and xaitk-saliency (`pip install 'detinv[peers]'`).

They explain networks that turn an image into numbers; `ScalarNetwork` is one, made of a detector, an object and a
question.
"""

from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from detinv.attribution.core.forward import canvas_of
from detinv.attribution.core.objects import ExplainedObjects
from detinv.attribution.core.questions import Question
from detinv.attribution.core.raw_outputs import raw_outputs
from detinv.attribution.core.versions import version_scalars
from detinv.attribution.methods.gradients.integrated_gradients import IntegratedGradients
from detinv.attribution.methods.perturbations.d_rise import DRISE
from detinv.detectors.base import AbstractDetector
from detinv.detectors.feature_layers import FeatureLayer
from detinv.detectors.hooks import capture_features, forward_hooks
from detinv.errors import DetectorError

_MODULES = {"grad-cam": "pytorch_grad_cam", "captum": "captum", "xaitk-saliency": "xaitk_saliency"}


def installed(peer: str) -> bool:
    """Return whether a library is there: "grad-cam", "captum" or "xaitk-saliency"."""
    return find_spec(_MODULES[peer]) is not None


class ScalarNetwork(nn.Module):
    """A network from canvases to the answer to one question about one object, whose row and region are held.

    Args:
        detector: to be explained.
        image: that the object is in.
        objects: exactly one.
        question: about it.
        origin: what is added to the canvases before the detector sees them, such as the colour that counts as zero.
    """

    def __init__(
        self,
        detector: AbstractDetector,
        image: UInt8[Tensor, "3 height width"],
        objects: ExplainedObjects,
        question: Question,
        origin: Float[Tensor, "3 1 1"] | None = None,
    ) -> None:
        super().__init__()
        if len(objects) != 1:
            raise ValueError(f"one object has one answer; got {len(objects)} objects")
        self.detector, self.objects, self.question = detector, objects, question
        pixels, self.frame, self.size = canvas_of(detector, image)
        self.origin = torch.zeros(3, 1, 1, device=pixels.device) if origin is None else origin
        self.pixels = pixels - self.origin

    def forward(self, pixels: Float[Tensor, "version 3 height width"]) -> Float[Tensor, "version 1"]:
        """Return the answer on each canvas; `self.pixels` is that of the image."""
        versions = pixels + self.origin
        return version_scalars(self.detector, versions, self.size, self.frame, self.objects, [self.question])[:, 0]


def module_of(detector: AbstractDetector, layer: FeatureLayer, pixels: Float[Tensor, "1 3 _ _"]) -> nn.Module:
    """Return the module that returns the features of a layer and nothing else, as grad-cam needs it.

    Raises:
        DetectorError: when no module does, such as where the layer is one of several outputs.
    """
    returned: list[tuple[nn.Module, Tensor]] = []

    def keep(module: nn.Module, arguments: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            returned.append((module, output))

    hooks = [(module, keep) for module in detector.modules()]
    with torch.no_grad(), forward_hooks(hooks), capture_features(detector, [layer]) as features:
        detector(pixels)
    for module, output in returned:
        if output is features[layer.name]:
            return module
    raise DetectorError(f"layer {layer.name}: no module of the network returns it alone")


def grad_cam_map(method: str, network: ScalarNetwork, layer: nn.Module) -> Float[Tensor, "height width"]:
    """Return a map of grad-cam, rectified, enlarged to the canvas and scaled to [0, 1], as that library gives it.

    Args:
        method: name of a class of `pytorch_grad_cam`, such as "GradCAM".
        layer: whose output is explained; see `module_of`.
    """
    import pytorch_grad_cam

    pixels = network.pixels.detach().clone().requires_grad_()
    with getattr(pytorch_grad_cam, method)(model=network, target_layers=[layer]) as cam:
        return torch.from_numpy(np.asarray(cam(input_tensor=pixels, targets=[lambda output: output[0]])))[0]


def integrated_gradients_map(network: ScalarNetwork, method: IntegratedGradients) -> Float[Tensor, "height width"]:
    """Return captum's integrated gradients with the method's steps and batches, summed over the colours.

    Args:
        network: whose origin is the baseline.
    """
    from captum.attr import IntegratedGradients as Captum

    found = Captum(network).attribute(
        network.pixels,
        n_steps=method.steps,
        method="riemann_middle",
        internal_batch_size=method.batch_size,
    )
    return found[0].sum(0).detach()


@torch.no_grad()
def d_rise_maps(
    detector: AbstractDetector,
    image: UInt8[Tensor, "3 height width"],
    objects: ExplainedObjects,
    method: DRISE,
    seed: int,
) -> Float[Tensor, "object height width"]:
    """Return xaitk-saliency's D-RISE with the masks and candidates of `method`, each map divided by its maximum.

    xaitk covers the image and makes the maps of what the detector says; the detector runs in batches as large as the
    method's. Boxes are passed to xaitk such that their areas are the same: it counts the last pixel as inside.
    """
    from xaitk_saliency.impls.gen_detector_prop_sal.drise_scoring import DRISEScoring
    from xaitk_saliency.utils.masking import occlude_image_batch

    pixels, frame, size = canvas_of(detector, image)
    boxes, wanted = method.targets(detector, pixels, size, frame, objects)
    masks = torch.cat(list(method.batches(size, seed))).numpy()
    inside = pixels[0, :, : size[0], : size[1]].permute(1, 2, 0).cpu().numpy()
    covered = occlude_image_batch(inside, masks, fill=detector.pixel_mean.tolist())
    found = []
    for start in range(0, len(covered), method.batch_size):
        part = torch.from_numpy(covered[start : start + method.batch_size]).permute(0, 3, 1, 2)
        versions = detector.pixel_mean[:, None, None].expand(len(part), *pixels.shape[1:]).clone()
        versions[..., : size[0], : size[1]] = part.to(pixels)
        with torch.autocast(detector.device.type, enabled=False):
            raw = raw_outputs(detector(versions, [size] * len(versions)))
        found.append(_rows(*raw.highest(method.candidates)))
    reference = _rows(boxes, wanted, torch.ones(len(boxes), device=boxes.device))
    return torch.from_numpy(DRISEScoring().generate(reference, np.concatenate(found), masks))


def _rows(
    boxes: Float[Tensor, "*row 4"], classes: Float[Tensor, "*row class"], best: Float[Tensor, "*row"]
) -> "np.ndarray[Any, Any]":
    """Return detections as xaitk wants them: box, one more score, scores of the classes."""
    closed = boxes - boxes.new_tensor([0.0, 0.0, 1.0, 1.0])
    return torch.cat([closed, best[..., None], classes], -1).cpu().numpy()
