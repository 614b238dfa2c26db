"""What tests of experiments' setups observe: which layouts are inverted."""

from itertools import count

import pytest

from detinv.experiments.common import setup
from detinv.results.reports.inversion_result import InversionResult
from tests.fakes import block_image


@pytest.fixture
def calls(monkeypatch):
    """Layout ids of each call of `invert`."""
    made = []
    real = setup.invert

    def counted(judge, layouts, *args, **kwargs):
        made.append([layout.id for layout in layouts])
        return real(judge, layouts, *args, **kwargs)

    monkeypatch.setattr(setup, "invert", counted)
    return made


@pytest.fixture
def painted(monkeypatch):
    """Ids of the layouts that are inverted; their images are painted at once, none like another."""
    made, seeds = [], count()

    def paint(detector, layouts, *args, **kwargs):
        images = [block_image(layout.image_size, next(seeds)) for layout in layouts]
        made.extend(layout.id for layout in layouts)
        return InversionResult(layouts, images, {}, ())

    monkeypatch.setattr(setup, "invert", paint)
    return made
