"""One error as a picture: the place with its boxes, and the maps that explain it."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from detinv.attribution.attribution import Attribution
from detinv.attribution.core.objects import ExplainedObjects, annotated_objects
from detinv.attribution.explain import ExplainedImage, explain_image
from detinv.attribution.methods.base import AbstractMethod
from detinv.attribution.mistakes.cases import Asked, Case
from detinv.attribution.pictures import heat_picture
from detinv.detectors.base import AbstractDetector
from detinv.viz.image import Picture
from detinv.viz.sheet import SheetRow, sheet
from detinv.viz.text import font, legible, line_height, wrap

_SIDE, _MARGIN, _TEXT = 300, 24, 15
# Of the crop around the boxes: their longer side times this, and at least so many pixels of the photograph.
_AROUND, _LEAST = 1.8, 64.0
_ANNOTATED, _DETECTED, _RIVAL, _CASING = (70, 220, 90), (255, 120, 40), (90, 170, 255), (0, 0, 0)
_NOTE = "green: annotated; orange: {}{}. The brighter, the more it counts; each map up to its own maximum."


def explain_case(
    detector: AbstractDetector,
    image: UInt8[Tensor, "3 height width"],
    case: Case,
    method: AbstractMethod,
    *,
    name: str = "default",
    seed: int = 0,
) -> ExplainedImage:
    """Return the maps that explain an error, in the order of `case.asked`.

    Args:
        image: of the case.
        name: of the method.
        seed: of methods that are random.
    """
    found = [
        explain_image(
            detector,
            image,
            _objects(detector, image, case, asked),
            [asked.question],
            {name: method},
            number=case.image,
            seed=seed,
        )
        for asked in case.asked
    ]
    return ExplainedImage(
        [one for each in found for one in each.attributions],
        sum(each.forwards for each in found),
        sum(each.backwards for each in found),
    )


def _objects(detector: AbstractDetector, image: Tensor, case: Case, asked: Asked) -> ExplainedObjects:
    one = asked.candidate
    if one is None:
        assert case.annotated is not None
        return annotated_objects(detector, image, case.annotated[None], torch.tensor([case.label]))
    return ExplainedObjects(
        one.box[None],
        torch.tensor([one.label]),
        torch.tensor([one.score]),
        torch.tensor([one.row]),
        None if one.region is None else one.region[None],
        None if one.region is None else torch.tensor([one.place]),
    )


def case_picture(
    image: UInt8[Tensor, "3 height width"], case: Case, maps: Sequence[Attribution], name: str = ""
) -> Picture:
    """Draw an error: what happened in words, the place with its boxes, and the maps.

    Args:
        image: of the case.
        maps: see `explain_case`.
        name: of the image, for the text.
    """
    boxes = [
        (box, colour)
        for box, colour in ((case.rival, _RIVAL), (case.detected, _DETECTED), (case.annotated, _ANNOTATED))
        if box is not None
    ]
    window = _window([box for box, _ in boxes], (image.shape[1], image.shape[2]))
    cells = [_boxed(_enlarged(image, window), boxes, window)]
    for one in maps:
        x0, y0, x1, y1 = window
        crop, heat = image[:, y0:y1, x0:x1], one.heat()[y0:y1, x0:x1]
        picture = heat_picture(crop, heat, None, signed=one.signed)
        cells.append(_boxed(_resized(picture), boxes, window))
    headings = ["the place", *(asked.heading for asked in case.asked[: len(maps)])]
    nearest = "the nearest prediction" if case.title.startswith("Missed") else "detected"
    rival = "; blue: the detection that took its place" if case.rival is not None else ""
    note = _NOTE.format(nearest, rival)
    body = sheet(headings, [SheetRow(f"image {name}" if name else "", cells)])
    return _with_text(body, case, note)


def _window(boxes: Sequence[Float[Tensor, " 4"]], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the part of an image (x0, y0, x1, y1) that shows the boxes and what is around them."""
    height, width = size
    corners = torch.stack([box.float() for box in boxes])
    x0, y0 = corners[:, :2].amin(0).tolist()
    x1, y1 = corners[:, 2:].amax(0).tolist()
    side = max(_AROUND * (x1 - x0), _AROUND * (y1 - y0), _LEAST)
    spans = []
    for low, high, length in ((x0, x1, width), (y0, y1, height)):
        span = min(round(side), length)
        start = min(max(round((low + high - span) / 2), 0), length - span)
        spans.append((start, start + span))
    return spans[0][0], spans[1][0], spans[0][1], spans[1][1]


def _within(box: Float[Tensor, " 4"], window: tuple[int, int, int, int]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (box.double() - torch.tensor([window[0], window[1]] * 2)).tolist()
    return x0, y0, x1, y1


def _enlarged(image: Tensor, window: tuple[int, int, int, int]) -> Picture:
    x0, y0, x1, y1 = window
    return _resized(np.ascontiguousarray(image[:, y0:y1, x0:x1].permute(1, 2, 0).cpu().numpy()))


def _resized(picture: Picture) -> Picture:
    factor = _SIDE / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)).copy()


def _boxed(
    picture: Picture,
    boxes: Sequence[tuple[Float[Tensor, " 4"], tuple[int, int, int]]],
    window: tuple[int, int, int, int],
) -> Picture:
    drawn = Image.fromarray(picture)
    drawing, factor = ImageDraw.Draw(drawn), picture.shape[1] / (window[2] - window[0])
    for number, (box, colour) in enumerate(boxes):
        # Boxes that coincide are drawn one inside the other.
        inset = 2 * (len(boxes) - 1 - number)
        x0, y0, x1, y1 = (round(value * factor) for value in _within(box, window))
        x0, y0, x1, y1 = x0 - inset, y0 - inset, x1 + inset, y1 + inset
        x0, y0 = max(x0, 0), max(y0, 0)
        x1, y1 = max(x0 + 3, min(x1, drawn.width - 1)), max(y0 + 3, min(y1, drawn.height - 1))
        drawing.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=_CASING)
        drawing.rectangle((x0, y0, x1, y1), outline=colour, width=2)
    return np.asarray(drawn).copy()


def _with_text(body: Picture, case: Case, note: str) -> Picture:
    """Put the title and the sentence above a picture, and the note below it."""
    width = body.shape[1]
    above = [(line, 18) for line in wrap(legible(case.title), 18, width - 2 * _MARGIN)]
    above += [(line, _TEXT) for line in wrap(legible(case.sentence), _TEXT, width - 2 * _MARGIN)]
    below = [(line, 13) for line in wrap(note, 13, width - 2 * _MARGIN)]
    top = _MARGIN + sum(line_height(size) for _, size in above)
    page = Image.new(
        "RGB", (width, top + body.shape[0] + sum(line_height(size) for _, size in below) + 4), (255, 255, 255)
    )
    page.paste(Image.fromarray(body), (0, top))
    drawing = ImageDraw.Draw(page)
    for start, lines in ((_MARGIN, above), (top + body.shape[0] - 12, below)):
        for line, size in lines:
            drawing.text((_MARGIN, start), line, fill=(24, 24, 27), font=font(line, size))
            start += line_height(size)
    return np.asarray(page).copy()
