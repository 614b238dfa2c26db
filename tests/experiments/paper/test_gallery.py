"""Figure 4 with detectors of random weights and with detections that are written down."""

from functools import cache

import pytest
import torch

from detinv.errors import ConfigError
from detinv.experiments.common.evaluation import borders
from detinv.experiments.common.setup import ExperimentSetup
from detinv.experiments.paper.gallery import INVERTED, RATES, REAL, Gallery
from detinv.inversion.preset import load_preset
from detinv.layouts.layout import Detections, Layout
from detinv.metrics.intervals import mean_interval, wilson
from detinv.worlds.scene import Scene
from tests.fakes import block_image, tiny_detector

SIZE = (64, 64)
BOXES = torch.tensor([[4.0, 6.0, 30.0, 28.0], [32.0, 30.0, 60.0, 62.0]])


class Layouts:
    """Three layouts with two objects each, without photographs."""

    def layouts(self, class_names, network_size, detections_per_image):
        masks = torch.zeros(2, *SIZE, dtype=torch.bool)
        masks[0, 6:28, 4:30] = masks[1, 30:62, 32:60] = True
        return [Layout(BOXES, torch.tensor([number, 2]), SIZE, f"scene{number}", masks) for number in range(3)]


class Scenes(Layouts):
    """The same, of photographs."""

    def scenes(self):
        return [Scene(block_image(SIZE, k), layout) for k, layout in enumerate(self.layouts((), None, 0))]


class Recorded(ExperimentSetup):
    """Makes images at once, and remembers what was asked for."""

    def invert(self, key, label, layouts, preset=None, steps=None):
        self.__dict__.setdefault("asked", {})[key] = list(layouts)
        return [block_image(SIZE, 7 + number) for number in range(len(layouts))]


@cache
def detector(family):
    return tiny_detector(family)


def bench_of(folder, families, source=None, kind=Recorded, **options):
    bench = kind(folder, list(families), source or Scenes(), load_preset(), **options)
    bench.detectors |= {family: detector(family) for family in families}
    return bench


def detections(layout, rows, scores, labels=None):
    kept = layout.labels[rows] if labels is None else torch.tensor(labels)
    return Detections(layout.boxes[rows], torch.tensor(scores), kept, SIZE)


def test_objects_and_images_are_counted():
    layouts = Layouts().layouts((), None, 0)
    empty = layouts[0].select(torch.zeros(2, dtype=torch.bool))
    found = [
        detections(layouts[0], [0, 1], [0.9, 0.8]),  # both, and nothing else
        detections(layouts[1], [0, 1, 1], [0.9, 0.8, 0.7]),  # both, one of them twice
        detections(layouts[2], [0, 1], [0.9, 0.8], [0, 1]),  # both boxes, of wrong classes
        detections(empty, [], []),  # nothing where nothing is
    ]
    counts = Gallery()._counts([*layouts, empty], found)
    assert (counts["images"], counts["objects"], counts["false_positives"]) == (4, 6, 3)
    assert counts["redetected"] == wilson(4, 6)
    assert counts["complete"] == wilson(3, 4)
    assert counts["exact"] == wilson(2, 4)


@pytest.mark.parametrize(("score_thresh", "redetected"), [(0.5, 2), (0.85, 1), (0.95, 0)])
def test_only_confident_detections_count(score_thresh, redetected):
    layout = Layouts().layouts((), None, 0)[0]
    counts = Gallery(score_thresh)._counts([layout], [detections(layout, [0, 1], [0.9, 0.8])])
    assert counts["redetected"] == wilson(redetected, 2)
    assert counts["exact"] == wilson(int(redetected == 2), 1)


def test_masks_are_asked_of_detectors_that_have_them(tmp_path):
    bench = bench_of(tmp_path, ["retinanet", "maskrcnn"])
    found = Gallery(examples=2).run(bench)
    assert all(layout.masks is None for layout in bench.asked["retinanet"])
    assert all(layout.masks is not None for layout in bench.asked["maskrcnn"])
    assert set(found.numbers) == {"retinanet", "maskrcnn"}
    for numbers in found.numbers.values():
        assert set(numbers) == {INVERTED, REAL}
        assert {*RATES, "AP", "box_border", "mask_border"} <= set(numbers[INVERTED])
    layouts = bench.layouts("retinanet")
    shares = [share for number, one in enumerate(layouts) for share in borders(block_image(SIZE, 7 + number), one)[1]]
    assert found.numbers["retinanet"][INVERTED]["mask_border"] == mean_interval(shares)
    assert [figure.name for figure in found.figures] == ["gallery", "success"]
    table = found.tables[0]
    assert [row[:2] for row in table.rows] == [
        ("retinanet", INVERTED),
        ("retinanet", REAL),
        ("maskrcnn", INVERTED),
        ("maskrcnn", REAL),
    ]


def test_layouts_without_photographs(tmp_path):
    found = Gallery(examples=1).run(bench_of(tmp_path, ["retinanet"], Layouts()))
    assert set(found.numbers["retinanet"]) == {INVERTED}
    narrow = found.figures[0].picture.shape[1]
    with_photographs = Gallery(examples=1).run(bench_of(tmp_path, ["retinanet"])).figures[0].picture.shape[1]
    assert with_photographs > narrow


def test_images_are_inverted_and_kept(tmp_path):
    bench = bench_of(tmp_path, ["retinanet"], Layouts(), ExperimentSetup, steps=1, trainer={"accelerator": "cpu"})
    Gallery(examples=0).run(bench)
    assert sorted(path.name for path in (tmp_path / "images" / "retinanet").glob("*.png")) == [
        "scene0.png",
        "scene1.png",
        "scene2.png",
    ]


@pytest.mark.parametrize("options", [{"score_thresh": 1.0}, {"iou_thresh": -0.1}, {"examples": -1}])
def test_numbers_out_of_range_are_named(options):
    with pytest.raises(ConfigError, match=rf"experiment\.{next(iter(options))}="):
        Gallery(**options)
