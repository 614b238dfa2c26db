"""What a command is run with: a complete configuration, and experiments by name."""

import shutil
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

import detinv
from detinv.config import folders, hydra_context
from detinv.config.composition.chosen import chosen_groups
from detinv.config.composition.compose import compose_config
from detinv.config.composition.kinds import flat_values
from detinv.config.folders import config_dir
from detinv.config.help import Option, experiments, options
from detinv.config.renamed import current_words, is_old_name
from detinv.errors import ConfigError
from detinv.zoo.weights import bundled_weights


def test_none_switches_a_value_off():
    assert compose_config("train", ["gradient_clip=null"]).gradient_clip is None


def test_choices_are_composed_anew_when_a_file_has_changed_and_belong_to_the_caller(monkeypatch, tmp_path):
    folder = tmp_path / "configs"
    shutil.copytree(config_dir(), folder)
    for module in (folders, hydra_context):
        monkeypatch.setattr(module, "config_dir", lambda: folder)
    config = compose_config("train")
    config.gradient_clip, before = 123, config.gradient_clip
    assert compose_config("train").gradient_clip == before
    file = folder / "train.yaml"
    file.write_text(file.read_text().replace("\ngradient_clip:", "\ngradient_clip: 77  #"))
    assert compose_config("train").gradient_clip == 77


def test_an_option_that_help_calls_optional_may_be_null():
    assert compose_config("bench", ["inversion.against=null"]).inversion.against is None
    with pytest.raises(ConfigError, match=r"inversion\.preset=null: expected a text"):
        compose_config("bench", ["inversion.preset=null"])


def test_an_experiment_can_be_chosen_by_name(experiment_folder):
    (experiment_folder / "quick.yaml").write_text("steps: 3\ndata:\n  seed: 9\n")
    config = compose_config("train", ["experiment=quick", "data.seed=4"])
    assert (config.steps, config.data.seed) == (3, 4)


def test_an_experiment_is_composed_anew_when_it_has_changed(experiment_folder):
    for steps in (3, 5, 3):
        (experiment_folder / "quick.yaml").write_text(f"steps: {steps}\n")
        config = compose_config("train", ["experiment=quick"])
        assert config.steps == steps
        config.steps = 7


@pytest.mark.parametrize(
    ("command", "words", "photographs"),
    [
        ("invert", [], False),
        ("invert", ["detector=nanodet_m"], True),
        ("invert", ["detector=nanodet_m", "preset=default"], False),
        ("run", ["experiment=fig10_context", "detectors=[{name: shapes_fcos}]"], False),
        ("run", ["experiment=fig10_context", "detectors=[shapes_fcos, {name: nanodet_m, label: coco}]"], True),
    ],
)
def test_the_preset_follows_what_detectors_were_trained_on_unless_one_is_chosen(command, words, photographs):
    config = compose_config(command, [*words, "preset.objective.weights.cls=7"])
    assert (config.preset.precondition is not None) is photographs
    assert config.preset.objective.weights.cls == 7


def test_an_experiment_that_chooses_a_preset_keeps_it(experiment_folder):
    (experiment_folder / "mine.yaml").write_text(
        "defaults:\n  - override /preset: paper\n  - override /detector: nanodet_m\n"
    )
    assert compose_config("invert", ["experiment=mine"]).preset.precondition is None


def training_names():
    return sorted(path.stem for path in (config_dir() / "model").glob("*.yaml"))


@pytest.mark.parametrize("name", training_names())
def test_every_training_composes_with_the_detector_of_its_name(name):
    overrides = [f"model={name}", "data.root=somewhere"][: 2 if name.startswith("bccd") else 1]
    config = compose_config("train", overrides)
    assert config.detector.name == name
    assert config.steps > 0


def test_every_bundled_detector_has_a_training_or_a_licence():
    files = (config_dir() / "detector").glob("*.yaml")
    bundled = [path.stem for path in files if "weights: bundled" in path.read_text()]
    by_others = [path.stem for path in (bundled_weights("any").parents[1] / "licences").glob("*.txt")]
    assert sorted(training_names() + by_others) == sorted(bundled)


def test_what_a_file_leaves_out_is_listed_with_its_default_and_can_be_given():
    listed = {option.key: option for option in options(config_dir(), "invert")}
    zoom = listed["preset.augmentation.zoom"]
    assert (zoom.default, zoom.comment) == ("0.0", "largest relative change of size, 0.1 for 0.9 to 1.1")
    assert listed["preset.augmentation.shift"].default == "4"
    config = compose_config("invert", ["preset.augmentation.zoom=0.1", "detector.model.lively_head=true"])
    assert config.preset.augmentation.zoom == 0.1
    assert config.detector.model.lively_head is True
    assert compose_config("invert", ["+preset.augmentation.zoom=0.2"]).preset.augmentation.zoom == 0.2


def test_an_option_of_several_detectors_is_told_where_it_belongs():
    with pytest.raises(ConfigError, match=r"write detector\.members\.NAME\.weights=\.\.\. for each"):
        compose_config("invert", ["detector=[shapes_fcos,shapes_retinanet]", "detector.weights=x"])
    config = compose_config(
        "invert", ["detector=[shapes_fcos,shapes_retinanet]", "detector.members.shapes_fcos.weights=x"]
    )
    assert config.detector.members.shapes_fcos.weights == "x"


