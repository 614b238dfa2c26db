"""Training data of the bundled detectors: endless scenes, or annotated photographs with augmentation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from detinv.inputs.fingerprint import settings_hash
from detinv.layouts.layout import Layout
from detinv.results.io.images import read_image
from detinv.worlds.scene import Scene

Sample = tuple[UInt8[Tensor, "3 height width"], Layout]


@runtime_checkable
class World(Protocol):
    """A generator of scenes; each is determined by its number."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the labels."""
        ...

    def scene(self, index: int) -> Scene:
        """Return scene number `index`."""
        ...


class SceneSource:
    """An endless source of scenes: sample i is scene i of the world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.class_names = world.class_names

    def sample(self, index: int) -> Sample:
        """Return image and layout of scene `index`."""
        scene = self.world.scene(index)
        return scene.image, scene.layout

    def fingerprint(self) -> str:
        """Return a hash that is the same for sources of the same samples."""
        return settings_hash(self.world)


class PhotographSource:
    """Annotated photographs, flipped, scaled, shifted and recoloured at random each time.

    Args:
        layouts: with boxes in the pixels of the photographs.
        paths: the photographs, one for each layout.
        class_names: of the labels.
        image_size: (height, width) of the samples.
        seed: of order and augmentation; sample i depends on (seed, i) only.
    """

    def __init__(
        self,
        layouts: Sequence[Layout],
        paths: Sequence[Path],
        class_names: tuple[str, ...],
        image_size: tuple[int, int],
        seed: int = 0,
    ) -> None:
        self.class_names = class_names
        self.image_size = image_size
        self.seed = seed
        self._layouts = [layout.resized(image_size) for layout in layouts]
        height, width = image_size
        self._images = []
        for path, layout in zip(paths, layouts, strict=True):
            photograph = Image.fromarray(read_image(path, layout.image_size).permute(1, 2, 0).numpy())
            self._images.append(np.asarray(photograph.resize((width, height), Image.Resampling.BILINEAR)))

    def sample(self, index: int) -> Sample:
        """Return sample `index`: every photograph is used once, in random order, before any is used again."""
        epoch, position = divmod(index, len(self._images))
        number = int(np.random.default_rng((self.seed, epoch)).permutation(len(self._images))[position])
        generator = np.random.default_rng((self.seed, epoch, position))
        return _augment(self._images[number], self._layouts[number], generator)

    def fingerprint(self) -> str:
        """Return a hash that is the same for sources of the same samples."""
        return settings_hash([self.class_names, self.image_size, self.seed, self._layouts, self._images])


def _augment(image: np.ndarray, layout: Layout, generator: np.random.Generator) -> Sample:
    """Apply random flips, a crop or zoom-out of up to a fifth, brightness, contrast and colour balance."""
    height, width = layout.image_size
    zoom = generator.uniform(0.85, 1.25)
    view_h, view_w = height / zoom, width / zoom
    top = generator.uniform(min(0, height - view_h), max(0, height - view_h))
    left = generator.uniform(min(0, width - view_w), max(0, width - view_w))
    view = Image.fromarray(image).transform(
        (width, height),
        Image.Transform.AFFINE,
        (view_w / width, 0, left, 0, view_h / height, top),
        Image.Resampling.BILINEAR,
        fillcolor=tuple(int(c) for c in image.reshape(-1, 3).mean(axis=0)),
    )
    pixels = np.asarray(view).astype(np.float32) / 255
    boxes = ((layout.boxes.numpy() - [left, top, left, top]) * zoom).astype(np.float32)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    boxes = np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)
    visible = (boxes[:, 2] - boxes[:, 0]).clip(0) * (boxes[:, 3] - boxes[:, 1]).clip(0)
    keep = visible > 0.3 * area
    boxes, labels = boxes[keep], layout.labels.numpy()[keep]
    if generator.uniform() < 0.5:
        pixels = pixels[:, ::-1]
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
    if generator.uniform() < 0.5:
        pixels = pixels[::-1]
        boxes = np.stack([boxes[:, 0], height - boxes[:, 3], boxes[:, 2], height - boxes[:, 1]], axis=1)
    gain = generator.uniform(0.8, 1.2) * generator.uniform(0.93, 1.07, size=3)
    pixels = np.clip((pixels - 0.5) * gain + 0.5 + generator.uniform(-0.08, 0.08), 0, 1)
    image_out = torch.from_numpy(np.round(pixels * 255).astype(np.uint8)).permute(2, 0, 1).contiguous()
    return image_out, Layout(torch.from_numpy(boxes), torch.from_numpy(labels), layout.image_size, layout.id)


class _Slice(Dataset):
    def __init__(self, source: SceneSource | PhotographSource, start: int, length: int) -> None:
        self.source, self.start, self.length = source, start, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        return self.source.sample(self.start + index)


class TrainingData(pl.LightningDataModule):
    """Batches for `DetectorTraining`; an epoch is a fixed number of steps over samples never seen before.

    Args:
        source: `SceneSource` or `PhotographSource`.
        first_label: torchvision's label for our class 0 (1 for models that reserve 0 for the background).
        batch_size: images per step.
        steps_per_epoch: steps between two checkpoints.
        masks: whether targets include masks.
        workers: processes that draw scenes; 0 draws them in the training process.
    """

    def __init__(
        self,
        source: SceneSource | PhotographSource,
        first_label: int,
        batch_size: int = 16,
        steps_per_epoch: int = 100,
        masks: bool = False,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.source = source
        self.first_label = first_label
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch
        self.masks = masks
        self.workers = workers

    def train_dataloader(self) -> DataLoader:
        """Return the batches of one epoch, starting at the first sample that no earlier step has used."""
        # The epoch number would be off by one while Lightning resumes a run.
        steps = 0 if self.trainer is None else self.trainer.global_step
        return DataLoader(
            _Slice(self.source, steps * self.batch_size, self.batch_size * self.steps_per_epoch),
            self.batch_size,
            collate_fn=self._collate,
            num_workers=self.workers,
            # Otherwise the loader would draw its workers' seeds from the generator that the model uses.
            generator=torch.Generator().manual_seed(0),
        )

    def _collate(self, samples: list[Sample]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
        images, targets = [], []
        for image, layout in samples:
            target = {"boxes": layout.boxes, "labels": layout.labels + self.first_label}
            if self.masks and layout.masks is not None:
                target["masks"] = layout.masks.to(torch.uint8)
            images.append(image.float() / 255)
            targets.append(target)
        return images, targets
