"""Every preset composes and moves the pixels."""

from dataclasses import replace

import pytest
import torch

from detinv.config.folders import choices, config_dir
from detinv.errors import ConfigError
from detinv.inputs.fingerprint import settings_hash
from detinv.inversion.preset import load_preset
from detinv.inversion.regularisers.alpha_norm import AlphaNorm
from detinv.inversion.regularisers.total_variation import TotalVariation
from detinv.inversion.run import invert
from detinv.inversion.targets.paper import PaperRule
from detinv.layouts.layout import Layout
from tests.fakes import tiny_detector

LAYOUTS = [
    Layout(torch.tensor([[4.0, 6.0, 30.0, 28.0]]), torch.tensor([1]), (64, 64), "one"),
    Layout(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (64, 64), "none"),
]


def case(name: str):
    """Presets of other families differ in their rules; `fast` and `default` are run by other tests.

    So is `photographs`, but with one stage alone, and it differs in what it asks of the proposals of two.
    """
    slow = name in ("fast", "default") or (name.startswith("code_") and "mask" not in name)
    return pytest.param(name, marks=pytest.mark.slow) if slow else name


@pytest.mark.parametrize("name", [case(name) for name in choices(config_dir(), "preset")])
def test_every_preset_runs(name: str):
    """Masks or none, one stage or two: terms that a detector does not have are passed over."""
    family = name.removeprefix("code_") if name.startswith("code_") else "fasterrcnn"
    preset = load_preset(name)
    before = settings_hash(preset)
    result = invert(tiny_detector(family), LAYOUTS, preset, steps=3, trainer={"accelerator": "cpu"}, progress=False)
    start = invert(tiny_detector(family), LAYOUTS, name, steps=0, trainer={"accelerator": "cpu"}, progress=False)
    assert len(result.losses) > 0
    assert all(not torch.equal(a, b) for a, b in zip(result.images, start.images, strict=True))
    assert settings_hash(preset) == before, "results are found again by the hash of a preset that has been used"


def test_presets_differ_in_what_their_names_say():
    assert isinstance(load_preset("paper").rule, PaperRule)
    photographs = load_preset("photographs")
    assert photographs.precondition.power > 0 and photographs.objective.shapes_every


@pytest.mark.parametrize(("photographs", "name"), [(True, "photographs"), (False, "default")])
def test_the_preset_suits_what_the_detector_was_trained_on(photographs: bool, name: str):
    detector = tiny_detector("retinanet")
    detector.trained_on_photographs = photographs
    options = {"steps": 1, "trainer": {"accelerator": "cpu"}, "progress": False}
    own, said = invert(detector, LAYOUTS[:1], **options), invert(detector, LAYOUTS[:1], name, **options)
    assert torch.equal(own.images[0], said.images[0])


def test_a_detector_of_drawings_gets_no_statistics_of_photographs():
    detector, preset = tiny_detector("retinanet"), load_preset("photographs")
    options = {"steps": 2, "trainer": {"accelerator": "cpu"}, "progress": False}
    photographs = invert(detector, LAYOUTS[:1], preset, **options).images[0]
    detector.trained_on_photographs = False
    drawings = invert(detector, LAYOUTS[:1], preset, **options).images[0]
    plain = invert(detector, LAYOUTS[:1], replace(preset, precondition=None), **options).images[0]
    assert torch.equal(drawings, plain) and not torch.equal(drawings, photographs)


def test_a_preset_has_its_own_number_of_steps():
    assert [load_preset(name).steps for name in ("default", "fast", "code_fcos")] == [200, 120, 1000]
    preset = replace(load_preset("fast"), steps=2)
    options = {"trainer": {"accelerator": "cpu"}, "progress": False}
    detector = tiny_detector("fcos")
    own, said, other = (
        invert(detector, LAYOUTS[:1], preset, **steps, **options).images[0]
        for steps in ({}, {"steps": 2}, {"steps": 1})
    )
    assert torch.equal(own, said) and not torch.equal(own, other)


def test_an_unknown_preset_suggests_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'default'"):
        load_preset("defualt")


def test_published_numbers():
    """Hyper-parameters of the published configurations; roi_reg is what they amount to, not what they say."""
    retina, mask = load_preset("code_retinanet"), load_preset("code_maskrcnn")
    assert retina.objective.weights == {"cls": 30, "reg": 30, "positive": 1}
    assert retina.regularisers == {"total_variation": TotalVariation(1e-7, 2), "alpha_norm": AlphaNorm(1e-7, 6)}
    assert retina.objective.level_weights == (0.125, 0.5, 1, 2, 8)
    assert retina.optimizer.keywords == {"lr": 1.0, "momentum": 0.5}
    assert [retina.schedule(step, 1000) for step in (0, 300, 301, 601)] == [1, 1, 0.6, 0.36]
    assert mask.objective.weights["roi_reg"] == 10
    assert mask.regularisers["total_variation"].weight == 1e-5
    assert mask.optimizer.keywords == {"lr": 2.0, "momentum": 0.9}
    assert mask.schedule.factor == 0.7
