"""Configurations run no code of their own, and read no environment, unless the command line trusts them."""

from importlib.metadata import EntryPoint

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from detinv.config import trust
from detinv.config.folders import config_dir, experiment_dir
from detinv.config.instantiate import instantiate, locate
from detinv.config.targets import allowed_targets
from detinv.config.trust import check_targets, is_trusting, trusting
from detinv.detectors.load import load_detector
from detinv.errors import ConfigError
from detinv.inversion.preset import load_preset
from tests.inputs.conftest import EVIL, SECRET


def test_what_the_files_name_is_what_is_allowed():
    """Comments name nothing, and nothing of detinv is allowed that no file names but what its own code builds."""
    named = set()
    for path in (*config_dir().rglob("*.yaml"), *experiment_dir().rglob("*.yaml")):
        for entry in entries(yaml.safe_load(path.read_text())):
            named |= {entry[key] for key in ("_target_", "adapter") if key in entry}
    assert len(named) > 40
    assert {target.rpartition(".")[2] for target in allowed_targets() - named if target.startswith("detinv.")} == {
        "TorchvisionSSD",
        "TransformersDETR",
        "TransformersQueries",
        "TransformersRTDETR",
        "TransformersTwoStage",
        "assemble_ensemble",
    }
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
        for preset in ("default", "paper", "fast", "code_maskrcnn"):
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
