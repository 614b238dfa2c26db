import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image

from detinv.layouts.layout import Detections, Layout
from detinv.results.reports.figures import detections_figure, image_figure, layout_figure, stretched_figure
from detinv.viz.image import stretch_contrast

NAMES = ("ring", "<star>")


def _embedded(svg: str) -> np.ndarray:
    data = re.search(r'data:image/png;base64,([^"]*)"', svg)
    assert data is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.group(1)))))


def test_image_figure_embeds_the_very_pixels() -> None:
    image = torch.randint(0, 256, (3, 20, 30), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    svg = image_figure(image, "k", "a")
    assert np.array_equal(_embedded(svg), image.permute(1, 2, 0).numpy())
    assert ElementTree.fromstring(svg).attrib["viewBox"] == "0 0 30 20"


def test_image_figure_reduces_large_images() -> None:
    svg = image_figure(torch.zeros(3, 600, 1024, dtype=torch.uint8), "k", "a")
    assert _embedded(svg).shape == (300, 512, 3)
    assert ElementTree.fromstring(svg).attrib["viewBox"] == "0 0 1024 600"


def test_stretched_figure_stretches_as_the_picture_does() -> None:
    image = torch.randint(100, 140, (3, 20, 30), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    svg = stretched_figure(image, "k", "a")
    found = re.search(r'slope="([^"]*)" intercept="([^"]*)"', svg)
    assert found is not None
    slope, intercept = map(float, found.groups())
    shown = ((image / 255 * slope + intercept).clamp(0, 1) * 255).round()
    assert (shown - stretch_contrast(image)).abs().max() <= 1
    assert '<use href="#k"' in svg and "base64" not in svg


def test_layout_figure_draws_boxes_and_exact_masks() -> None:
    masks = torch.rand(2, 16, 12, generator=torch.Generator().manual_seed(1)) > 0.5
    layout = Layout.from_masks(masks, torch.tensor([0, 1]), "a & b")
    svg = layout_figure(layout, NAMES)
    root = ElementTree.fromstring(svg)
    assert "a & b" in root.attrib["aria-label"]
    # The first object is drawn last.
    for path, mask in zip(reversed(root.findall("path")), masks, strict=True):
        drawn = torch.zeros_like(mask)
        for x, y, length in re.findall(r"M(\d+) (\d+)h(\d+)v1H\1z", path.attrib["d"]):
            drawn[int(y), int(x) : int(x) + int(length)] = True
        assert torch.equal(drawn, mask)
    assert [text.text for text in root.findall("text")] == ["<star>", "ring"]


def test_detections_figure_clips_boxes_and_keeps_labels_inside() -> None:
    boxes = torch.tensor([[-20.0, -5, 50, 30], [10, 10, 20, 20]])
    found = Detections(boxes, torch.tensor([0.9, 0.8]), torch.tensor([1, 0]), (30, 40))
    root = ElementTree.fromstring(detections_figure(found, NAMES, "k", "a"))
    for rect in root.findall("rect"):
        x, y, width, height = (float(rect.attrib[key]) for key in ("x", "y", "width", "height"))
        assert x >= 0 and y >= 0 and x + width <= 40.01 and y + height <= 30.01
    assert [text.text for text in root.findall("text")] == ["ring 0.80", "<star> 0.90"]
