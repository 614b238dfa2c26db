"""On a GPU: a step of a one-stage detector never waits for the device."""

import pytest
import torch

from detinv.detectors.regions import Regions
from detinv.inversion.callbacks.pseudo_targets import PseudoTargets
from detinv.inversion.modules.ensemble import as_ensemble
from detinv.inversion.modules.inversion import Inversion
from detinv.inversion.preset import load_preset
from detinv.inversion.targets.base import Targets
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout
from tests.fakes import tiny_detector


@pytest.mark.gpu
@pytest.mark.parametrize("family", ["retinanet", "fcos"])
def test_a_step_does_not_synchronise(family: str):
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    preset, device = load_preset("default"), torch.device("cuda")
    layout = Layout(torch.tensor([[4.0, 6.0, 30.0, 28.0]]), torch.tensor([1]), (64, 64), "one")
    detector = tiny_detector(family)
    batch = LayoutBatch.collate([layout], detector.size_divisor)
    pixels = preset.pixels(batch, detector.pixel_mean.flatten(), 0)
    ensemble = as_ensemble(detector)
    module = Inversion(
        ensemble, batch, pixels, preset.objective, preset.optimizer, preset.schedule, 10, preset.augmentation, 0
    ).to(device)
    module.on_fit_start()
    callback = PseudoTargets(preset.rule, preset.matching)

    def step(number: int) -> None:
        centred = module.pixels.centred()
        view, layouts = module.views.at(number, centred, module.pixels.mean, module.pixels.mask)
        predictions = detector(module.pixels.mean + view, batch.image_sizes, Regions(layouts.boxes, layouts.valid))
        targets = callback.build("one", predictions.detach(), layouts, Targets())
        module.objective.total(module.objective.detector_terms(predictions, targets)).sum().backward()
        module.pixels.clamp_()
        module.pixels.blur_(1.0)

    step(0)  # fills the caches, which may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in range(1, 5):
            step(number)
    finally:
        torch.cuda.set_sync_debug_mode("default")
