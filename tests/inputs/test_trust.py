"""Configurations run no code of their own, and read no environment, unless the command line trusts them."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from detinv import cli
from detinv.commands import execute
from detinv.config import folders, trust
from detinv.config import help as command_help
from detinv.config.folders import config_dir, experiment_dir
from detinv.config.instantiate import instantiate, locate
from detinv.config.targets import allowed_targets
from detinv.config.trust import check_targets, is_trusting, trusting
from detinv.detectors.load import load_detector
from detinv.errors import ConfigError
from detinv.inversion.preset import load_preset
from tests.inputs.conftest import QUIET

EVIL = "evil_module_of_the_test"
CODE = """
from pathlib import Path
Path("ran").write_text("")

def build(weights="shapes_fcos"):
    from detinv.detectors.load import load_detector
    return load_detector(weights)
"""
SECRET = "s3cr3t-of-the-test"
EMPTY = ("layout=file", "layout.path=empty.yaml")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder with a module that leaves a mark when it is imported, and a secret in the environment."""
    (tmp_path / f"{EVIL}.py").write_text(CODE)
    (tmp_path / "mine.yaml").write_text(f"_target_: {EVIL}.build\n")
    (tmp_path / "empty.yaml").write_text("[]\n")
    monkeypatch.setenv("DETINV_SECRET", SECRET)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop(EVIL, None)


def test_what_the_files_name_is_what_is_allowed():
    """Comments name nothing, and nothing of detinv is allowed that no file names but what its own code builds."""
    named = set()
    for path in (*config_dir().rglob("*.yaml"), *experiment_dir().rglob("*.yaml")):
        for entry in entries(yaml.safe_load(path.read_text())):
            named |= {entry[key] for key in ("_target_", "adapter") if key in entry}
    assert len(named) > 40
    assert len({target for target in allowed_targets() - named if target.startswith("detinv.")}) == 4
    assert named <= allowed_targets()


def entries(node):
    if isinstance(node, dict):
        yield node
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from entries(value)


def test_everything_allowed_is_there_and_takes_no_code_by_name():
    for target in allowed_targets():
        assert callable(locate(target))
    for target in ("torch.load", "torch.hub.load", "os.system", "builtins.eval", "hydra.utils.instantiate"):
        assert target not in allowed_targets()


FORBIDDEN = [
    "os.system",
    "builtins.eval",
    "builtins.exec",
    "builtins.open",
    "subprocess.run",
    "torch.load",
    "torch.hub.load",
    "torch.jit.load",
    "pickle.loads",
    "numpy.load",
    "yaml.unsafe_load",
    "importlib.import_module",
    "functools.partial",
    "operator.attrgetter",
    "hydra.utils.instantiate",
    "hydra.utils.get_method",
    "hydra.utils.call",
    "omegaconf.OmegaConf.load",
    # What a package would let through: what its modules import, and what of detinv's own writes, reads and runs.
    "detinv.config.instantiate.import_module",
    "detinv.config.instantiate.instantiate",
    "detinv.config.instantiate.locate",
    "detinv.config.instantiate.trusting",
    "detinv.detectors.load.torch.load",
    "detinv.detectors.load.load_detector",
    "detinv.zoo.weights.torch.load",
    "detinv.zoo.weights.read_state",
    "detinv.zoo.weights.os.system",
    "detinv.results.io.files.write_text",
    "detinv.results.io.files.os.system",
    "detinv.cli.main",
    "detinv.commands.execute.run_command",
    "torch.optim.torch.load",
    "torch.optim.Optimizer",
    "torchvision.models.detection.torch.load",
    # Not quite the names that are allowed.
    "torch.optim.SGD.__init__.__globals__",
    " torch.optim.SGD",
    "torch.optim.sgd",
    "torch.optim.\uff33GD",
    "detinv.layouts.sources.FileLayouts ",
    "detinv.layouts.sources..FileLayouts",
    "",
    f"{EVIL}.build",
]


