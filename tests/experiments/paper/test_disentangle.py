"""Figure 5 with detectors of random weights: which terms each condition has, and who judges whom."""

from functools import cache

import pytest
import torch

from detinv.errors import ConfigError
from detinv.experiments.common.setup import ExperimentSetup
from detinv.experiments.paper.disentangle import NOISE, PARTS, PROPOSALS, REAL, Condition, Disentangle, proposes
from detinv.inversion.objective.objective import TERM_NAMES
from detinv.inversion.preset import load_preset
from detinv.layouts.layout import Layout
from detinv.results.io.images import read_image
from detinv.worlds.scene import Scene
from tests.fakes import block_image, tiny_detector

SIZE = (64, 64)


class Scenes:
    """Two scenes with two objects each."""

    def __init__(self, masks=True):
        self.masks = masks

    def scenes(self):
        boxes = torch.tensor([[4.0, 6.0, 30.0, 28.0], [32.0, 30.0, 60.0, 62.0]])
        masks = torch.zeros(2, *SIZE, dtype=torch.bool)
        masks[0, 6:28, 4:30] = masks[1, 30:62, 32:60] = True
        return [
            Scene(
                block_image(SIZE, number),
                Layout(boxes, torch.tensor([number, 2]), SIZE, f"scene{number}", masks if self.masks else None),
            )
            for number in range(2)
        ]

    def layouts(self, class_names, network_size, detections_per_image):
        return [scene.layout for scene in self.scenes()]


class Recorded(ExperimentSetup):
    """Makes images of noise at once, and remembers what was asked for."""

    def invert(self, key, label, layouts, preset=None, steps=None):
        weights = set((preset or self.preset).objective.weights)
        self.__dict__.setdefault("asked", {})[key] = (weights, steps)
        return [block_image(SIZE, len(self.asked)) for _ in layouts]


@cache
def detector(family):
    return tiny_detector(family, seed=len(family))


