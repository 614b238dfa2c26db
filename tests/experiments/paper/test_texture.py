"""Figure 13 on a detector that can be read off the pixels: the redder a cell, the surer it is."""

import csv

import pytest
import torch

from detinv.config.composition.compose import compose_config
from detinv.config.instantiate import instantiate
from detinv.detectors.base import AbstractDetector
from detinv.detectors.heads.assigners import AnchorAssigner
from detinv.detectors.heads.codec import DeltaCodec
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, PostProcessing, Predictions
from detinv.errors import ConfigError, LayoutError
from detinv.experiments.common.setup import ExperimentSetup
from detinv.experiments.paper.texture import Texture
from detinv.experiments.textures.phase import PhaseRandomised
from detinv.experiments.textures.scene import END_TO_END, FIXED, best_detection
from detinv.experiments.textures.summary import change_less, means, nearest_size
from detinv.inversion.preset import load_preset
from detinv.layouts.layout import Detections, Layout
from detinv.results.io.files import write_png
from detinv.worlds.scene import Scene
from tests.fakes import block_image

SIZE = (64, 64)
CELLS = torch.tensor([[0.0, 0, 32, 32], [32, 0, 64, 32], [0, 32, 16, 48], [32, 32, 64, 64]])


class Reddish(AbstractDetector):
    """Class 0 has the mean red of a cell for its probability, class 1 the mean green; boxes widen with blue."""

    def __init__(self, class_names=("red", "green")):
        super().__init__()
        self.class_names = class_names
        self.size_divisor = 1
        self.detections_per_image = 10
        self.register_buffer("pixel_mean", torch.full((3,), 0.5))
        self.seen = []
        post = PostProcessing(0.3, 0.5, 100, 10)
        self.head = DenseHead(CELLS, (len(CELLS),), DeltaCodec(), AnchorAssigner(), post)

    def network_size(self, image_size):
        return image_size

    def forward(self, pixels, image_sizes=None, regions=None):
        cells = [pixels[:, :, int(y0) : int(y1), int(x0) : int(x1)] for x0, y0, x1, y1 in CELLS.tolist()]
        colours = torch.stack([cell.mean((2, 3)) for cell in cells], 1)
        deltas = torch.zeros(len(pixels), len(CELLS), 4)
        deltas[..., 2] = -0.5 * colours[..., 2]
        logits = torch.logit(colours[..., [self.class_names.index("red"), self.class_names.index("green")]], eps=1e-6)
        return Predictions(DensePredictions(logits, deltas, self.head))

    def detect(self, images):
        self.seen += images
        found = []
        for image in images:
            dense = self.forward(image[None].float() / 255).dense
            scores, labels = dense.scores()[0].max(-1)
            keep = scores > 0.3
            found.append(Detections(dense.boxes()[0][keep], scores[keep], labels[keep], SIZE))
        return found


class Scenes:
    """Two scenes; in each, whole cells are the objects."""

    def __init__(self, masks=True):
        self.masks = masks

    def scenes(self):
        scenes = []
        for number in range(2):
            image = torch.full((3, *SIZE), 20, dtype=torch.uint8)
            rows = [0, 3] if number else [0, 1, 2]
            masks = torch.zeros(len(rows), *SIZE, dtype=torch.bool)
            for k, row in enumerate(rows):
                x0, y0, x1, y1 = (int(value) for value in CELLS[row])
                masks[k, y0:y1, x0:x1] = True
                image[int(row == 1), y0:y1, x0:x1] = 204  # 0.8
            labels = torch.tensor([int(row == 1) for row in rows])
            scenes.append(Scene(image, Layout(CELLS[rows], labels, SIZE, f"scene {number}", masks)))
        return scenes

    def layouts(self, class_names, network_size, detections_per_image):
        numbers = torch.tensor([class_names.index(name) for name in ("red", "green")])
        found = [scene.layout for scene in self.scenes()]
        return [
            Layout(one.boxes, numbers[one.labels], SIZE, one.id, one.masks if self.masks else None) for one in found
        ]


class Paint:
    """Everything in one colour; remembers what it was given."""

    def __init__(self, colour):
        self.colour = torch.tensor(colour, dtype=torch.uint8)
        self.styles = []

    def __call__(self, image, masks, style, generator):
        self.styles.append(style)
        return self.colour[:, None, None].expand(len(masks), *image.shape).clone()

    def describe(self):
        return "paint"


class Broken:
    def __call__(self, image, masks, style, generator):
        raise AssertionError("what is finished is not made again")

    def describe(self):
        return "paint"


def bench_of(folder, detectors, source=None, **options):
    bench = ExperimentSetup(folder, list(detectors), source or Scenes(), load_preset("default"), **options)
    bench.detectors |= detectors
    return bench


