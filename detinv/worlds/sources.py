"""Layouts taken from a world's scenes, and the stripes planted in each class, by label."""

from collections.abc import Mapping, Sequence

import torch

from detinv.errors import ConfigError
from detinv.inputs.torch_settings import usual_torch
from detinv.layouts.fitting import NetworkSize, fitted
from detinv.layouts.labels import label_of
from detinv.layouts.layout import Layout
from detinv.worlds.registry import load_world
from detinv.worlds.scene import Scene

# Detectors are trained on worlds with seeds below 1000, so none of them has seen these scenes.
UNSEEN_SEED = 1_000_000


class WorldLayouts:
    """Layouts of scenes that no bundled detector was trained on.

    Args:
        world: its name.
        count: number of scenes.
        seed: at least 0; different seeds give different scenes.
        masks: keep the objects' masks.
        image_size: (height, width) of the scenes.

    Raises:
        ConfigError: for an unknown world, a count below 1 or a negative seed.
    """

    def __init__(
        self,
        world: str = "plain",
        count: int = 100,
        seed: int = 7,
        masks: bool = True,
        image_size: Sequence[int] = (128, 128),
    ) -> None:
        if count < 1:
            raise ConfigError(f"layout.count={count}: choose at least 1")
        if seed < 0:
            raise ConfigError(f"layout.seed={seed}: choose a seed of 0 or more")
        self.count = count
        self.masks = masks
        self.world = load_world(world, image_size, UNSEEN_SEED + seed)

    def scenes(self) -> list[Scene]:
        """Return the scenes: images, and layouts with the world's own class numbers."""
        return [self.world.scene(index) for index in range(self.count)]

    @usual_torch()
    def layouts(self, class_names: Sequence[str], network_size: NetworkSize, detections_per_image: int) -> list[Layout]:
        """Return one layout for each scene, in the frame of the network's input, with the detector's class numbers.

        Raises:
            LayoutError: when the detector lacks a class of the world, or the layout has more objects than it reports.
        """
        where = f"layout={self.world.name}"
        numbers = torch.tensor([label_of(name, class_names, where) for name in self.world.class_names])
        layouts = []
        for scene in self.scenes():
            seen = scene.layout if self.masks else scene.layout.without_masks()
            layout = Layout(seen.boxes, numbers[seen.labels], seen.image_size, seen.id, seen.masks)
            layouts.append(fitted(layout, network_size, detections_per_image, where))
        return layouts


def by_label(planted: Mapping[str, float], class_names: Sequence[str]) -> dict[int, float]:
    """Return values given by class name by the detector's label instead; classes without a value are left out."""
    return {label: planted[name] for label, name in enumerate(class_names) if name in planted}
