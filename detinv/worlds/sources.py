"""Layouts of the world `plain`, as options of a run, and what a look at their textures should find."""

from collections.abc import Sequence

import torch

from detinv.errors import ConfigError
from detinv.layouts.fitting import NetworkSize, fitted
from detinv.layouts.labels import label_of
from detinv.layouts.layout import Layout
from detinv.worlds.plain import PlainWorld
from detinv.worlds.scene import Scene
from detinv.worlds.textures import Stripes

# Detectors are trained on worlds with seeds below 1000: none of them has seen these scenes.
UNSEEN_SEED = 1_000_000


class PlainLayouts:
    """Layouts of scenes that no bundled detector was trained on.

    Args:
        count: number of scenes.
        seed: at least 0; different seeds give different scenes.
        masks: keep the objects' masks.
        image_size: (height, width) of the scenes.

    Raises:
        ConfigError: for a count below 1 or a negative seed.
    """

    def __init__(
        self, count: int = 100, seed: int = 7, masks: bool = True, image_size: Sequence[int] = (128, 128)
    ) -> None:
        if count < 1:
            raise ConfigError(f"layout.count={count}: choose at least 1")
        if seed < 0:
            raise ConfigError(f"layout.seed={seed}: choose a seed of 0 or more")
        height, width = image_size
        self.count = count
        self.masks = masks
        self.world = PlainWorld(image_size=(height, width), seed=UNSEEN_SEED + seed)

    def scenes(self) -> list[Scene]:
        """The scenes themselves: images, and layouts labelled by the world's own class numbers."""
        return [self.world.scene(index) for index in range(self.count)]

    def layouts(self, class_names: Sequence[str], network_size: NetworkSize, detections_per_image: int) -> list[Layout]:
        """Layout i is scene i's, in the frame of the network's input, with the detector's class numbers.

        Raises:
            LayoutError: when the detector lacks a class of the world, or the layout has more objects than it reports.
        """
        where = "layout=plain"
        numbers = torch.tensor([label_of(name, class_names, where) for name in self.world.class_names])
        layouts = []
        for scene in self.scenes():
            seen = scene.layout if self.masks else scene.layout.without_masks()
            layout = Layout(seen.boxes, numbers[seen.labels], seen.image_size, seen.id, seen.masks)
            layouts.append(fitted(layout, network_size, detections_per_image, where))
        return layouts


def planted_orientations(class_names: Sequence[str]) -> dict[int, float]:
    """Direction of the stripes, in degrees from the x axis towards the y axis that points down, in [0, 180).

    Args:
        class_names: of the detector whose labels are the keys; classes without stripes, or of other worlds, have none.
    """
    stripes = {kind.name: float(kind.texture.degrees) for kind in PlainWorld.kinds if isinstance(kind.texture, Stripes)}
    return {label: stripes[name] for label, name in enumerate(class_names) if name in stripes}
