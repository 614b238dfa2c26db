"""What maps cost, as multiples of passes of the bare network, beside a plain loop and other libraries.

All tasks take turns within one process. Legend: N objects, Q questions, M masks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from detinv.attribution.core.forward import canvas_of, run_forward
from detinv.attribution.core.objects import ExplainedObjects, annotated_objects
from detinv.attribution.core.questions import Question
from detinv.attribution.explain import ExplainedImage, explain_image
from detinv.attribution.load import load_method
from detinv.attribution.methods.base import AbstractMethod
from detinv.attribution.methods.features.grad_cam import GradCAM
from detinv.attribution.methods.features.grad_cam_plus_plus import GradCAMPlusPlus
from detinv.attribution.methods.features.hires_cam import HiResCAM
from detinv.attribution.methods.features.layer_cam import LayerCAM
from detinv.attribution.methods.features.norm_grad import NormGrad
from detinv.attribution.methods.features.ss_grad_cam_plus_plus import SSGradCAMPlusPlus
from detinv.attribution.methods.gradients.integrated_gradients import IntegratedGradients
from detinv.attribution.methods.perturbations.d_rise import DRISE
from detinv.benchmarks import peers
from detinv.benchmarks.interleaved import Costs, take_turns
from detinv.benchmarks.turns import ratio
from detinv.detectors.base import AbstractDetector
from detinv.detectors.feature_layers import HeadName
from detinv.detectors.regions import Regions
from detinv.errors import DetectorError

TOGETHER = (HiResCAM(), GradCAM(), GradCAMPlusPlus(), SSGradCAMPlusPlus(), LayerCAM(), NormGrad())
"""Methods made of features and gradients of the level that predicted."""
# Sides of the objects, as fractions of the image's.
_SMALLEST, _LARGEST = 0.1, 0.5


@dataclass(frozen=True)
class Scene:
    """An image of noise, and objects in it with what is asked about them."""

    detector: AbstractDetector
    image: UInt8[Tensor, "3 height width"]
    objects: ExplainedObjects
    questions: tuple[Question, ...]

    @classmethod
    def random(
        cls, detector: AbstractDetector, size: tuple[int, int], count: int, questions: Sequence[Question], seed: int
    ) -> "Scene":
        """Return a scene with random boxes and labels; costs do not depend on what is seen.

        Args:
            size: (height, width) of the image.
            count: of objects.
        """
        generator = torch.Generator().manual_seed(seed)
        image = torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator)
        room = torch.tensor([size[1], size[0]], dtype=torch.float32)
        sides = room * (_SMALLEST + (_LARGEST - _SMALLEST) * torch.rand(count, 2, generator=generator))
        corners = torch.rand(count, 2, generator=generator) * (room - sides)
        labels = torch.randint(0, len(detector.class_names), (count,), generator=generator)
        objects = annotated_objects(detector, image, torch.cat([corners, corners + sides], 1), labels)
        return cls(detector, image, objects, tuple(questions))

    def maps(self, *methods: AbstractMethod) -> ExplainedImage:
        """Return the maps of all objects and questions."""
        named = {str(number): method for number, method in enumerate(methods)}
        return explain_image(self.detector, self.image, self.objects, self.questions, named)

    def first(self) -> "Scene":
        """Return the scene with its first object and question alone."""
        return replace(self, objects=self.objects.select(torch.tensor([0])), questions=self.questions[:1])


def bench_attribution(
    scene: Scene,
    *,
    rounds: int = 5,
    warmup: int = 1,
    masks: int = 200,
    steps: int = 8,
    with_peers: bool = True,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure passes of the bare network, our methods, and those of the libraries that are installed.

    The bare network is the frozen detector as its library provides it, at its own proposals and the objects' boxes:
    "forward" without a graph, "forward_backward" with the gradient of the sum of all raw outputs to the pixels.

    Args:
        rounds: at least 2.
        warmup: rounds before these that are not measured.
        masks: of D-RISE, an even number.
        steps: of integrated gradients, of one object and question.
        with_peers: whether other libraries are measured as well, where they are installed.
        seed: of the masks.

    Returns:
        "costs": for each task medians of wall and processor seconds and of memory in megabytes; "ratios": medians
        and quartiles of the rounds' ratios by the time named in "clock"; "difference": the largest one between
        batched maps and those of the loop, as a fraction of the map's largest value.

    Raises:
        DetectorError: when batched maps are not those of the loop within 1e-5.
    """
    detector, device = scene.detector, scene.detector.device
    d_rise, integrated = DRISE(masks=masks), IntegratedGradients(steps=steps)
    default, odam = load_method("default"), HiResCAM()
    tasks: dict[str, Callable[[], object]] = {
        "forward": lambda: _forward(scene),
        "forward_backward": lambda: _forward_backward(scene),
        "odam": lambda: scene.maps(odam),
        "all of features and gradients": lambda: scene.maps(*TOGETHER),
        "loop": lambda: loop_maps(scene),
        "default": lambda: scene.maps(default),
        "bare masks": lambda: _forwards(scene, masks, d_rise.batch_size),
        "d_rise": lambda: d_rise.explain(detector, scene.image, scene.objects, scene.questions, seed),
    }
    if with_peers:
        tasks |= _peers(scene.first(), scene, d_rise, integrated, seed)
    difference = _difference(scene.maps(odam), loop_maps(scene))
    if difference > 1e-5:
        raise DetectorError(f"batched maps differ from those of one backward pass each by {difference:.1e}")
    costs = take_turns(tasks, rounds, device, warmup)
    return {
        "network_size": list(canvas_of(detector, scene.image)[0].shape[2:]),
        "objects": len(scene.objects),
        "questions": [one.name for one in scene.questions],
        "masks": masks,
        "steps": steps,
        "rounds": rounds,
        "clock": "wall" if device.type == "cuda" else "cpu",
        "difference": difference,
        "costs": {name: one.medians() for name, one in costs.items()},
        "ratios": _ratios(costs, len(scene.objects) * len(scene.questions), device.type == "cuda"),
    }


