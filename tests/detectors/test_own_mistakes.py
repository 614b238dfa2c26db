"""Mistakes in detectors of one's own are told in words, before anything is computed or where they first show."""

import pytest
import torch

import detinv
from detinv.errors import DetectorError
from detinv.layouts.layout import Layout
from tests.heat_map import HeatMapNetwork, TinyCenterNet

IMAGE = torch.zeros(3, 64, 64, dtype=torch.uint8)
BOX, LABEL = torch.tensor([[8.0, 8.0, 40.0, 40.0]]), torch.tensor([0])


class Detached(TinyCenterNet):
    def forward(self, pixels, image_sizes=None, regions=None):
        return super().forward(pixels).detach()


class WithoutGradient(TinyCenterNet):
    @torch.no_grad()
    def forward(self, pixels, image_sizes=None, regions=None):
        return super().forward(pixels)


class Unfrozen(TinyCenterNet):
    def freeze(self):
        pass


class Twins(TinyCenterNet):
    def freeze(self):
        super().freeze()
        self.class_names = ("red", "green", "red")


def invert(detector):
    layout = Layout(BOX, LABEL, (64, 64), "a")
    return detinv.invert(detector, [layout], steps=1, progress=False, trainer={"accelerator": "cpu"})


def attribute(detector):
    return detinv.attribute(detector, [IMAGE], boxes=[BOX], labels=[LABEL])


@pytest.mark.parametrize("use", [invert, attribute])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Detached, "Detached: no gradient passes from the raw predictions to the pixels"),
        (WithoutGradient, "WithoutGradient: no gradient passes"),
        (Unfrozen, r"Unfrozen is not frozen.*call freeze\(\)"),
        (Twins, "Twins: class_names is .*each once"),
    ],
)
def test_what_would_fail_later_or_elsewhere_is_refused(use, kind, said):
    with pytest.raises(DetectorError, match=said):
        use(kind(HeatMapNetwork()))


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (lambda found: found[:-1], r"returned \[\(64, 64\)\] for images of \[\(64, 64\), \(32, 48\)\]"),
        (lambda found: found[::-1], r"returned \[\(32, 48\), \(64, 64\)\] for"),
        (lambda found: [{"boxes": []}] * 2, r"returned \[dict, dict\] for"),
        (lambda found: None, "returned a NoneType for"),
    ],
)
def test_what_is_no_result_of_detect_is_refused(result, said):
    class Wrong(TinyCenterNet):
        def detect(self, images):
            return result(super().detect(images))

    with pytest.raises(DetectorError, match=f"Wrong.detect {said}"):
        Wrong(HeatMapNetwork()).detect([IMAGE, IMAGE[:, :32, :48]])