def test_experiments_lie_beside_the_configurations(monkeypatch, tmp_path):
    assert (folders.experiment_dir() / "table1_transfer.yaml").is_file()
    package = Path(detinv.__file__).resolve().parent
    monkeypatch.setattr(folders, "config_dir", lambda: package / "configs")
    assert folders.experiment_dir() == package / "experiments"


@pytest.mark.slow
def test_every_experiment_says_what_it_is_and_composes():
    assert {experiment.name for experiment in experiments() if experiment.for_run} >= {"table1_transfer"}
    for experiment in experiments():
        assert experiment.summary.endswith(".") and "package" not in experiment.summary
        command = "run" if experiment.for_run else "invert"
        needed = ["layout.annotations=somewhere"] if "annotations: ???" in layout_of(experiment.name) else []
        config = compose_config(command, [f"experiment={experiment.name}", *needed])
        assert ("experiment" in config) == experiment.for_run


def layout_of(experiment):
    """The file of the layouts that a experiment chooses."""
    defaults = yaml.safe_load((folders.experiment_dir() / f"{experiment}.yaml").read_text()).get("defaults", [])
    chosen = next((entry["override /layout"] for entry in defaults if "override /layout" in entry), "plain")
    return (config_dir() / "layout" / f"{chosen}.yaml").read_text()


def test_an_experiment_wins_over_what_it_chooses(experiment_folder):
    (experiment_folder / "mine.yaml").write_text(
        "# @package _global_\n# Mine.\ndefaults:\n  - override /layout: world\n"
        "layout:\n  world: scale\n  count: 3\nexperiment:\n  size: 4  # of it\n"
    )
    found = {option.key: option for option in options(config_dir(), "run", {"experiment": "mine"})}
    assert found["layout.world"].default == "scale" and found["layout.count"].default == "3"
    assert found["experiment.size"] == Option("experiment.size", "4", "of it")
    config = compose_config("run", ["experiment=mine", "layout=part"])
    assert config.layout.world == "part" and config.layout.count == 3


@pytest.mark.parametrize("command", ["run", "invert"])
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {"world": "scale", "count": 3}),
        (["layout=part", "layout.seed=5"], {"world": "part", "count": 3, "seed": 5}),
        (["layout=file", "layout.path=mine.yaml"], {"path": "mine.yaml", "image_size": [128, 128]}),
        *(
            pytest.param(*one, marks=pytest.mark.slow)
            for one in (
                (["layout=sample"], {"path": "sample", "image_size": [128, 128]}),
                (["layout=sample:farm"], {"path": "sample:farm", "image_size": [128, 128]}),
                (["layout=coco", "layout.annotations=a.json"], {"annotations": "a.json", "count": None}),
                (["layout=random", "layout.count=2"], {"count": 2, "objects": 5}),
            )
        ),
    ],
)
def test_options_of_layouts_apply_to_the_source_they_were_written_for(experiment_folder, words, expected, command):
    """An experiment's `layout.count` is for the layouts of a world, and says nothing about those of a file."""
    kind = "experiment:\n  size: 4\n" if command == "run" else ""
    text = "# @package _global_\n# Mine.\ndefaults:\n  - override /layout: world\n"
    text += f"layout:\n  world: scale\n  count: 3\n{kind}"
    (experiment_folder / "mine.yaml").write_text(text)
    config = compose_config(command, ["experiment=mine", *words])
    assert {name: config.layout[name] for name in expected} == expected
    chosen = chosen_groups(current_words(command, words))
    listed = {option.key for option in options(config_dir(), command, {"experiment": "mine"} | chosen)}
    assert {key for key in listed if key.startswith("layout.")} == {
        f"layout.{name}" for name in config.layout if not name.startswith("_")
    }


@pytest.mark.parametrize(
    "world",
    ["plain", *(pytest.param(one, marks=pytest.mark.slow) for one in ("texture", "shape", "context", "part", "scale"))],
)
def test_worlds_are_layouts_by_their_old_names(world):
    layout = compose_config("invert", [f"layout={world}"]).layout
    assert layout == compose_config("invert", ["layout=world", f"layout.world={world}"]).layout
    assert layout.world == world


@pytest.mark.parametrize(
    ("command", "word", "new"),
    [
        ("run", "protocol.joint=true", "protocol.joint is called experiment.joint now; write experiment.joint=true"),
        ("train", "training=shapes_fcos", "training is called model now; write model=shapes_fcos"),
        (
            "invert",
            "preset.objective.weights.total_variation=1e-5",
            "write preset.regularisers.total_variation.weight=1e-5 together with regulariser=total_variation",
        ),
        ("invert", "+preset.objective.alpha_exponent=3", "write preset.regularisers.alpha_norm.exponent=3"),
    ],
)
def test_old_names_say_the_new_ones(command, word, new):
    with pytest.raises(ConfigError, match=new):
        compose_config(command, [word])


@pytest.mark.parametrize("path", sorted(folders.experiment_dir().glob("*.yaml")), ids=lambda path: path.stem)
def test_no_option_of_an_experiment_has_a_name_that_is_refused_as_an_old_one(path):
    values = flat_values(OmegaConf.load(path))
    assert [key for key in values if is_old_name(key)] == []
