"""Files of one name in two folders are two modules, with all that they import from beside them."""

import importlib
import sys
from pathlib import Path

import pytest
import yaml

from detinv.cli import main
from detinv.config.own_files import read_own_file
from detinv.detectors.load import build_detector, load_detector
from detinv.inputs.fingerprint import settings_hash
from detinv.inputs.path_modules import as_written, importable_by_path, module_name

ADAPTER = """
import os.path, helper.parts as parts, helper
from dataclasses import dataclass
from helper import NAME
from . import helper as same

from detinv.detectors.load import load_detector
from detinv.zoo.weights import load_weights

@dataclass(frozen=True)
class Kept:
    value: int = 3

def build(score: float = 0.5):
    import sibling  # only now
    assert same is helper and parts.PART == NAME and os.path.isfile(__file__)
    detector = load_detector("shapes_fcos")
    detector.said = [NAME, parts.PART, sibling.NAME]
    return detector
"""


def project(folder, name):
    (folder / "helper").mkdir(parents=True)
    (folder / "adapter.py").write_text(ADAPTER)
    (folder / "sibling.py").write_text(f"NAME = {name!r}\n")
    (folder / "helper" / "__init__.py").write_text(f"from sibling import NAME\nassert NAME == {name!r}\n")
    (folder / "helper" / "parts.py").write_text("import sibling\nPART = sibling.NAME\n")
    (folder / "mine.yaml").write_text(f"_target_: adapter.build\nname: {name}\nscore: 0.5\n")
    return str(folder / "mine.yaml")


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("folder:"):
            del sys.modules[name]


def test_two_adapters_of_one_name_are_two(tmp_path):
    paths = {name: project(tmp_path / f"{name}.d" / "a b", name) for name in ("one", "two")}
    # Both are read before either is built, as for a joint inversion.
    nodes = {name: read_own_file(Path(path)) for name, path in paths.items()}
    for name in ("one", "two", "one"):
        assert build_detector(nodes[name]).said == [name] * 3
    assert load_detector(paths["two"]).said == ["two"] * 3


def test_a_joint_inversion_of_two_adapters_of_one_name(tmp_path, monkeypatch):
    names = ("one", "two")
    paths = [project(tmp_path / name, name) for name in names]
    words = ["invert", f"detector=[{','.join(paths)}]", "layout=world", "layout.count=1", "steps=1", "logger=none"]
    assert main([*words, "trainer.accelerator=cpu", "trust_config=true", f"out_dir={tmp_path / 'out'}"]) == 0
    members = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["detector"]["members"]
    assert [member["_target_"] for member in members.values()] == [
        f"folder:{tmp_path / name}.adapter.build" for name in names
    ]
    # A stored configuration finds its code again.
    assert main(["diagnose", str(tmp_path / "out"), f"out_dir={tmp_path / 'why'}"]) == 2
    assert main(["diagnose", str(tmp_path / "out"), "trust_config=true", f"out_dir={tmp_path / 'why'}"]) == 0


def test_names_are_those_of_files_that_are_there(tmp_path):
    project(tmp_path / "v1.0", "one")
    folder = tmp_path / "v1.0"
    named = module_name(folder, "adapter.build")
    assert as_written(named) == "adapter.build"
    assert named.count(".") == 2, "dots of the path are no dots of the name"
    for name in ("other.build", "detinv.invert", "sys", "", "my-file.build"):
        assert module_name(folder, name) == name
    (folder / "json.py").write_text("")
    assert module_name(folder, "json.dumps") == "json.dumps"


def test_what_is_kept_of_a_project_is_the_same_after_it_was_moved(tmp_path):
    hashes = []
    for name in ("here", "there"):
        project(tmp_path / name, "one")
        importable_by_path()
        module = importlib.import_module(module_name(tmp_path / name, "adapter"))
        hashes.append(settings_hash([module.Kept(), module, module.Kept]))
    assert hashes[0] == hashes[1]


def test_a_module_that_fails_says_where(tmp_path):
    (tmp_path / "adapter.py").write_text("import no_such_module_anywhere\n")
    (tmp_path / "mine.yaml").write_text("_target_: adapter.build\n")
    with pytest.raises(Exception, match="no_such_module_anywhere") as error:
        load_detector(str(tmp_path / "mine.yaml"))
    assert str(tmp_path) in str(error.value)
