"""How a launcher and its options are chosen."""

import pytest
import yaml

from detinv.config.folders import choices, config_dir
from detinv.errors import ConfigError
from detinv.sweeps import launcher
from detinv.sweeps.launcher import InProcess, choose_launcher


def test_the_default_is_this_process():
    assert isinstance(choose_launcher([]), InProcess)


def test_the_last_word_counts_and_options_reach_the_launcher():
    words = ["hydra/launcher=basic", "hydra/launcher=ray", "hydra.launcher.num_gpus=0.5", "hydra.launcher.address=auto"]
    pytest.importorskip("ray", reason="needs the extra detinv[ray]")
    chosen = choose_launcher(words)
    assert (chosen.address, chosen.num_cpus, chosen.num_gpus) == ("auto", 1, 0.5)


def test_options_may_be_lists_and_mappings():
    pytest.importorskip("submitit", reason="needs the extra detinv[slurm]")
    words = ["hydra.launcher.setup=[module load cuda]", "hydra.launcher.additional_parameters={mail-type: FAIL}"]
    options = choose_launcher(["hydra/launcher=submitit_slurm", *words]).options
    assert options["setup"] == ["module load cuda"] and options["additional_parameters"] == {"mail-type": "FAIL"}
    assert "partition" not in options


def test_names_of_a_cluster_are_texts():
    pytest.importorskip("submitit", reason="needs the extra detinv[slurm]")
    given = {"partition": "1e3", "account": "007", "constraint": "a100&nvlink|h100", "exclude": "node[01-03,07]"}
    words = [f"hydra.launcher.{name}={value}" for name, value in given.items()]
    options = choose_launcher(["hydra/launcher=submitit_slurm", *words, "hydra.launcher.mem_gb=16"]).options
    assert options.items() >= {**given, "mem_gb": 16}.items()
    assert "qos" not in choose_launcher(["hydra/launcher=submitit_slurm", "hydra.launcher.qos=null"]).options


def test_what_is_not_installed_is_told_with_its_extra(monkeypatch):
    monkeypatch.setattr(launcher, "find_spec", lambda name: None)
    for name in set(choices(config_dir(), "launcher")) - {"basic"}:
        extra = "ray" if name == "ray" else "slurm"
        with pytest.raises(ConfigError, match=rf"hydra/launcher={name} needs the extra: .*detinv\[{extra}\]"):
            choose_launcher([f"hydra/launcher={name}"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["hydra/launcher=rya"], "unknown hydra/launcher 'rya'; did you mean 'ray'"),
        (["hydra/launcher=ray,basic"], "unknown hydra/launcher 'ray,basic'"),
        (["hydra.launcher.num_gpus=1"], "hydra/launcher=basic has no option 'num_gpus' .there are: none"),
        (["hydra/launcher=ray", "hydra.launcher.num_gpu=1"], "no option 'num_gpu'; did you mean 'num_gpus'"),
        (["hydra/launcher=ray", "hydra.launcher.num_gpus=1,2"], "hydra.launcher.num_gpus=1,2: "),
        (["hydra/sweeper=optuna"], "hydra/sweeper=optuna: of Hydra's own options, sweeps have"),
        (["+hydra.launcher.num_gpus=1"], "of Hydra's own options, sweeps have"),
    ],
)
def test_mistakes_are_told(words, told):
    with pytest.raises(ConfigError, match=told):
        choose_launcher(words)


def test_every_launcher_is_described_and_every_option_explained():
    assert set(choices(config_dir(), "launcher")) == set(launcher._LAUNCHERS)
    for path in (config_dir() / "launcher").glob("*.yaml"):
        text = path.read_text()
        assert text.startswith("# ")
        assert text.count("\n") == 1 + len(yaml.safe_load(text) or {})
