import math

import pytest
import torch

from detinv.metrics.edges import border_share, box_region, edge_energy

SIZE = (40, 50)
BOX = torch.tensor([10.0, 8.0, 36.0, 30.0])


def test_edge_energy_is_the_squared_gradient():
    # A ramp of two grey values a pixel across, and three down, in one channel.
    y, x = torch.meshgrid(torch.arange(6), torch.arange(5), indexing="ij")
    image = torch.zeros(3, 6, 5, dtype=torch.uint8)
    image[1] = (2 * x + 3 * y).to(torch.uint8)
    energy = edge_energy(image)
    assert energy[1:-1, 1:-1] == pytest.approx(torch.full((4, 3), (4 + 9) / 255**2))
    assert float(edge_energy(torch.full((3, 6, 5), 77, dtype=torch.uint8)).max()) == 0


def test_box_region_holds_the_pixels_whose_centres_are_inside():
    region = box_region(torch.tensor([1.6, 0.4, 4.0, 2.0]), (4, 6))
    assert region.nonzero().tolist() == [[y, x] for y in (0, 1) for x in (2, 3)]


def test_border_share_against_a_plain_loop():
    energy = torch.rand(SIZE, generator=torch.Generator().manual_seed(0))
    # Sides of 26 and 22 pixels: five percent are less than two pixels, which are the least.
    band, inside = [], []
    for y in range(SIZE[0]):
        for x in range(SIZE[1]):
            if 12 <= x < 34 and 10 <= y < 28:
                inside.append(energy[y, x])
            elif 8 <= x < 38 and 6 <= y < 32:
                band.append(energy[y, x])
    along, within = (float(torch.stack(values).mean()) for values in (band, inside))
    assert border_share(energy, box_region(BOX, SIZE)) == pytest.approx(along / (along + within), rel=1e-5)


def test_an_outline_has_all_its_edges_on_the_border_and_stripes_inside_have_none_there():
    region = box_region(BOX, SIZE)
    filled = torch.where(region, 200, 30).to(torch.uint8).expand(3, *SIZE)
    assert border_share(edge_energy(filled), region) == 1
    stripes = torch.zeros(3, *SIZE, dtype=torch.uint8)
    stripes[:, 14:24:2, 16:30] = 255
    assert border_share(edge_energy(stripes), region) == 0


def test_an_object_at_the_edge_of_the_image_has_a_border_there():
    region = box_region(torch.tensor([0.0, 0.0, 20.0, 20.0]), SIZE)
    energy = torch.zeros(SIZE)
    energy[:2, :20] = 1
    assert border_share(energy, region) == 1


@pytest.mark.parametrize("box", [[10.0, 10.0, 13.0, 30.0], [10.2, 10.2, 10.4, 10.4]])
def test_what_has_no_inside_has_no_share(box):
    assert math.isnan(border_share(torch.ones(SIZE), box_region(torch.tensor(box), SIZE)))