@pytest.mark.parametrize("target", FORBIDDEN)
def test_what_is_not_allowed_is_neither_built_nor_imported(target, folder):
    node = {"_target_": target}
    nested = {"_target_": "detinv.inversion.optim.schedules.Cosine", "final": 0.1}
    with trusting(False):
        for entry in (
            node,
            {**nested, "final": node},
            {**nested, "final": [0, [node]]},
            {**nested, "_args_": [node]},
            {**nested, "_args_": [{"deep": [{"deeper": node}]}]},
            {**nested, "_recursive_": False, "final": node},
            {**nested, "_partial_": True, "final": {**node, "_partial_": True}},
            {"plain": node},
            [node],
            {"name": target, "it": {"_target_": "${name}"}},
            {"name": target, "_target_": "${.name}"},
            {"it": {"_target_": "${oc.select:name}"}, "name": target},
            OmegaConf.create(node),
        ):
            with pytest.raises(ConfigError, match="trust_config=true|inside|cannot"):
                instantiate(entry)
        with pytest.raises(ConfigError, match="trust_config=true"):
            locate(target)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("target", [None, 3, True, ["os.system"], {"a": "os.system"}, {"_target_": "os.system"}])
def test_a_target_that_is_no_name_is_refused(target):
    with trusting(False), pytest.raises(ConfigError, match="_target_"):
        instantiate({"_target_": target})


HIDDEN = [
    "\\${oc.env:DETINV_SECRET}",
    "\\\\\\${oc.env:DETINV_SECRET}",
    "${oc.create:{_target_: os.system}}",
    "\\${oc.create:{_target_: os.system}}",
    "${oc.decode:'\\${oc.create:{_target_: os.system}}'}",
]


@pytest.mark.parametrize("text", HIDDEN)
def test_no_text_comes_to_life(text, folder):
    node = {"_target_": "detinv.layouts.sources.FileLayouts", "path": text}
    with trusting(False), pytest.raises(ConfigError, match="trust_config=true"):
        instantiate(node)


ENVIRONMENT = [
    "${oc.env:DETINV_SECRET}",
    "${oc.env:DETINV_SECRET,default}",
    "a${oc.env:DETINV_SECRET}b",
    "${oc.${env}:DETINV_SECRET}",
    "${oc.decode:'\\${oc.env:DETINV_SECRET}'}",
    "${oc.decode:${oc.env:DETINV_SECRET}}",
    "${oc.create:{x:'\\${oc.env:DETINV_SECRET}'}}",
    "${oc.select:nothing,${oc.env:DETINV_SECRET}}",
    "${oc.dict.values:${oc.create:{x:${oc.env:DETINV_SECRET}}}}",
]


@pytest.mark.parametrize("text", ENVIRONMENT)
def test_the_environment_is_not_read(text, folder):
    with trusting(False), pytest.raises(ConfigError) as caught:
        instantiate({"_target_": "detinv.layouts.sources.FileLayouts", "path": text, "env": "env"})
    assert "trust_config=true" in str(caught.value) and SECRET not in str(caught.value)
    # It is a Python program's own.
    assert OmegaConf.create({"a": "${oc.env:DETINV_SECRET}"}).a == SECRET


@pytest.mark.parametrize(
    "key", ["out_dir", "steps", "layout.path", "detector.weights", "logger.name", "preset.rule.topk"]
)
def test_the_command_line_does_not_read_the_environment(key, refused, folder):
    words = ("logger=wandb", *EMPTY, f"{key}=${{oc.env:DETINV_SECRET}}", *([] if key == "out_dir" else ["out_dir=out"]))
    assert SECRET not in refused("invert", *words, naming=("oc.env", "trust_config=true"))


def test_a_detector_of_one_s_own_needs_trust(refused, folder):
    for words in (
        ("invert", "detector=mine.yaml", *EMPTY, *QUIET),
        ("invert", "detector=[shapes_fcos,mine.yaml]", *EMPTY, *QUIET),
        ("detect", "detector=mine.yaml", "images=.", "out_dir=out"),
        ("check", "detector=mine.yaml", "out_dir=out"),
        ("bench", "detector=mine.yaml", "out_dir=out"),
        ("invert", "-m", "detector=mine.yaml", "seed=1,2", *EMPTY, *QUIET),
        ("run", "table1_transfer", "detectors=[mine.yaml]", "logger=none", "out_dir=out"),
        ("run", "table1_transfer", "detectors=[{name: mine.yaml}]", "logger=none", "out_dir=out"),
    ):
        refused(*words, naming=("mine.yaml", EVIL, "trust_config=true"))
        assert not (folder / "ran").exists() and str(folder) not in sys.path


