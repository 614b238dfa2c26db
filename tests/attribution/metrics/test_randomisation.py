"""Networks whose weights become random, stage by stage."""

import math

import pytest
import torch

from detinv.attribution.metrics.randomisation import randomised, similarity, stages
from tests.attribution.hand_set import HandSetDetector
from tests.fakes import tiny_detector


@pytest.mark.parametrize("family", ["retinanet", "fasterrcnn", "ssd"])
def test_stages_run_from_the_output_to_the_input_and_hold_every_weight_once(family):
    detector = tiny_detector(family)
    parts = stages(detector)
    assert (parts[0].name, parts[-1].name) == ("outputs", "c1")
    named = [name for part in parts for name in part.modules]
    owners = [name for name, module in detector.named_modules() if any(True for _ in module.parameters(recurse=False))]
    assert sorted(named) == sorted(owners)
    heads = {name for name in parts[0].modules}
    assert any("cls" in name or "class" in name for name in heads)
    assert not any("backbone.stem" in name for name in heads)


def test_each_stage_changes_its_own_weights_only_and_keeps_their_values():
    detector = tiny_detector("retinanet")
    parts = stages(detector)
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    found = randomised(detector, parts[:2], seed=0)
    chosen = {name for part in parts[:2] for name in part.modules}
    changed = {name for name, value in found.state_dict().items() if not torch.equal(value, before[name])}
    wanted = {name for name, value in before.items() if name.rpartition(".")[0] in chosen and value.ndim > 1}
    assert changed == wanted
    for name in changed:
        assert torch.equal(found.state_dict()[name].flatten().sort().values, before[name].flatten().sort().values)
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())


def test_similarity_is_a_rank_correlation_inside_the_box():
    heat = torch.rand(40, 60, generator=torch.Generator().manual_seed(0))
    box = (10.0, 5.0, 40.0, 30.0)
    assert similarity(heat, heat, box) == pytest.approx(1)
    assert similarity(heat, -heat, box) == pytest.approx(-1)
    assert similarity(heat, 3 * heat + 1, box) == pytest.approx(1)
    other = heat.clone()
    other[:, 42:] = 7
    assert similarity(heat, other, box) == pytest.approx(1)
    noise = torch.rand(40, 60, generator=torch.Generator().manual_seed(1))
    assert abs(similarity(heat, noise, box)) < 0.25
    assert math.isnan(similarity(heat, torch.ones(40, 60), box))


def test_a_detector_of_ones_own_has_stages():
    assert [part.name for part in stages(HandSetDetector())] == ["outputs", "c3", "c2", "c1"]