def test_probabilities_and_overlaps_before_and_after(tmp_path):
    # Red falls from 0.8 to 0.2, so that no red object is found any more; green stays; blue makes boxes narrower.
    detector = Reddish()
    found = Texture(Paint([51, 204, 102]), sizes=(16, 32), examples=2).run(bench_of(tmp_path, {"one": detector}))
    numbers = found.numbers["detectors"]["one"]
    assert (found.numbers["images"], found.numbers["objects"]) == (2, 5)

    fixed = numbers[FIXED]
    assert {size: one["objects"] for size, one in fixed["by_size"].items()} == {"16": 1, "32": 4}
    assert fixed["by_size"]["16"]["p_before"] == pytest.approx(0.8, abs=1e-5)
    assert fixed["by_size"]["16"]["change_of_p"].value == pytest.approx(-0.6, abs=1e-5)
    assert fixed["by_size"]["32"]["change_of_p"].value == pytest.approx(-0.6 * 3 / 4, abs=1e-5)
    assert fixed["by_size"]["32"]["change_of_p_less_smallest"].value == pytest.approx(0.6 / 4, abs=1e-5)
    assert "change_of_p_less_smallest" not in fixed["by_size"]["16"]
    assert fixed["overall"]["p_after"] == pytest.approx((4 * 0.2 + 0.8) / 5, abs=1e-5)
    narrower = float(torch.exp(torch.tensor(-0.5 * (102 - 20) / 255)))
    assert fixed["overall"]["found_in_both"] == 5
    assert fixed["overall"]["iou_after"] / fixed["overall"]["iou_before"] == pytest.approx(narrower, abs=1e-5)

    whole = numbers[END_TO_END]["overall"]
    assert (whole["objects"], whole["found_in_both"]) == (5, 1)
    assert whole["p_after"] == pytest.approx(0.8 / 5, abs=1e-5)
    assert whole["change_of_p"].value == pytest.approx(-0.8 * 4 / 5, abs=1e-5)
    assert whole["iou_after"] / whole["iou_before"] == pytest.approx(narrower, abs=1e-5)

    with (tmp_path / "objects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["red", "green", "red", "red", "red"]
    assert [row["size"] for row in rows] == ["32.0", "32.0", "16.0", "32.0", "32.0"]
    assert [row[f"iou_after, {END_TO_END}"] == "" for row in rows] == [True, False, True, True, True]
    assert found.decided["texture"] == "paint"
    assert [figure.name for figure in found.figures][-1] == "examples"


def test_one_object_at_a_time_and_the_background_to_the_bit(tmp_path):
    detector, colour = Reddish(), [7, 8, 9]
    Texture(Paint(colour)).run(bench_of(tmp_path, {"one": detector}))
    seen = list(detector.seen)
    for scene in Scenes().scenes():
        assert seen.pop(0).equal(scene.image)
        for mask in scene.layout.masks:
            made = seen.pop(0)
            assert made[:, ~mask].equal(scene.image[:, ~mask])
            assert made[:, mask].equal(torch.tensor(colour, dtype=torch.uint8)[:, None].expand(3, int(mask.sum())))
    assert not seen


def test_a_run_that_is_repeated_makes_nothing_again(tmp_path):
    first, second = Reddish(), Reddish()
    before = Texture(Paint([51, 204, 102])).run(bench_of(tmp_path, {"one": first}))
    again = Texture(Broken()).run(bench_of(tmp_path, {"one": second}))
    assert again.numbers == before.numbers
    assert not second.seen
    assert (again.figures[-1].picture == before.figures[-1].picture).all()


def test_a_detector_of_other_weights_is_looked_at_again(tmp_path):
    first, second = Reddish(), Reddish()
    second.weight = torch.nn.Parameter(torch.ones(1), requires_grad=False)
    Texture(Paint([51, 204, 102]), examples=0).run(bench_of(tmp_path, {"one": first}))
    Texture(Paint([51, 204, 102]), examples=0).run(bench_of(tmp_path, {"one": second}))
    assert len(second.seen) == len(first.seen) > 0


def test_a_detector_with_its_classes_in_another_order(tmp_path):
    bench = bench_of(tmp_path, {"one": Reddish(), "other": Reddish(("green", "red"))})
    numbers = Texture(Paint([51, 204, 102])).run(bench).numbers["detectors"]
    assert numbers["other"] == numbers["one"]


def test_a_detector_that_lacks_a_class(tmp_path):
    bench = bench_of(tmp_path, {"one": Reddish(), "other": Reddish(("red", "green", "blue"))})
    bench.detectors["other"].class_names = ("red", "grey")
    with pytest.raises(LayoutError, match="other: unknown class 'green'"):
        Texture(Paint([0, 0, 0])).run(bench)


def test_each_image_has_the_style_of_another(tmp_path):
    paint = Paint([0, 0, 0])
    Texture(paint).run(bench_of(tmp_path, {"one": Reddish()}))
    first, second = (scene.image for scene in Scenes().scenes())
    assert [style.equal(other) for style, other in zip(paint.styles, (second, first), strict=True)] == [True, True]


def test_styles_of_a_folder(tmp_path):
    for number in range(3):
        write_png(tmp_path / f"{number}.png", block_image((16, 16), number))
    paint = Paint([0, 0, 0])
    Texture(paint, styles=tmp_path).run(bench_of(tmp_path / "out", {"one": Reddish()}))
    assert len(paint.styles) == 2 and not paint.styles[0].equal(paint.styles[1])
    known = [block_image((16, 16), number) for number in range(3)]
    assert all(any(style.equal(one) for one in known) for style in paint.styles)


def test_layouts_without_masks(tmp_path):
    with pytest.raises(ConfigError, match="no layout has masks: set layout.masks=true"):
        Texture(Paint([0, 0, 0])).run(bench_of(tmp_path, {"one": Reddish()}, Scenes(masks=False)))


@pytest.mark.parametrize(
    ("side", "size"), [(1, 16), (22, 16), (23, 32), (45, 32), (46, 64), (5000, 64), (16, 16)]
)  # halfway between 16 and 32 lies 22.6
def test_the_nearest_size_is_so_by_ratio(side, size):
    assert nearest_size(side, (16, 32, 64)) == size


def test_the_best_detection_overlaps_and_has_the_class():
    box = torch.tensor([0.0, 0, 10, 10])
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 7], [0, 0, 10, 4.9]])
    scores, labels = torch.tensor([0.9, 0.4, 0.6, 0.99]), torch.tensor([0, 1, 1, 1])
    found = Detections(boxes, scores, labels, SIZE)
    assert best_detection(found, box, 1) == (pytest.approx(0.6), pytest.approx(0.7))
    assert best_detection(found, box, 0) == (pytest.approx(0.9), pytest.approx(1.0))
    assert best_detection(found, box, 2) == (0.0, None)
    nothing = Detections(boxes[:0], scores[:0], labels[:0], SIZE)
    assert best_detection(nothing, box, 0) == (0.0, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": []}, r"sizes=\[\]"),
        ({"sizes": [32, 16]}, "each larger than the one before"),
        ({"sizes": [0, 16]}, "numbers above 0"),
        ({"examples": -1}, "examples=-1"),
    ],
)
def test_options_that_mean_nothing(options, message):
    with pytest.raises(ConfigError, match=message):
        Texture(Paint([0, 0, 0]), **options)