def loop_maps(scene: Scene) -> list[Float[Tensor, "rows columns"]]:
    """Return ODAM's maps, ordered by object and question, from one backward pass for each."""
    detector = scene.detector
    head: HeadName = "dense" if scene.objects.regions is None or not _has_second_stage(scene) else "roi"
    levels = detector.level_layers(head)
    passed = run_forward(detector, scene.image, scene.objects, scene.questions, levels)
    numbers = detector.row_levels(passed.predictions, head)[0]
    first = 0 if passed.predictions.roi is None else passed.predictions.roi.rois.shape[1] - passed.predictions.roi.given
    mine = numbers[passed.rows.rows + first].tolist()
    values, method = passed.scalars(scene.questions), HiResCAM()
    found = []
    for row, level in zip(values, mine, strict=True):
        features = passed.features[levels[level].name]
        nowhere = torch.zeros_like(features[:, 0])
        for question, value in zip(scene.questions, row, strict=True):
            (gradient,) = torch.autograd.grad(value, features, retain_graph=True)
            made = method.layer_map(features.detach(), gradient, nowhere).clamp(min=0)
            if not question.of_class:
                made = made + method.layer_map(features.detach(), -gradient, nowhere).clamp(min=0)
            found.append(made[0].cpu())
    return found


def _has_second_stage(scene: Scene) -> bool:
    try:
        return bool(scene.detector.level_layers("roi"))
    except DetectorError:
        return False


def _difference(explained: ExplainedImage, loop: Sequence[Tensor]) -> float:
    return max(
        float((one.map - other).abs().max()) / max(float(other.abs().max()), torch.finfo(other.dtype).tiny)
        for one, other in zip(explained.attributions, loop, strict=True)
    )


