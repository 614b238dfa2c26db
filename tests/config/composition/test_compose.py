"""What a command is run with: a complete configuration, experiments by name, and help that knows every value."""

import shutil
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

import detinv
from detinv import cli
from detinv.config import folders, hydra_context
from detinv.config import help as command_help
from detinv.config.composition.chosen import chosen_groups
from detinv.config.composition.compose import compose_config, composed_values
from detinv.config.composition.kinds import flat_values
from detinv.config.folders import config_dir
from detinv.config.help import Experiment, Option, experiments, groups, options, render
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


@pytest.fixture
def experiment_folder(monkeypatch, tmp_path):
    """An empty folder of experiments."""
    monkeypatch.setattr(folders, "experiment_dir", lambda: tmp_path)
    monkeypatch.setattr(command_help, "experiment_dir", lambda: tmp_path)
    return tmp_path


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


def test_help_of_a_detector_shows_the_preset_that_suits_it():
    values = {name: composed_values("invert", [f"detector={name}"]) for name in ("nanodet_m", "shapes_fcos")}
    assert "preset.objective.shapes_every" in values["nanodet_m"].keys() - values["shapes_fcos"].keys()


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


def test_help_shows_groups_values_and_comments():
    text = render(config_dir(), "train")
    assert "[shapes_retinanet]" in text
    assert "batch_size=16" in text
    assert "images per update" in text
    assert "detinv train model=bccd_retinanet data.root=PATH" in text
    assert "_target_" not in text


def test_help_of_a_choice_shows_that_choice():
    text = render(config_dir(), "train", {"model": "bccd_fasterrcnn"})
    assert "data.root=(required)" in text
    assert "detector.name=bccd_fasterrcnn" in text
    assert "batch_size=8" in text


def test_help_knows_all_values_that_can_be_overridden():
    """Every leaf of the composed configuration is listed, so that suggestions can find it, and little else."""
    config = compose_config("train")
    listed = {option.key for option in options(config_dir(), "train")}

    def leaves(node, prefix=""):
        for key, value in node.items():
            if key.startswith("_"):
                continue
            if isinstance(value, dict) and value:
                yield from leaves(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}"

    composed = set(leaves(yaml.safe_load(cli_yaml(config))))
    assert composed <= listed
    left_out = listed - composed
    assert left_out == {
        f"detector.{name}" for name in ("model.lively_head", "trust_weights", "options", "colour_covariance")
    }


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


def cli_yaml(config):
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(config)


def test_options_are_read_from_yaml_with_their_comments(tmp_path):
    (tmp_path / "job.yaml").write_text(
        "# Does a job.\ndefaults:\n  - _self_\n  - kind: b\nsteps: 3  # how many\n"
        "nested:\n  sizes: [1, 2]\n  name: '#1'\nempty: {}\nlast: ???  # must be given\n"
    )
    (tmp_path / "kind").mkdir()
    (tmp_path / "kind" / "a.yaml").write_text("weight: 1.0\n")
    (tmp_path / "kind" / "b.yaml").write_text("# b\n_target_: x.y\nweight: 2.0  # of b\n")
    assert [group.choices for group in groups(tmp_path, "job")] == [("a", "b")]
    found = options(tmp_path, "job")
    assert found == [
        Option("steps", "3", "how many"),
        Option("nested.sizes", "[1, 2]", ""),
        Option("nested.name", "#1", ""),
        Option("empty", "{}", ""),
        Option("last", "???", "must be given"),
        Option("kind.weight", "2.0", "of b"),
    ]
    assert [option.key for option in found if option.required] == ["last"]
    assert options(tmp_path, "job", {"kind": "a"})[-1] == Option("kind.weight", "1.0", "")


def test_experiments_are_read_with_their_summaries(experiment_folder):
    (experiment_folder / "b.yaml").write_text(
        "# @package _global_\n#\n# Figure 9: more.\n# More.\nexperiment:\n  a: 1\n"
    )
    (experiment_folder / "a.yaml").write_text("steps: 3\n# not at the head\n")
    assert experiments() == [Experiment("a", "", False), Experiment("b", "Figure 9: more.", True)]


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


def test_help_of_run_lists_experiments_and_that_of_invert_the_others(capsys):
    assert cli.main(["run", "--help"]) == 0
    text = capsys.readouterr().out
    assert "usage: detinv run EXPERIMENT [group" in text
    section = text.split("experiments (detinv run NAME):\n")[1].split("\n\n")[0].splitlines()
    assert any(line.split()[0] == "table1_transfer" and "Table 1: inversion transfer" in line for line in section)
    assert not any("diagonal_plain" in line for line in section)
    assert cli.main(["invert", "--help"]) == 0
    section = capsys.readouterr().out.split("experiments (experiment=NAME):\n")[1].split("\n\n")[0]
    assert "diagonal_plain" in section and "table1_transfer" not in section


@pytest.mark.parametrize("word", ["table1_transfer", "experiment=table1_transfer"])
def test_help_of_an_experiment_shows_its_values(word, capsys):
    assert cli.main(["run", "layout=texture", word, "--help"]) == 0
    lines = {line.split("=")[0].strip(): line for line in capsys.readouterr().out.splitlines() if "=" in line}
    assert lines["experiment.joint"].split()[0] == "experiment.joint=false"
    assert "optimiser updates of each image" in lines["steps"] and lines["steps"].split()[0] == "steps=100"
    assert lines["layout.count"].strip() == "layout.count=16"
    assert lines["layout.world"].split()[0] == "layout.world=plain"
    assert "shapes_retinanet" in lines["detectors"]


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


def test_help_of_an_experiment_knows_all_values_that_can_be_overridden():
    config = yaml.safe_load(cli_yaml(compose_config("run", ["experiment=table1_transfer", "logger=none"])))
    listed = {
        option.key for option in options(config_dir(), "run", {"experiment": "table1_transfer", "logger": "none"})
    }
    assert set(config["experiment"]) - {"_target_"} == {
        key.removeprefix("experiment.") for key in listed if key.startswith("experiment.")
    }
    assert {key for key in config if not isinstance(config[key], dict)} - {"logger"} <= listed
