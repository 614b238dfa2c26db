"""Logging the current images: on the threads of the network, though all else of a step has one."""

import torch
from pytorch_lightning.loggers import Logger

from detinv.inversion.run import invert
from tests.fakes import tiny_detector
from tests.inversion.modules.test_inversion import LAYOUTS


class Numbers(Logger):
    name, version = "numbers", "0"

    def __init__(self):
        super().__init__()
        self.logged = {}

    def log_metrics(self, metrics, step=None):
        self.logged |= metrics

    def log_hyperparams(self, *args, **kwargs):
        """Nothing to keep."""


def test_inference_has_all_threads_of_the_network(monkeypatch):
    detector, logger, threads = tiny_detector("retinanet"), Numbers(), []
    detect = detector.detect

    def counted(images):
        threads.append(torch.get_num_threads())
        return detect(images)

    monkeypatch.setattr(detector, "detect", counted)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        invert(detector, LAYOUTS[:1], steps=1, trainer={"accelerator": "cpu"}, progress=False, loggers=[logger])
    finally:
        torch.set_num_threads(before)
    # While the batch runs, and once more on the saved images.
    assert threads == [3, 3]
    assert "current/AP" in logger.logged
