"""Feature inversion on a detector with random weights: which layers, which measures, and what is made again."""

from functools import cache

import pytest
import torch

from detinv.detectors.features import find_layer
from detinv.errors import ConfigError
from detinv.experiments.common.setup import ExperimentSetup
from detinv.experiments.paper.feature_inversion import MEASURES, ORIGINAL, FeatureReconstruction
from detinv.inversion.features import feature_errors
from detinv.inversion.preset import load_preset
from detinv.layouts.layout import Layout
from detinv.metrics.intervals import mean_interval
from detinv.metrics.reconstruction import image_similarity
from detinv.results.io.images import read_image
from detinv.worlds.scene import Scene
from tests.fakes import block_image, tiny_detector

SIZE = (64, 64)
SMALL, LARGE = [4.0, 6.0, 20.0, 22.0], [30.0, 30.0, 60.0, 62.0]


class Scenes:
    """A scene with two objects, one with a single object, and one with none."""

    def __init__(self, size=SIZE):
        self.size = size

    def scenes(self):
        return [
            Scene(
                block_image(self.size, number),
                Layout(
                    torch.tensor(boxes).view(-1, 4),
                    torch.zeros(len(boxes), dtype=torch.int64),
                    self.size,
                    f"scene{number}",
                ),
            )
            for number, boxes in enumerate(([SMALL, LARGE], [SMALL], []))
        ]

    def layouts(self, class_names, network_size, detections_per_image):
        return [scene.layout.resized(network_size(scene.layout.image_size)) for scene in self.scenes()]


@cache
def detector(family):
    return tiny_detector(family)


def bench_of(folder, family, source=None, **options):
    options = {"steps": 2, "trainer": {"accelerator": "cpu"}, **options}
    bench = ExperimentSetup(folder, [family], source or Scenes(), load_preset(), **options)
    bench.detectors[family] = detector(family)
    return bench


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Folder and findings of two layers, one of them of single boxes."""
    folder = tmp_path_factory.mktemp("features")
    return folder, FeatureReconstruction(["p3", "roi"]).run(bench_of(folder, "fasterrcnn"))


def images(folder, layer, numbers):
    return [read_image(folder / "images" / "fasterrcnn" / layer / f"scene{number}.png") for number in numbers]


def test_measures_are_those_of_the_saved_images(ran):
    folder, found = ran
    numbers = found.numbers["fasterrcnn"]
    assert set(numbers) == {ORIGINAL, "layers"}
    assert set(numbers["layers"]) == {"p3", "roi"}
    assert {*MEASURES, "AP", "redetected"} == set(numbers["layers"]["p3"])
    scenes = Scenes().scenes()
    wanted, layouts = [scene.image for scene in scenes], [scene.layout for scene in scenes]
    layer = find_layer(detector("fasterrcnn"), "p3")
    for measure, folder_name in (("feature_error", "p3"), ("start_error", "start")):
        errors = feature_errors(detector("fasterrcnn"), layer, images(folder, folder_name, range(3)), wanted, layouts)
        assert numbers["layers"]["p3"][measure] == pytest.approx(mean_interval(errors))
    assert numbers["layers"]["p3"]["feature_error"].value < numbers["layers"]["p3"]["start_error"].value


def test_features_of_one_box_are_about_the_largest_object(ran):
    folder, found = ran
    region = torch.zeros(SIZE, dtype=torch.bool)
    region[30:62, 30:60] = True
    other = torch.zeros(SIZE, dtype=torch.bool)
    other[6:22, 4:20] = True
    pairs = list(zip(images(folder, "roi", (0, 1)), [block_image(SIZE, number) for number in range(2)], strict=True))
    inside = [image_similarity(*pair, one).rmse for pair, one in zip(pairs, (region, other), strict=True)]
    outside = [image_similarity(*pair, ~one).rmse for pair, one in zip(pairs, (region, other), strict=True)]
    numbers = found.numbers["fasterrcnn"]["layers"]["roi"]
    assert numbers["rmse_inside"] == pytest.approx(mean_interval(inside))
    assert numbers["rmse_outside"] == pytest.approx(mean_interval(outside))
    # A scene without an object has no largest one.
    assert not (folder / "images" / "fasterrcnn" / "roi" / "scene2.png").exists()


def test_finished_layers_are_read_again(ran, monkeypatch):
    folder, found = ran

    def refuse(*arguments, **options):
        raise AssertionError("what is finished is not made again")

    monkeypatch.setattr("detinv.experiments.paper.feature_inversion.invert_features", refuse)
    again = FeatureReconstruction(["p3", "roi"]).run(bench_of(folder, "fasterrcnn"))
    assert again.numbers == found.numbers
    messages = []
    with pytest.raises(AssertionError, match="what is finished"):
        FeatureReconstruction(["p3"]).run(bench_of(folder, "fasterrcnn", steps=3, log=messages.append))
    assert messages[0] == "fasterrcnn/p3: 3 of 3 images are made again; changed: steps"


def test_pictures_and_tables_have_every_layer(ran):
    _, found = ran
    assert [figure.name for figure in found.figures] == ["layers_fasterrcnn", "correlation_fasterrcnn"]
    assert [row[1] for row in found.tables[0].rows] == [ORIGINAL, "p3", "roi"]


def test_photographs_come_in_the_size_of_the_networks_input(tmp_path):
    bench = bench_of(tmp_path, "retinanet", Scenes((128, 128)), steps=0)
    found = FeatureReconstruction(["p4"], examples=0).run(bench)
    saved = read_image(tmp_path / "images" / "retinanet" / "p4" / "scene0.png")
    assert tuple(saved.shape[1:]) == detector("retinanet").network_size((128, 128)) == SIZE
    assert found.numbers["retinanet"]["layers"]["p4"]["feature_error"].value > 0


def test_stages_and_levels_from_the_finest_level_on_by_default():
    assert [layer.name for layer in FeatureReconstruction().layers_of(detector("retinanet"))] == [
        f"{letter}{number}" for letter in "cp" for number in (3, 4, 5)
    ]
    assert FeatureReconstruction().layers_of(detector("fasterrcnn"))[-1].name == "roi"


def test_a_layer_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="no layer 'p9'"):
        FeatureReconstruction(["p9"]).layers_of(detector("retinanet"))


@pytest.mark.parametrize(
    "options", [{"total_variation": -1.0}, {"alpha_norm": -1.0}, {"score_thresh": 1.0}, {"examples": -1}]
)
def test_numbers_out_of_range_are_named(options):
    with pytest.raises(ConfigError, match=rf"experiment\.{next(iter(options))}="):
        FeatureReconstruction(**options)
