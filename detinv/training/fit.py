"""A training run from its first step, or its last checkpoint, to its end."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from torch import nn
from torchvision.models.detection import FasterRCNN, MaskRCNN

from detinv.errors import ConfigError
from detinv.inputs.ranges import check_range
from detinv.runtime.quiet import quiet_lightning
from detinv.training.checkpoint_file import WholeCheckpoints
from detinv.training.data import PhotographSource, SceneSource, TrainingData
from detinv.training.module import MADE_FROM, DetectorTraining
from detinv.training.progress import TrainingProgress
from detinv.types import PRECISIONS, canonical_precision

CHECKPOINT = "last.ckpt"
_LOG_EVERY = 50
# Options that the weights depend on.
_DECISIVE = ("steps", "batch_size", "learning_rate", "weight_decay", "gradient_clip", "precision")
_ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")


@dataclass(frozen=True)
class TrainingOptions:
    """Length, speed and place of a training run.

    Args:
        steps: optimiser updates of the whole run.
        batch_size: images per update.
        learning_rate: at the end of the warm-up.
        weight_decay: of AdamW.
        gradient_clip: largest norm of the gradient.
        steps_per_epoch: updates between two checkpoints.
        precision: of the network, one of Lightning's Trainer.
        accelerator: "cpu", "gpu" or "auto".
        workers: processes that draw samples; 0 draws them in the training process.
    """

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 1e-4
    gradient_clip: float | None = 5.0
    steps_per_epoch: int = 100
    precision: str = "bf16-mixed"
    accelerator: str = "auto"
    workers: int = 1

    def __post_init__(self) -> None:
        check_range(self, "steps batch_size steps_per_epoch", least=1)
        check_range(self, "learning_rate gradient_clip", above=True)
        check_range(self, "weight_decay workers")
        for name, known in (("precision", PRECISIONS), ("accelerator", _ACCELERATORS)):
            if canonical_precision(getattr(self, name)) not in known:
                raise ConfigError(f"{name}={getattr(self, name)}: choose one of {', '.join(known)}")


def fit(
    model: nn.Module,
    source: SceneSource | PhotographSource,
    options: TrainingOptions,
    out_dir: Path,
    progress: bool = True,
) -> int:
    """Train `model` in place, from `out_dir/last.ckpt` if there is one; such a run ends with the same weights.

    Args:
        model: one of torchvision's detection models.
        source: of samples, with as many classes as the model.
        options: when a run is continued the same as before, but for `steps_per_epoch`, `accelerator` and `workers`.
        out_dir: existing folder of the checkpoint, and of `losses/`.
        progress: show a progress bar.

    Returns:
        The step the run was continued from: 0 for a new one, `options.steps` if there was nothing left to do.

    Raises:
        ConfigError: when the checkpoint cannot be read, or belongs to another model, other data or other options.
        KeyboardInterrupt: when interrupted; the checkpoint of the last epoch stays.
    """
    made_from = {"data": source.fingerprint()} | {name: getattr(options, name) for name in _DECISIVE}
    made_from["precision"] = canonical_precision(options.precision)
    module = DetectorTraining(model, options.steps, options.learning_rate, options.weight_decay, made_from)
    checkpoint = out_dir / CHECKPOINT
    done = _restore(module, checkpoint) if checkpoint.exists() else 0
    if done >= options.steps:
        return done
    data = TrainingData(
        source,
        # Torchvision's two-stage models reserve label 0 for the background.
        first_label=1 if isinstance(model, FasterRCNN) else 0,
        batch_size=options.batch_size,
        steps_per_epoch=options.steps_per_epoch,
        masks=isinstance(model, MaskRCNN),
        workers=options.workers,
    )
    # One file, replaced after every epoch; with save_top_k=0 Lightning would write it only at the end.
    callbacks: list[pl.Callback] = [
        pl.callbacks.ModelCheckpoint(
            dirpath=out_dir,
            filename=Path(CHECKPOINT).stem,
            save_top_k=1,
            every_n_epochs=1,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
    ]
    if progress:
        callbacks.append(TrainingProgress(options.steps))
    with quiet_lightning():
        trainer = pl.Trainer(
            max_steps=options.steps,
            precision=options.precision,  # type: ignore[arg-type]
            gradient_clip_val=options.gradient_clip,
            accelerator=options.accelerator,
            devices=1,
            # What SLURM's variables say of further tasks would be taken for processes of this Trainer.
            plugins=[LightningEnvironment(), WholeCheckpoints()],
            logger=pl.loggers.CSVLogger(out_dir, name="losses", version=f"from_step_{done:06d}"),
            callbacks=callbacks,
            reload_dataloaders_every_n_epochs=1,
            log_every_n_steps=_LOG_EVERY,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, data, ckpt_path=checkpoint if done else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    return done


def _restore(module: DetectorTraining, checkpoint: Path) -> int:
    """Load the checkpoint's weights into the module and return the number of steps they were trained for."""
    try:
        content: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
        state, steps = content["state_dict"], int(content["global_step"])
    except Exception as error:  # a broken file can make the reader raise anything
        raise ConfigError(
            f"{checkpoint}: cannot be read as a checkpoint; remove it or choose another out_dir"
        ) from error
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ConfigError(
            f"{checkpoint}: belongs to another detector; choose another out_dir, or the training that wrote it"
        ) from error
    before = content.get(MADE_FROM)
    if not isinstance(before, dict):
        raise ConfigError(f"{checkpoint}: written by an earlier version of detinv; choose another out_dir")
    for name, now in module.made_from.items():
        if before.get(name) != now:
            change = "the data has changed since" if name == "data" else f"{name} was {before.get(name)}, is {now}"
            raise ConfigError(f"{checkpoint}: belongs to another training: {change}; choose another out_dir")
    return steps
