"""Explains objects in images: which raw predictions they come from, and what these depend on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.attribution.attribution import Attribution
from detinv.attribution.core.forward import run_forward
from detinv.attribution.core.frames import Frame
from detinv.attribution.core.objects import ExplainedObjects, annotated_objects, detected_objects
from detinv.attribution.core.questions import Question, as_questions
from detinv.attribution.load import as_method
from detinv.attribution.methods.activations import CanvasMap, Job, activation_maps
from detinv.attribution.methods.base import AbstractMethod, ActivationMethod, ImageMethod
from detinv.detectors.base import AbstractDetector
from detinv.detectors.load import as_detector
from detinv.errors import ConfigError, LayoutError
from detinv.inputs.images import eight_bit_images
from detinv.inputs.printable import quoted
from detinv.inputs.torch_settings import usual_torch
from detinv.layouts.layout import Layout

Numbers = Tensor | np.ndarray | Sequence[Any]
"""Numbers of one image's objects, in whatever form a program has them."""


@usual_torch()
def attribute(
    detector: AbstractDetector | str,
    images: Sequence[Tensor],
    boxes: Sequence[Numbers] | None = None,
    labels: Sequence[Numbers] | None = None,
    questions: Sequence[str] = ("class",),
    method: str | AbstractMethod = "default",
    layers: Sequence[str | int] | None = None,
    against: str | int | None = None,
    score_thresh: float = 0.5,
    seed: int = 0,
) -> list[Attribution]:
    """Explain why a detector decided so: one map for each image, object and question, in that order.

        maps = detinv.attribute("part_retinanet", images, questions=("class", "left"))
        maps[0].heat()

    Args:
        detector: or the name of a registered one.
        images: 8-bit RGB, (3, height, width).
        boxes, labels: of each image, XYXY in its pixels of shape (objects, 4), and class numbers, as tensors, arrays or
            lists; by default the detector's own detections with a score above `score_thresh`.
        questions: see `detinv.target_values`.
        method: name of a method in `configs/method`, or a method. "default" is the one that finds planted evidence,
            for classes and for boxes.
        layers: to take instead of the method's own: names of `detector.feature_layers()`, strides, or "predicting".
        against: what the question "contrast" compares with: a class by name or number, or "runner_up" (the default),
            "others" or "background".
        seed: of methods that are random.

    Raises:
        ConfigError: for a method or layer that does not exist, images of another kind, or boxes without labels.
        DetectorError: for a question that the detector cannot be asked.
        LayoutError: for a box outside its image, or a label that is not one of the detector's classes.
    """
    detector = as_detector(detector)
    if (boxes is None) != (labels is None):
        raise ConfigError("boxes and labels: give both, or neither to explain the detector's own detections")
    if not (isinstance(score_thresh, Real) and 0 <= score_thresh <= 1):
        raise ConfigError(f"score_thresh={quoted(score_thresh)}: choose a number in [0, 1]")
    asked = as_questions(questions, against, detector.class_names)
    chosen = as_method(method, layers)
    images = eight_bit_images(images)
    given = None if boxes is None or labels is None else _given_objects(detector, images, boxes, labels)
    found: list[Attribution] = []
    for number, image in enumerate(images):
        if given is None:
            (detections,) = detector.detect([image])
            objects, _ = detected_objects(detector, image, detections.above(score_thresh))
        else:
            objects = annotated_objects(detector, image, given[number].boxes, given[number].labels)
        explained = explain_image(detector, image, objects, asked, {str(method): chosen}, number=number, seed=seed)
        found += explained.attributions
    return found


def _given_objects(
    detector: AbstractDetector, images: Sequence[Tensor], boxes: Sequence[Numbers], labels: Sequence[Numbers]
) -> list[Layout]:
    """Return the objects of all images, checked before the first of them is explained."""
    if not len(images) == len(boxes) == len(labels):
        raise ConfigError(
            f"{len(images)} images need as many entries of boxes and of labels, got {len(boxes)} and {len(labels)}"
        )
    found = []
    for number, image in enumerate(images):
        given = labels[number]
        if isinstance(given, Sequence) and any(isinstance(label, str) for label in given):
            raise LayoutError(
                f"labels[{number}]: class numbers are whole numbers, got {quoted(given)}; "
                "detector.class_names.index(name) gives them"
            )
        corners, classes = torch.as_tensor(boxes[number]).cpu(), torch.as_tensor(given).cpu()
        if classes.numel() and (classes.is_floating_point() or classes.dtype == torch.bool):
            raise LayoutError(f"labels[{number}]: class numbers are whole numbers, got {classes.dtype}")
        # An empty list says nothing of its shape.
        corners = corners if corners.numel() else corners.reshape(-1, 4)
        size = (image.shape[1], image.shape[2])
        layout = Layout(corners.detach().float(), classes.long(), size, f"of images[{number}]")
        if len(layout) and int(layout.labels.max()) >= len(detector.class_names):
            raise LayoutError(f"labels[{number}]: class numbers must lie in 0 ... {len(detector.class_names) - 1}")
        found.append(layout)
    return found


