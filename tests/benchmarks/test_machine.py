"""What a figure was measured on."""

import json

import torch

from detinv import __version__
from detinv.benchmarks import machine as module
from detinv.benchmarks.machine import machine, processor


def test_all_that_figures_depend_on_is_there():
    found = machine(torch.device("cpu"))
    assert found["device"] == processor() != ""
    assert found["threads"] == torch.get_num_threads()
    assert found["versions"]["detinv"] == __version__
    assert json.loads(json.dumps(found)) == found


def test_the_processor_has_its_name_from_the_system(monkeypatch, tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Fast CPU: 3 GHz\nmodel name\t: another\n")
    monkeypatch.setattr(module, "_CPU_INFO", info)
    assert processor() == "Fast CPU: 3 GHz"
    monkeypatch.setattr(module, "_CPU_INFO", tmp_path / "missing")
    assert processor()
