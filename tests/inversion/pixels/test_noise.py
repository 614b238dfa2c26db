"""White noise: as strong as asked for, another one in every view, and an image's own."""

import torch

from detinv.inversion.pixels.noise import WhiteNoise
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout


def empty(name: str, size: tuple[int, int]) -> Layout:
    return Layout(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), size, name)


def added(layouts: LayoutBatch, view: int, seed: int = 3) -> torch.Tensor:
    return WhiteNoise(0.1, layouts, 4, seed).added(torch.zeros(len(layouts), 3, 40, 60), view)


def test_noise_has_its_strength_and_no_memory_of_other_views():
    layouts = LayoutBatch.collate([empty("one", (40, 60)), empty("other", (40, 60))])
    views = [added(layouts, view) for view in range(4)]
    for view in views:
        torch.testing.assert_close(view.std(dim=(1, 2, 3)), torch.tensor([0.1, 0.1]), atol=0.004, rtol=0)
    fields = torch.stack([*views, added(layouts, 0, seed=4)]).flatten(1)[:, :7200]
    correlation = torch.corrcoef(torch.cat([fields, views[0][1:].flatten(1)]))
    assert (correlation - torch.eye(6)).abs().max() < 0.06


def test_an_images_noise_does_not_depend_on_its_batch_and_stays_within_it():
    small, large = empty("small", (30, 50)), empty("large", (40, 60))
    together = added(LayoutBatch.collate([small, large]), 2)
    assert torch.equal(together[:1], added(LayoutBatch.collate([small]), 2))
    assert not together[0, :, 30:].any()
    assert not together[0, :, :, 50:].any()
