"""Layouts in the frame of a detector's input, or one line that says why they do not fit it."""

import pytest
import torch

from detinv.errors import LayoutError
from detinv.layouts.fitting import fitted, network_frame
from detinv.layouts.layout import Layout


def halved(size: tuple[int, int]) -> tuple[int, int]:
    return size[0] // 2, size[1] // 2


def layout(pixels: int = 8) -> Layout:
    mask = torch.zeros(1, 32, 48, dtype=torch.bool)
    mask[:, 5 : 5 + pixels, 5 : 5 + pixels] = True
    return Layout(torch.tensor([[4.0, 4.0, 12.0, 20.0]]), torch.tensor([0]), (32, 48), "a", mask)


def test_boxes_and_masks_are_in_the_frame_of_the_input():
    found = fitted(layout(), halved, detections_per_image=1)
    assert found.image_size == (16, 24)
    assert found.boxes.tolist() == [[2.0, 2.0, 6.0, 10.0]]
    assert found.masks is not None and int(found.masks.sum()) == 16


def test_without_a_detector_nothing_changes():
    one = layout()
    assert fitted(one) is one


def test_a_mask_that_loses_all_its_pixels_takes_the_others_with_it():
    assert fitted(layout(pixels=1), lambda size: (4, 6)).masks is None


def test_more_objects_than_a_detector_reports_are_refused():
    with pytest.raises(LayoutError, match=r"^mine\.yaml: layout a: 1 objects, larger than the detector"):
        fitted(layout(), halved, detections_per_image=0, where="mine.yaml")


@pytest.mark.parametrize("size", [(1, 64), (64, 1)])
def test_an_image_that_would_be_resized_to_nothing_is_refused(size: tuple[int, int]):
    with pytest.raises(LayoutError, match=f"^here: an image of {size[1]} x {size[0]} pixels is too narrow"):
        network_frame(halved, size, "here")


def test_a_detector_that_cannot_even_compute_the_size_says_the_same():
    with pytest.raises(LayoutError, match="too narrow"):
        network_frame(lambda size: (size[0] // 0, 1), (4, 4), "here")