def _bare(scene: Scene, pixels: Tensor, size: tuple[int, int]) -> list[Tensor]:
    frame = canvas_of(scene.detector, scene.image)[1]
    boxes = frame.to_canvas(scene.objects.boxes).to(pixels)
    return scene.detector(pixels, [size], Regions.of(boxes[None])).outputs()


@torch.no_grad()
def _forward(scene: Scene) -> None:
    pixels, _, size = canvas_of(scene.detector, scene.image)
    _bare(scene, pixels, size)


def _forward_backward(scene: Scene) -> None:
    pixels, _, size = canvas_of(scene.detector, scene.image)
    total = torch.stack([one.sum() for one in _bare(scene, pixels.requires_grad_(), size)]).sum()
    torch.autograd.grad(total, pixels)


@torch.no_grad()
def _forwards(scene: Scene, count: int, batch_size: int) -> None:
    """Run the bare network on as many images, without the objects' boxes, in batches."""
    pixels, _, size = canvas_of(scene.detector, scene.image)
    for start in range(0, count, batch_size):
        batch = min(batch_size, count - start)
        scene.detector(pixels.expand(batch, -1, -1, -1).contiguous(), [size] * batch)


def _peers(
    one: Scene, scene: Scene, d_rise: DRISE, integrated: IntegratedGradients, seed: int
) -> dict[str, Callable[[], object]]:
    """Return tasks of the libraries that are installed, each after ours that does the same."""
    detector, image, objects, (question,) = one.detector, one.image, one.objects, one.questions
    tasks: dict[str, Callable[[], object]] = {}
    if peers.installed("grad-cam"):
        network = peers.ScalarNetwork(detector, image, objects, question)
        layer = peers.module_of(detector, detector.level_layers()[0], network.pixels)
        tasks["grad_cam, one"] = lambda: one.maps(GradCAM())
        tasks["grad-cam: GradCAM, one"] = lambda: peers.grad_cam_map("GradCAM", network, layer)
    if peers.installed("captum"):
        grey = peers.ScalarNetwork(detector, image, objects, question, detector.pixel_mean[:, None, None])
        tasks["integrated_gradients, one"] = lambda: integrated.explain(detector, image, objects, [question], seed)
        tasks["captum: IntegratedGradients, one"] = lambda: peers.integrated_gradients_map(grey, integrated)
    if peers.installed("xaitk-saliency"):
        tasks["xaitk-saliency: DRISEScoring"] = lambda: peers.d_rise_maps(detector, image, scene.objects, d_rise, seed)
        tasks["xaitk-saliency: PerturbationOcclusion"] = lambda: peers.d_rise_pipeline_maps(
            detector, image, scene.objects, d_rise, seed
        )
    return tasks


def _ratios(costs: Mapping[str, Costs], scalars: int, by_wall: bool) -> dict[str, dict[str, float]]:
    times = {name: one.wall if by_wall else one.cpu for name, one in costs.items()}
    backward = [both - alone for both, alone in zip(times["forward_backward"], times["forward"], strict=True)]
    each = [(total - alone) / scalars for total, alone in zip(times["default"], times["forward"], strict=True)]
    found = {
        "odam / forward_backward": ratio(times["odam"], times["forward_backward"]),
        "all of features and gradients / forward_backward": ratio(
            times["all of features and gradients"], times["forward_backward"]
        ),
        "loop / odam": ratio(times["loop"], times["odam"]),
        "default, each / backward": ratio(each, backward),
        "d_rise / bare masks": ratio(times["d_rise"], times["bare masks"]),
    }
    for theirs, ours in (
        ("grad-cam: GradCAM, one", "grad_cam, one"),
        ("captum: IntegratedGradients, one", "integrated_gradients, one"),
        ("xaitk-saliency: DRISEScoring", "d_rise"),
        ("xaitk-saliency: PerturbationOcclusion", "d_rise"),
    ):
        if theirs in times:
            found[f"{theirs} / {ours}"] = ratio(times[theirs], times[ours])
    return found
