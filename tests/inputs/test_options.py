"""Options that mean nothing: each is refused by name before anything is written."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from detinv.config.composition.compose import compose_config
from detinv.config.composition.kinds import FOREIGN, check_numbers
from detinv.errors import ConfigError
from tests.inputs.conftest import QUIET

COMMANDS = {
    # Enough for the command to be complete.
    "bench": (),
    "check": (),
    "detect": ("images=.",),
    "diagnose": ("run=.",),
    "invert": ("layout=plain", "logger=none"),
    "run": ("experiment=table1_transfer", "logger=none"),
    "train": (),
    "verify": (),
}


def numbers(node: Any, prefix: str = "") -> Iterator[str]:
    """Keys of all numeric options, and of lists of numbers."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from numbers(value, f"{prefix}{key}.")
        else:
            values = value if isinstance(value, list) else [value]
            if any(isinstance(one, int | float) and not isinstance(one, bool) for one in values):
                yield f"{prefix}{key}"


@cache
def complete(command: str) -> Any:
    return OmegaConf.to_container(compose_config(command, COMMANDS[command]))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("value", [-1, -0.5, float("nan"), float("inf"), 10**40])
def test_no_option_takes_a_number_that_none_can_mean(command, value):
    config = complete(command)
    keys = [key for key in numbers(config) if not key.startswith(FOREIGN)]
    assert len(keys) > 0
    for key in keys:
        for given in (value, [1, value]):
            with pytest.raises(ConfigError, match=f"^{key}="):
                check_numbers({key: given})


INVERT = {
    "steps=-1": "steps=-1",
    "steps=1.5": "steps=1.5",
    "steps=many": "steps='many'",
    "steps=null": "steps=null: expected a whole number",
    "batch_size=0": "batch_size=0",
    "seed=-1": "seed=-1",
    "log_images_every_n_steps=0": "log_images_every_n_steps=0",
    "stpes=3": "did you mean 'steps'?",
    "+steps=3": "steps",
    "~steps": "~steps",
    "~logger": "~logger",
    "~nothing": "nothing",
    "steps=": "steps",
    "steps=[": "cannot read 'steps=['",
    "steps=${": "cannot read",
    "steps=1,2": "steps=1,2 lists several values",
    "steps=${steps}": "steps",
    "steps=${nothing}": "steps: Interpolation key 'nothing' not found",
    "steps=${oc.nothing:1}": "steps: Unsupported interpolation type",
    "out_dir=${logger.nothing}": "out_dir",
    "layout=nothing": "unknown layout 'nothing'",
    "layout=null": "layout=null",
    "layout=../detector/shapes_fcos": "unknown layout '../detector/shapes_fcos'",
    "layout=/etc/passwd": "unknown layout '/etc/passwd'",
    "detector=shapes_fco": "did you mean 'shapes_fcos'?",
    "detector=null": "detector=null",
    "detector=[shapes_fcos,shapes_fcos]": "may be named once",
    "detector=[shapes_fcos,nothing]": "no detector is called 'nothing'",
    "detector=[shapes_fcos,bccd_fasterrcnn]": "do not have the same classes",
    "preset=nothing": "unknown preset 'nothing'",
    "experiment=nothing": "unknown experiment 'nothing'",
    "experiment=../configs/invert": "unknown experiment",
    "preset.augmentation.zoom=big": "preset.augmentation.zoom='big': expected a number",
    "preset.augmentation.zoon=0.1": "has no option 'preset.augmentation.zoon'",
    "layout.count=0": "layout.count=0",
    "layout.count=null": "layout.count=null",
    "layout.world=nothing": "unknown world 'nothing'",
    "layout.image_size=[8,8]": "image_size=[8, 8]",
    "layout.colour=red": "no option 'layout.colour'",
    "+layout.colour=red": "colour",
    "detector.model.num_classes=0": "num_classes=0",
    "detector.model.num_classes=3": "do not fit the detector",
    "detector.model.image_size=[-1,128]": "image_size=[-1, 128]",
    "detector.model.image_size=[128,64]": "image_size=[128, 64]",
    "detector.model=null": "assemble_detector",
    "detector.class_names=[a,a]": "'a' occurs twice",
    "detector.class_names=[a,b,c]": "trained on the classes circle",
    "detector.adapter=nothing": "_target_ 'nothing'",
    "detector.name=nothing": "nothing.safetensors",
    "detector._recursive_=maybe": "_recursive_",
    "preset.rule.score_thresh=0": "score_thresh=0",
    "preset.rule.topk=0": "topk=0",
    "preset.rule.topk=null": "preset.rule.topk=null",
    "preset.objective.weights.clss=3": "did you mean",
    "+preset.objective.weights.clss=3": "unknown loss term 'clss'",
    "preset.objective.level_weights=[]": "level_weights is empty",
    "preset.objective.tv_exponent=1": "is called preset.regularisers.total_variation.exponent now",
    "+preset.regularisers.a={_target_: detinv.inversion.regularisers.alpha_norm.AlphaNorm, exponent: 0}": "exponent=0",
    "preset.regularisers=null": "preset.regularisers=null",
    "+preset.pixels.colour=red": "colour",
    "preset.optimizer.momentum=1": "momentum=1",
    "+preset.optimizer.nesterov=true": "nesterov",
    "preset.augmentation.hold=0": "hold=0",
    "preset.augmentation.until=2": "until=2",
    "+preset.augmentation.flip=2": "flip=2",
    "preset.every_n_steps=0": "every_n_steps=0",
    "preset.updates=null": "preset.updates=null",
    "preset.updates=[{_target_: detinv.inversion.pixels.updates.PeriodicBlur, every: 0}]": "every=0",
    "preset.updates=[{_target_: detinv.inversion.pixels.updates.PeriodicBlur, end: 0}]": "end=0",
    "trainer.precision=16-true": "trainer.precision=16-true",
    "compile_mode=fastest": "compile_mode=fastest",
    "allow_tf32=perhaps": "allow_tf32=perhaps",
    "compile_mode=[default]": "compile_mode=['default']",
    "trainer.accelerator=abacus": "trainer: ",
    "trainer.devices=0": "trainer: ",
    "+trainer.colour=red": "trainer: ",
    "+foo=1": "+foo: detinv invert has no option 'foo'",
    "+stps=1": "did you mean 'steps'?",
    "+logger.foo=1": "foo",
}


