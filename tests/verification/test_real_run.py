"""The smallest group of claims about real detectors, from the command line to the report; then continued."""

import json

import pytest

from detinv import cli


@pytest.mark.slow
def test_the_smallest_real_group_is_measured_and_its_images_are_kept(tmp_path, capsys):
    command = ["verify", "real=true", "claims=[disentangle]", f"out_dir={tmp_path / 'run'}"]
    sizes = [f"sample_sizes.real_disentangle.{name}=1" for name in ("count", "steps")]
    assert cli.main([*command, *sizes]) == 0
    out = capsys.readouterr().out
    # Classes alone, boxes alone and noise, of three detectors.
    assert out.count("inverting ") == 9 and "disentangle/yolox_nano-classes" in out
    measured = json.loads((tmp_path / "run" / "measurements" / "disentangle.json").read_text())
    assert {label: found["objects"] for label, found in measured.items()} == {
        "fastestdet": 4,
        "nanodet_m": 4,
        "yolox_nano": 4,
    }
    assert cli.main([*command, *sizes]) == 0
    assert "inverting " not in capsys.readouterr().out