@dataclass(frozen=True)
class ExplainedImage:
    """The maps of one image, and what they cost.

    Args:
        attributions: ordered by object, then method, then question.
        forwards, backwards: images that passed through the network, and scalars that were derived.
    """

    attributions: list[Attribution]
    forwards: int
    backwards: int


def explain_image(
    detector: AbstractDetector,
    image: UInt8[Tensor, "3 height width"],
    objects: ExplainedObjects,
    questions: Sequence[Question],
    methods: Mapping[str, AbstractMethod],
    *,
    number: int = 0,
    seed: int = 0,
    memory: int | None = None,
) -> ExplainedImage:
    """Explain objects of one image by several methods, which share what they can.

    Args:
        objects: of the image.
        methods: by name.
        number: of the image.
        seed: of methods that are random; mixed with the image's number.
        memory: bytes that the gradients of one backward pass may take; what is fast on the device by default.
    """
    if not len(objects):
        return ExplainedImage([], 0, 0)
    wanted = [
        (name, place, method.for_question(question))
        for name, method in methods.items()
        for place, question in enumerate(questions)
    ]
    jobs = [
        (index, Job(one, place)) for index, (_, place, one) in enumerate(wanted) if isinstance(one, ActivationMethod)
    ]
    found: dict[tuple[int, int], CanvasMap] = {}
    forwards = backwards = 0
    if jobs:
        maps, passed = activation_maps(detector, image, objects, questions, [job for _, job in jobs], memory)
        found = {(jobs[one.job][0], one.object): one for one in maps}
        forwards, backwards = 1, len(objects) * len(questions)
    else:
        with torch.no_grad():
            passed = run_forward(detector, image, objects, questions)
    frame, values = passed.frame, passed.scalars(questions).detach()
    anchors = passed.rows.proposal_rows
    objects = objects if anchors is None else replace(objects, anchors=anchors.cpu())
    for one, places in _image_methods(wanted):
        made = one.explain(
            detector, image, objects, [questions[place] for _, place in places], seed * 1_000_003 + number
        )
        forwards, backwards = forwards + made.forwards, backwards + made.backwards
        extent = (0.0, 0.0, float(frame.canvas_size[1]), float(frame.canvas_size[0]))
        for (index, place), values_of in zip(places, made.values.unbind(1), strict=True):
            kept = values_of if one.signed else values_of.clamp(min=0)
            for row in range(len(objects)):
                value = float(values[row, place])
                found[index, row] = CanvasMap(index, row, value, kept[row].cpu(), extent, "image")
    return ExplainedImage(
        [
            _attribution(image, objects, questions[place], name, one, found[index, row], frame, detector, number, seed)
            for row in range(len(objects))
            for index, (name, place, one) in enumerate(wanted)
        ],
        forwards,
        backwards,
    )


def _image_methods(
    wanted: Sequence[tuple[str, int, AbstractMethod]],
) -> list[tuple[ImageMethod, list[tuple[int, int]]]]:
    """Return the methods that change the image, each once, with the places of what they answer in `wanted`."""
    found: list[tuple[ImageMethod, list[tuple[int, int]]]] = []
    for index, (_, place, one) in enumerate(wanted):
        if isinstance(one, ImageMethod):
            # Compared, not hashed: methods out of configuration files hold lists.
            alike = next((places for made, places in found if made == one), None)
            if alike is None:
                found.append((one, [(index, place)]))
            else:
                alike.append((index, place))
    return found


def _attribution(
    image: Tensor,
    objects: ExplainedObjects,
    question: Question,
    name: str,
    method: AbstractMethod,
    found: CanvasMap,
    frame: Frame,
    detector: AbstractDetector,
    number: int,
    seed: int,
) -> Attribution:
    row = found.object
    x0, y0, x1, y1 = objects.boxes[row].tolist()
    extent = frame.to_image(torch.tensor(found.extent, dtype=torch.float64)).tolist()
    # Two conversions, there and back, leave the last digits of a double behind.
    left, top, right, bottom = (round(edge, 6) + 0.0 for edge in extent)
    return Attribution(
        image=number,
        object=row,
        box=(x0, y0, x1, y1),
        label=int(objects.labels[row]),
        score=float(objects.scores[row]),
        question=question.name,
        against=question.against if question.name == "contrast" else None,
        value=found.value,
        method=name,
        layer=found.layer,
        map=found.map.float(),
        extent=(left, top, right, bottom),
        signed=method.signed,
        photograph=image,
        class_names=tuple(detector.class_names),
        seed=seed,
    )
