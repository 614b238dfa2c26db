import numpy as np
import pytest
import torch

from detinv.layouts.layout import Detections, Layout
from detinv.viz.draw import draw_detections, draw_layout
from detinv.viz.palette import class_colour

NAMES = ("ring", "star", "a class with a rather long name")


def _image(height: int = 64, width: int = 48) -> torch.Tensor:
    return torch.randint(90, 160, (3, height, width), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def _found(scores: list[float], masks: torch.Tensor | None = None) -> Detections:
    boxes = torch.tensor([[8.0, 20, 30, 50], [20.0, 30, 44, 60], [-5.0, -3, 60, 70]])[: len(scores)]
    return Detections(boxes, torch.tensor(scores), torch.tensor([0, 1, 2])[: len(scores)], (64, 48), masks)


def test_draw_detections_keeps_pixels_away_from_objects() -> None:
    image = _image()
    picture = draw_detections(image, _found([0.9]), NAMES, scale=4)
    assert picture.shape == (256, 192, 3) and picture.dtype == np.uint8
    plain = image.permute(1, 2, 0).numpy().repeat(4, 0).repeat(4, 1)
    assert np.array_equal(picture[204:], plain[204:])
    assert np.array_equal(picture[90:190, 40:110], plain[90:190, 40:110])


def test_draw_detections_draws_the_box_where_it_is() -> None:
    picture = draw_detections(_image(), _found([0.9]), NAMES, scale=4)
    colour = class_colour(0)
    assert tuple(picture[150, 32]) == colour and tuple(picture[150, 119]) == colour
    assert tuple(picture[80, 100]) == colour and tuple(picture[199, 60]) == colour
    assert tuple(picture[150, 36]) != colour


def test_draw_detections_leaves_out_low_scores() -> None:
    image = _image()
    nothing = draw_detections(image, _found([0.5, 0.2]), NAMES, scale=2, score_thresh=0.5)
    assert np.array_equal(nothing, image.permute(1, 2, 0).numpy().repeat(2, 0).repeat(2, 1))


def test_draw_detections_does_not_touch_its_input() -> None:
    image = _image()
    before = image.clone()
    draw_detections(image, _found([0.9, 0.8]), NAMES, scale=1)
    assert torch.equal(image, before)


def test_draw_detections_tints_only_the_mask() -> None:
    image = _image()
    masks = torch.zeros(1, 64, 48, dtype=torch.bool)
    masks[0, 25:45, 12:25] = True
    with_mask = draw_detections(image, _found([0.9], masks), NAMES, scale=4)
    without = draw_detections(image, _found([0.9]), NAMES, scale=4)
    changed = (with_mask != without).any(-1)
    inside = masks[0].numpy().repeat(4, 0).repeat(4, 1)
    assert not changed[~inside].any()
    assert changed[inside].mean() > 0.95
    # Translucent: the pixels below still differ from each other.
    assert len(np.unique(with_mask[110:170, 60:90].reshape(-1, 3), axis=0)) > 20


@pytest.mark.parametrize("scale", [0.5, 1, 5])
def test_draw_detections_takes_boxes_beyond_the_border_and_long_names(scale: float) -> None:
    picture = draw_detections(_image(), _found([0.9, 0.7, 0.99]), NAMES, scale=scale)
    assert picture.shape == (round(64 * scale), round(48 * scale), 3)


def test_draw_detections_takes_no_detections() -> None:
    assert draw_detections(_image(), _found([]), NAMES, scale=1).shape == (64, 48, 3)


def test_draw_detections_rejects_objects_of_another_frame() -> None:
    with pytest.raises(ValueError, match=r"\(64, 48\)"):
        draw_detections(_image(32, 48), _found([0.9]), NAMES)


def test_draw_layout_fills_boxes_on_a_light_canvas() -> None:
    layout = Layout(torch.tensor([[10.0, 10, 40, 40]]), torch.tensor([1]), (64, 64), "a")
    picture = draw_layout(layout, NAMES, scale=4)
    assert picture.shape == (256, 256, 3)
    assert tuple(picture[250, 250]) == (240, 240, 240)
    assert tuple(picture[100, 40]) == class_colour(1)
    inside = picture[100, 100].astype(int)
    assert (inside != 240).any() and (inside != class_colour(1)).any()


def test_draw_layout_shows_masks() -> None:
    masks = torch.zeros(1, 64, 64, dtype=torch.bool)
    masks[0, 10:40, 10:40] = torch.ones(30, 30).tril().bool()
    layout = Layout.from_masks(masks, torch.tensor([1]), "a")
    picture = draw_layout(layout, NAMES, scale=4)
    assert tuple(picture[140, 60]) != (240, 240, 240)
    assert tuple(picture[60, 140]) == (240, 240, 240)


def test_draw_layout_takes_no_objects() -> None:
    layout = Layout(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (20, 30), "a")
    assert (draw_layout(layout, NAMES, scale=2) == 240).all()