def bench_of(folder, families, kind=Recorded, source=None, **options):
    bench = kind(folder, list(families), source or Scenes(), load_preset("default"), **options)
    bench.detectors |= {family: detector(family) for family in families}
    return bench


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The bench and what was found on it, with all conditions."""
    bench = bench_of(tmp_path_factory.mktemp("fig5"), ["maskrcnn", "fasterrcnn"])
    return bench, Disentangle(examples=1).run(bench)


def test_every_term_of_a_detector_belongs_to_one_part_only():
    grouped = [*PROPOSALS, *(term for terms in PARTS.values() for term in terms)]
    assert sorted(grouped) == sorted(TERM_NAMES)


def test_conditions_have_the_terms_of_their_parts(ran):
    bench, _ = ran
    weights = {key: found for key, (found, _) in bench.asked.items()}
    second_stage = {"cls": {"roi_cls", "roi_positive"}, "reg": {"roi_reg"}, "mask": {"roi_mask"}}
    for key in ("cls_reg_mask", "mask", "cls", "reg", "cls_reg"):
        wanted = set().union(*(second_stage[part] for part in key.split("_")))
        found = {term for term in weights[f"maskrcnn/{key}"] if term.startswith(("roi", "rpn"))}
        assert found == wanted | {"rpn_cls", "rpn_reg"}
    for key in ("cls", "reg"):
        found = {term for term in weights[f"maskrcnn/{key}_rpn_off"] if term.startswith(("roi", "rpn"))}
        assert found == second_stage[key]
    # No mask is asked of a detector that has none, whatever the layouts have.
    assert not any(key.startswith("fasterrcnn/") and "mask" in key for key in weights)
    assert {key: steps for key, (_, steps) in bench.asked.items() if key.endswith(NOISE)} == {
        f"maskrcnn/{NOISE}": 0,
        f"fasterrcnn/{NOISE}": 0,
    }


def test_one_stage_has_no_proposals_to_leave_out(tmp_path):
    bench = bench_of(tmp_path, ["retinanet", "fasterrcnn"])
    numbers = Disentangle(references=False).run(bench).numbers
    assert set(numbers["retinanet"]["conditions"]) == {"cls", "reg", "cls+reg"}
    assert set(numbers["fasterrcnn"]["conditions"]) == {"cls", "reg", "cls+reg", "cls, rpn off", "reg, rpn off"}
    weights, _ = bench.asked["retinanet/cls"]
    assert {"cls", "positive"} <= weights
    assert "reg" not in weights


@pytest.mark.parametrize(("family", "answer"), [("retinanet", False), ("fcos", False), ("fasterrcnn", True)])
def test_two_stages_propose(family, answer):
    assert proposes(detector(family), Scenes().layouts((), None, 0)[0]) is answer


def test_numbers_of_every_condition_and_pair(ran):
    _, found = ran
    numbers = found.numbers["maskrcnn"]
    assert (numbers["judge"], found.numbers["fasterrcnn"]["judge"]) == ("fasterrcnn", "maskrcnn")
    assert (numbers["layouts"], numbers["objects"]) == (2, 4)
    assert {NOISE, REAL, "cls+reg+mask"} <= set(numbers["conditions"])
    for condition in numbers["conditions"].values():
        assert {"AP", "AP50", "AP75", "box_iou", "class_accuracy", "box_border", "mask_border"} <= set(condition)
    assert set(numbers["differences"]) == {"cls - reg", "mask - cls", "mask - reg", "cls - reg, rpn off"}
    for pair, difference in numbers["differences"].items():
        first, _, rest = pair.partition(" - ")
        second, _, ending = rest.partition(",")
        ends = f",{ending}" if ending else ""
        means = [numbers["conditions"][f"{one}{ends}"]["class_probability"].value for one in (first, second)]
        assert difference["class_probability"].value == pytest.approx(means[0] - means[1])
    assert [figure.name for figure in found.figures] == [
        "images_maskrcnn",
        "measures_maskrcnn",
        "images_fasterrcnn",
        "measures_fasterrcnn",
    ]


def test_layouts_without_masks_leave_mask_conditions_out(tmp_path):
    bench = bench_of(tmp_path, ["maskrcnn", "fasterrcnn"], source=Scenes(masks=False))
    numbers = Disentangle(["mask", "cls", "reg"], references=False, examples=0).run(bench).numbers["maskrcnn"]
    assert not any("mask" in name for name in numbers["conditions"])
    assert set(numbers["differences"]) == {"cls - reg", "cls - reg, rpn off"}


@pytest.mark.slow
def test_the_images_differ_by_the_terms_that_are_there(tmp_path):
    bench = bench_of(
        tmp_path, ["fasterrcnn", "retinanet"], ExperimentSetup, steps=2, trainer={"accelerator": "cpu"}, batch_size=2
    )
    Disentangle(["reg"], ["reg"], references=False, examples=0).run(bench)
    folder, name = tmp_path / "images" / "fasterrcnn", f"{bench.layouts('fasterrcnn')[0].id}.png"
    assert not torch.equal(read_image(folder / "reg" / name), read_image(folder / "reg_rpn_off" / name))


def test_a_judge_that_lacks_a_class_of_the_layouts_is_refused_before_anything_is_inverted(tmp_path):
    bench = bench_of(tmp_path, ["retinanet", "fcos"])
    Disentangle().check(bench)
    bench.detector("fcos").class_names = ("class0", "class1", "other")
    with pytest.raises(ConfigError, match=r"fcos cannot judge the images of retinanet: it does not know 'class2'"):
        Disentangle(judge="fcos").check(bench)


def test_nobody_judges_its_own_images(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no judge for the images of retinanet: .*experiment\.judge=NAME"):
        Disentangle(judge="retinanet").run(bench_of(tmp_path, ["retinanet"]))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"conditions": ["cls+box"]}, "cannot read 'cls.box'; join cls, reg, mask"),
        ({"conditions": ["cls+cls"]}, "cannot read"),
        ({"conditions": [], "rpn_off": []}, "name at least one"),
        ({"score_thresh": 1.0}, "score_thresh=1"),
        ({"examples": -1}, "examples=-1"),
    ],
)
def test_mistakes_are_named(options, problem):
    with pytest.raises(ConfigError, match=problem):
        Disentangle(**options)


def test_names_and_keys_of_conditions_differ():
    conditions = [Condition(parts, on) for parts in (("cls",), ("cls", "reg")) for on in (True, False)]
    assert len({one.name for one in conditions}) == len({one.key for one in conditions}) == 4
    assert Condition(("cls",), False).name == "cls, rpn off"
