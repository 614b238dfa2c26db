"""The same maps by the libraries that people use: grad-cam, captum and xaitk-saliency (`pip install 'detinv[peers]'`).

They explain networks that turn an image into numbers; `ScalarNetwork` is one, made of a detector, an object and a
question.
"""

from collections.abc import Iterable, Iterator
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

    xaitk covers the image and makes the maps of what the detector says, as one array; the detector runs in batches as
    large as the method's. Boxes are passed to xaitk such that their areas are the same: it counts the last pixel as
    inside.
    """
    from xaitk_saliency.impls.gen_detector_prop_sal.drise_scoring import DRISEScoring
    from xaitk_saliency.utils.masking import occlude_image_batch

    pixels, frame, size = canvas_of(detector, image)
    boxes, wanted = method.targets(detector, pixels, size, frame, objects)
    masks = torch.cat(list(method.batches(size, seed))).numpy()
    covered = occlude_image_batch(_inside(pixels, size), masks, fill=detector.pixel_mean.tolist())
    found = [_rows(*raw) for raw in _candidates(detector, covered, pixels, size, method)]
    reference = _rows(boxes, wanted, torch.ones(len(boxes), device=boxes.device))
    return torch.from_numpy(DRISEScoring().generate(reference, np.concatenate(found), masks))


@torch.no_grad()
def d_rise_pipeline_maps(
    detector: AbstractDetector,
    image: UInt8[Tensor, "3 height width"],
    objects: ExplainedObjects,
    method: DRISE,
    seed: int,
) -> Float[Tensor, "object height width"]:
    """Return what xaitk-saliency gives through its public interface, with the same masks and candidates.

    `PerturbationOcclusion` asks a detector for a list of detections of each image, each a box and a dictionary of its
    scores. That has no place for how sure a detection is as a whole, by which `d_rise_maps` weights.
    """
    from smqtk_detection import DetectImageObjects
    from smqtk_image_io import AxisAlignedBoundingBox
    from xaitk_saliency import PerturbImage
    from xaitk_saliency.impls.gen_detector_prop_sal.drise_scoring import DRISEScoring
    from xaitk_saliency.impls.gen_object_detector_blackbox_sal.occlusion_based import PerturbationOcclusion

    pixels, frame, size = canvas_of(detector, image)
    boxes, wanted = method.targets(detector, pixels, size, frame, objects)

    class Masks(PerturbImage):
        def perturb(self, ref_image: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
            return torch.cat(list(method.batches(size, seed))).numpy()

        def get_config(self) -> dict[str, Any]:
            return {}

    class BlackBox(DetectImageObjects):
        def detect_objects(self, img_iter: Iterable["np.ndarray[Any, Any]"]) -> Iterator[list[Any]]:
            for raw in _candidates(detector, np.stack(list(img_iter)), pixels, size, method):
                for one, classes in zip(_closed(raw[0]).cpu().numpy(), raw[1].tolist(), strict=True):
                    yield [
                        (AxisAlignedBoundingBox(box[:2], box[2:]), dict(enumerate(scores)))
                        for box, scores in zip(one, classes, strict=True)
                    ]

        def get_config(self) -> dict[str, Any]:
            return {}

    explainer = PerturbationOcclusion(Masks(), DRISEScoring(), fill=detector.pixel_mean.tolist(), threads=0)
    reference = _closed(boxes).cpu().numpy(), wanted.cpu().numpy()
    return torch.from_numpy(explainer.generate(_inside(pixels, size), *reference, BlackBox()))


def _inside(pixels: Float[Tensor, "1 3 _ _"], size: tuple[int, int]) -> "np.ndarray[Any, Any]":
    """Return the image without the canvas around it, colours last."""
    return pixels[0, :, : size[0], : size[1]].permute(1, 2, 0).cpu().numpy()


def _candidates(
    detector: AbstractDetector,
    covered: "np.ndarray[Any, Any]",
    pixels: Float[Tensor, "1 3 _ _"],
    size: tuple[int, int],
    method: DRISE,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield boxes, scores and best scores of the candidates in covered images, in batches as large as the method's."""
    for start in range(0, len(covered), method.batch_size):
        part = torch.from_numpy(covered[start : start + method.batch_size]).permute(0, 3, 1, 2)
        versions = detector.pixel_mean[:, None, None].expand(len(part), *pixels.shape[1:]).clone()
        versions[..., : size[0], : size[1]] = part.to(pixels)
        with torch.autocast(detector.device.type, enabled=False):
            raw = raw_outputs(detector(versions, [size] * len(versions)))
        yield raw.highest(method.candidates)


def _closed(boxes: Float[Tensor, "*row 4"]) -> Float[Tensor, "*row 4"]:
    return boxes - boxes.new_tensor([0.0, 0.0, 1.0, 1.0])


def _rows(
    boxes: Float[Tensor, "*row 4"], classes: Float[Tensor, "*row class"], best: Float[Tensor, "*row"]
) -> "np.ndarray[Any, Any]":
    """Return detections as xaitk wants them: box, one more score, scores of the classes."""
    return torch.cat([_closed(boxes), best[..., None], classes], -1).cpu().numpy()