def test_no_picture_without_examples(tmp_path):
    found = Texture(Paint([0, 0, 0]), examples=0).run(bench_of(tmp_path, {"one": Reddish()}))
    assert "examples" not in [figure.name for figure in found.figures]
    assert not (tmp_path / "images").exists()


def test_the_shipped_configuration_describes_the_experiment():
    experiment = instantiate(compose_config("run", ["experiment=fig13_texture"]).experiment)
    assert isinstance(experiment, Texture) and isinstance(experiment.texture, PhaseRandomised)


def test_objects_of_one_photograph_count_as_one():
    """Each photograph has one change, by however many objects: they tell no more than one of them."""

    def rows(shared):
        numbers = {"p_before": 0.9, "iou_before": 0.8}
        return [
            {"image": image if shared else f"{image}-{k}", FIXED: numbers | {"p_after": p, "iou_after": p}}
            for image, p in zip("abcdefgh", (0.1, 0.6, 0.3, 0.8, 0.2, 0.9, 0.5, 0.4), strict=True)
            for k in range(6)
        ]

    shared, alone = means(rows(True), FIXED), means(rows(False), FIXED)
    assert (shared["images"], shared["objects"], alone["images"]) == (8, 48, 48)
    for measure in ("change_of_p", "change_of_iou"):
        first, second = shared[measure], alone[measure]
        assert first.value == pytest.approx(second.value)
        assert first.high - first.low > 2 * (second.high - second.low)


def test_what_moves_all_objects_of_a_photograph_says_nothing_of_their_sizes():
    falls = (0.1, 0.6, 0.3, 0.8, 0.2, 0.7, 0.5, 0.4)

    def rows(further, images):
        found = [{"p_before": 0.9, "p_after": 0.9 - fall - further} for fall in falls]
        return [{"image": image, FIXED: one} for image, one in zip(images, found, strict=True)]

    together = change_less(rows(0.1, "abcdefgh"), rows(0.0, "abcdefgh"), FIXED)
    apart = change_less(rows(0.1, "abcdefgh"), rows(0.0, "ijklmnop"), FIXED)
    assert together == pytest.approx((-0.1, -0.1, -0.1))
    assert apart.value == pytest.approx(-0.1) and apart.high - apart.low > 0.3
