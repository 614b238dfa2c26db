"""The command line trusts files only when it is told to, whatever the files say."""

import sys

import pytest
import yaml

from detinv import cli
from detinv.commands import execute
from detinv.config import folders
from detinv.config import help as command_help
from detinv.config.folders import config_dir
from tests.inputs.conftest import EMPTY, EVIL, QUIET, SECRET


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


@pytest.mark.parametrize("group", ["detector", "layout", "preset", "trainer", "logger"])
def test_groups_are_not_read_from_elsewhere(group, refused, folder):
    """Hydra would follow a path out of the folder of configurations."""
    (folder / "evil.yaml").write_text("_target_: os.system\n")
    up = "/".join([".."] * len(config_dir().joinpath(group).parts[1:]))
    refused("invert", *QUIET[1:], f"{group}={up}{folder}/evil", naming=f"unknown {group}")
