"""Configurations are composed inside programs that use Hydra themselves, whose state stays."""

import os
import shutil
import subprocess
import sys
from contextlib import nullcontext

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, OverrideParseException
from hydra.version import getbase
from omegaconf import OmegaConf

from detinv.config import folders, hydra_context
from detinv.config.composition.compose import compose_config
from detinv.config.folders import config_dir
from detinv.config.hydra_context import composed_of_files, detinv_hydra, with_values
from detinv.errors import ConfigError

_PROGRAM = """
import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.version import getbase

from detinv.config.composition.compose import compose_config
from detinv.inversion.preset import load_preset


@hydra.main(version_base="1.2", config_path=None)
def program(config):
    theirs, base = GlobalHydra.instance().hydra, getbase()
    assert load_preset("default").steps > 0
    assert compose_config("invert", ["layout=plain"]).out_dir
    assert GlobalHydra.instance().hydra is theirs
    assert getbase() == base
    print("composed")


program()
"""


@pytest.mark.slow
def test_presets_are_composed_within_a_program_that_uses_hydra(tmp_path):
    """`@hydra.main`, in a process of its own, as users run it."""
    (tmp_path / "program.py").write_text(_PROGRAM)
    command = [sys.executable, "program.py", "hydra.run.dir=.", "hydra.output_subdir=null"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "composed" in done.stdout


@pytest.mark.parametrize("fails", [False, True])
def test_a_program_s_own_hydra_is_as_before(tmp_path, fails: bool):
    (tmp_path / "own.yaml").write_text("value: 3\n")
    with initialize_config_dir(str(tmp_path), version_base="1.2"):
        theirs = GlobalHydra.instance().hydra
        with pytest.raises(ConfigError) if fails else nullcontext():
            compose_config("invert", ["layout=nowhere"] if fails else ["layout=plain"])
        assert GlobalHydra.instance().hydra is theirs
        assert str(getbase()) == "1.2"
        assert compose("own").value == 3
    assert not GlobalHydra.instance().is_initialized()


def test_a_file_that_changes_and_keeps_its_time_is_read_again(tmp_path, monkeypatch):
    """As when it is changed twice within a tick of the clock, or an old one is put back."""
    own = tmp_path / "configs"
    shutil.copytree(config_dir(), own)
    for module in (folders, hydra_context):
        monkeypatch.setattr(module, "config_dir", lambda: own)
    path = own / "preset" / "fast.yaml"
    before, status = compose_config("invert", ["preset=fast"]).steps, path.stat()
    path.write_text(path.read_text().replace("120", "121"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (before, compose_config("invert", ["preset=fast"]).steps) == (120, 121)


@pytest.mark.parametrize(
    "word",
    ["steps=3", "steps='3'", "steps=[1, 2]", "steps={a: 1}", "steps=null", "steps=1e3", "steps=a b", "steps="]
    + ["steps=???", "steps=${seed}", "steps=int(4.2)", "trainer={devices: 2}", "trainer.accelerator=cpu", r"steps=\,"],
)
def test_a_value_is_set_as_hydra_sets_it_while_it_composes(word: str):
    with detinv_hydra():
        composed = compose("invert", ["seed=7", word, "seed=8"])
    values = with_values(composed_of_files("invert"), ["seed=7", word, "seed=8"])
    assert values == composed
    assert OmegaConf.is_struct(values) == OmegaConf.is_struct(composed)
    assert composed_of_files("invert").seed == 0


@pytest.mark.parametrize("word", ["steps=1,2", "steps=range(1,3)", "steps=int(choice(1,2))", "seed={a", "steps=a=b"])
def test_several_values_and_what_cannot_be_read_are_refused_as_by_hydra(word: str):
    with detinv_hydra(), pytest.raises((ConfigCompositionException, OverrideParseException)):
        compose("invert", [word])
    with pytest.raises((ConfigCompositionException, OverrideParseException)):
        with_values(composed_of_files("invert"), [word])