def test_trust_on_the_command_line_is_enough_and_is_not_kept(folder, capsys):
    assert cli.main(["invert", "detector=mine.yaml", "trust_config=true", *EMPTY, *QUIET]) == 0
    assert (folder / "ran").exists()
    for path in (folder / "out").rglob("*"):
        assert not path.is_file() or b"trust_config" not in path.read_bytes()


def test_dashboards_are_told_no_secret(folder, monkeypatch, capsys):
    key = "0123456789abcdef" * 3
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert cli.main(["invert", *EMPTY, *QUIET, "logger=wandb"]) == 0
    files = [path for path in (folder / "out").rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    for path in files:
        data = path.read_bytes()
        assert key.encode() not in data and SECRET.encode() not in data, path


@pytest.mark.parametrize("words", [("trust_config=false",), ("trust_config=true", "trust_config=false")])
def test_trust_can_be_refused(words, refused, folder):
    refused("invert", "detector=mine.yaml", *words, *EMPTY, *QUIET, naming="trust_config=true")


@pytest.mark.parametrize("value", ["yes", "1", "null", "${oc.env:DETINV_SECRET}", "${oc.decode:'true'}", "'true'"])
def test_only_true_is_trust(value, refused, folder):
    refused("invert", "detector=mine.yaml", f"trust_config={value}", *EMPTY, *QUIET, naming="trust_config")


@pytest.mark.parametrize(
    "text",
    [
        "trust_config: true\n",
        "trust_config: true\nlayout:\n  _target_: os.system\n",
        "trust_config: ${oc.decode:'true'}\n",
        "detector:\n  trust_weights: true\n",
        "detectors: [{name: shapes_fcos, weights: w.pt, trust_weights: true}]\n",
        "detectors: \"${oc.create:'[{name: shapes_fcos, trust_weights: true}]'}\"\n",
        "layout:\n  _target_: os.system\n",
        "layout:\n  extra: {_target_: os.system, _args_: [id]}\n",
        "layout:\n  extra: [[{_target_: os.system}]]\n",
        "preset:\n  updates: [{_target_: builtins.eval, _args_: ['1']}]\n",
        "logger:\n  _target_: torch.load\n",
        "name: os.system\nlayout:\n  _target_: ${name}\n",
        "layout: ${oc.create:{_target_:os.system}}\n",
        "out_dir: ${oc.env:DETINV_SECRET}\n",
        f"detector:\n  adapter: {EVIL}.build\n",
        f"detector:\n  model: {{_target_: {EVIL}.build}}\n",
    ],
)
def test_an_experiment_cannot_trust_itself(text, refused, folder, monkeypatch):
    experiments = folder / "experiments"
    experiments.mkdir()
    (experiments / "theirs.yaml").write_text(f"# @package _global_\n# Theirs.\n{text}")
    monkeypatch.setattr(folders, "experiment_dir", lambda: experiments)
    monkeypatch.setattr(command_help, "experiment_dir", lambda: experiments)
    # Its values are only overridden where they would be in the way.
    words = [word for word in QUIET if not word.startswith("out_dir") or "out_dir" not in text]
    words = [word for word in words if not word.startswith("logger") or "logger" not in text]
    line = refused("invert", "experiment=theirs", *words, naming="trust_config=true")
    assert SECRET not in line and not (folder / "ran").exists()


def test_weights_are_trusted_on_the_command_line_alone():
    """The same words that an experiment may not say."""
    bundled = ("detector=yolov8n", "detector.weights=nowhere.pt", "detector.trust_weights=true")
    assert execute.check_command("invert", [*bundled, *EMPTY]).detector.trust_weights is True


PLAIN = "_target_: detinv.detectors.load.assemble_detector\n"
OWN = {
    "weights trusted": "trust_weights: true\n",
    "weights trusted somehow": "trust_weights: ${yes}\nyes: true\n",
    "weights trusted by a number": "trust_weights: 1\n",
    "configuration trusted": "trust_config: true\n",
    "weights trusted below": (
        "members: {a: {_target_: detinv.detectors.torchvision.load.load_torchvision, trust_weights: true}}\n"
    ),
    "put together": "model: \"${oc.create:'{a: 1}'}\"\n",
    "the environment": "weights: ${oc.env:DETINV_SECRET}\n",
    "further files": "defaults: [/preset: paper]\n",
    "code below": f"model: {{_target_: {EVIL}.build}}\n",
    "code in a list": f"model: [[{{_target_: {EVIL}.build}}]]\n",
}


@pytest.mark.parametrize("text", OWN.values(), ids=OWN)
def test_a_file_of_a_detector_decides_nothing_for_others(text, refused, folder):
    (folder / "plain.yaml").write_text(PLAIN + text)
    for command, word in (("check", "detector=plain.yaml"), ("run", "detectors=[plain.yaml]")):
        words = ("table1_transfer", "logger=none") if command == "run" else ()
        refused(command, *words, word, "out_dir=out", naming=("plain.yaml", "trust_config=true"))
    assert not (folder / "ran").exists()


BROKEN = {
    "empty": "",
    "words": "a detector",
    "list": "- a\n",
    "no target": "name: x\n",
    "unclosed": "_target_: [unclosed\n",
    "binary": "\x00\x01",
    "alias": "_target_: a.b\nx: &x [1]\ny: *x\n",
    "nested": "_target_: a.b\nx: " + "[" * 500 + "]" * 500,
    "python object": "_target_: a.b\nx: !!python/object/apply:os.system [id]\n",
    "date": "_target_: a.b\nx: 2020-13-45\n",
    "interpolation unclosed": "_target_: a.b\nx: ${\n",
    "name a list": "_target_: a.b\nname: [x]\n",
    "name null": "_target_: a.b\nname: null\n",
    "name half a character": '_target_: a.b\nname: "\\ud800"\n',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_file_that_describes_no_detector_is_refused(text, refused, folder):
    (folder / "broken.yaml").write_text(text)
    refused("check", "detector=broken.yaml", "out_dir=out", naming="broken.yaml")


def test_a_modest_file_needs_no_trust(folder, capsys):
    """What names only what is allowed is no more than an override."""
    bundled = yaml.safe_load((config_dir() / "detector" / "shapes_fcos.yaml").read_text())
    (folder / "same.yaml").write_text(yaml.safe_dump(bundled))
    assert cli.main(["invert", "detector=same.yaml", *EMPTY, *QUIET]) == 0
    assert str(folder) not in sys.path


def test_detectors_of_installed_packages_need_no_trust(folder, monkeypatch):
    """Whoever installed them has run their code already."""
    point = EntryPoint("theirs", f"{EVIL}:build", trust.ENTRY_POINTS)
    monkeypatch.setattr(trust, "entry_points", lambda group: [point])
    monkeypatch.syspath_prepend(str(folder))
    with trusting(False):
        assert locate(f"{EVIL}.build")
        with pytest.raises(ConfigError, match="trust_config=true"):
            locate(f"{EVIL}.Path")


def test_python_programs_decide_for_themselves(folder):
    assert load_detector(str(folder / "mine.yaml")).class_names == load_detector("shapes_fcos").class_names
    check_targets({"_target_": "os.system"})


def test_bundled_names_need_no_trust():
    with trusting(False):
        load_detector("shapes_retinanet")
        for preset in ("default", "paper", "fourier", "code_maskrcnn"):
            load_preset(preset)
        optimizer = {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.1}
        assert isinstance(instantiate(optimizer)([torch.zeros(1, requires_grad=True)]), torch.optim.Adam)


def test_trust_ends_with_its_block():
    with pytest.raises(KeyError), trusting(False):
        with trusting(True):
            assert is_trusting()
        assert not is_trusting()
        raise KeyError
    assert is_trusting()


@pytest.mark.parametrize("group", ["detector", "layout", "preset", "trainer", "logger"])
def test_groups_are_not_read_from_elsewhere(group, refused, folder):
    """Hydra would follow a path out of the folder of configurations."""
    (folder / "evil.yaml").write_text("_target_: os.system\n")
    up = "/".join([".."] * len(config_dir().joinpath(group).parts[1:]))
    refused("invert", *QUIET[1:], f"{group}={up}{folder}/evil", naming=f"unknown {group}")