@pytest.mark.parametrize(("word", "naming"), INVERT.items(), ids=INVERT)
def test_invert_refuses(word, naming, refused):
    refused("invert", "layout=plain", "layout.count=1", *QUIET, word, naming=naming)


OTHERS = [
    ("bench", "rounds=1", "rounds=1"),
    ("bench", "batch_sizes=[]", "batch_sizes=[]"),
    ("bench", "batch_sizes=[0]", "batch_sizes=[0]"),
    ("bench", "batch_sizes=[200]", "only 100 layouts, not 200"),
    ("bench", "steps_per_round=0", "steps_per_round=0"),
    ("bench", "benchmark=nothing", "unknown benchmark 'nothing'"),
    ("bench", "device=abacus", "device=abacus"),
    ("bench", "compile_mode=1", "compile_mode=1"),
    ("bench", "+scaling.round=1", "did you mean 'scaling.rounds'?"),
    ("check", "steps=0", "steps=0"),
    ("check", "image_sizes=[]", "image_sizes=[]"),
    ("check", "image_sizes=[[64]]", "[64] is no size"),
    ("check", "image_sizes=[[0,64]]", "[0, 64] is no size"),
    ("check", "images=nowhere", "images folder nowhere"),
    ("check", "device=cuda:99", "device=cuda:99"),
    ("detect", "images=nowhere", "images folder nowhere"),
    ("detect", "images=null", "images=null"),
    ("detect", "score_thresh=-0.5", "score_thresh=-0.5"),
    ("detect", "score_thresh=high", "score_thresh='high'"),
    ("detect", "annotations=nowhere.json", "nowhere.json: no such annotation file"),
    ("run", "batch_size=0", "batch_size=0"),
    ("run", "compile_mode=true", "compile_mode=True"),
    ("run", "detectors=[]", "name at least one detector"),
    ("run", "detectors=[shapes_fco]", "did you mean 'shapes_fcos'?"),
    ("run", "detectors=[3]", "no detector is called '3'"),
    ("run", "detectors=[{weights: a}]", "has no name"),
    ("run", "detectors=[shapes_fcos,shapes_fcos]", "two are called 'shapes_fcos'"),
    ("run", "detectors=[{name: shapes_fcos, label: ../../up}]", "'../../up' cannot name a folder"),
    ("run", "detectors=[{name: shapes_fcos, colour: red}]", "colour"),
    ("train", "steps=0", "steps=0"),
    ("train", "batch_size=0", "batch_size=0"),
    ("train", "learning_rate=0", "learning_rate=0"),
    ("train", "precision=64-bit", "precision=64-bit"),
    ("train", "accelerator=abacus", "accelerator=abacus"),
    ("train", "data.image_size=[8,8]", "image_size=[8, 8]"),
    ("train", "data.evaluation_scenes=0", "evaluation_scenes=0"),
    ("train", "data.world=nothing", "unknown world 'nothing'"),
    ("train", "detector.name=../../up", "detector.name='../../up'"),
    ("train", "detector.adapter=os.system", "_target_ 'os.system'"),
    ("verify", "claims=[nothing]", "unknown group of claims 'nothing'"),
    ("verify", "batch_size=0", "batch_size=0"),
    ("verify", "sample_sizes.transfer.count=0", "sample_sizes.transfer.count=0"),
    ("verify", "sample_sizes.transfer.steps=-1", "sample_sizes.transfer.steps=-1"),
    ("verify", "sample_sizes.transfer=null", "sample_sizes.transfer=null"),
    ("verify", "+sample_sizes.transfer.colour=red", "colour"),
]


@pytest.mark.parametrize(("command", "word", "naming"), OTHERS, ids=[" ".join(case[:2]) for case in OTHERS])
def test_other_commands_refuse(command, word, naming, refused):
    refused(command, *COMMANDS[command], "out_dir=out", word, naming=naming)


def test_a_misspelt_mode_of_the_dashboard_is_refused(refused, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "ofline")
    for words in (["invert"], ["run", "table1_transfer"]):
        refused(*words, "out_dir=out", "steps=0", naming="WANDB_MODE='ofline'; did you mean 'offline'?")


def test_an_experiment_of_one_s_own_has_no_value_that_nothing_reads(refused, tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("stpes: 3\n")
    refused("invert", *QUIET, "experiment=mine.yaml", naming="mine.yaml: detinv invert has no option 'stpes'; did you")


def test_an_out_dir_that_is_a_file_is_refused(refused, tmp_path: Path):
    (tmp_path / "file").write_text("kept")
    refused("invert", *QUIET, "out_dir=file/below", naming="out_dir file/below cannot be used")


def test_what_is_left_of_a_long_message_names_the_option(refused):
    line = refused("invert", *QUIET, "steps=" + "9" * 4000, naming="steps")
    assert len(line) < 520
