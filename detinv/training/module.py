"""One torchvision detector under training, as a LightningModule."""

import pytorch_lightning as pl
import torch
from torch import Tensor, nn


class DetectorTraining(pl.LightningModule):
    """Minimises the sum of a torchvision detector's own training losses.

    AdamW with a linear warm-up over the first twentieth of the steps, then a cosine to zero.

    Args:
        model: any of torchvision's detection models.
        steps: optimiser updates of the whole run.
        learning_rate: at the end of the warm-up.
        weight_decay: of AdamW.
    """

    def __init__(self, model: nn.Module, steps: int, learning_rate: float = 2e-3, weight_decay: float = 1e-4) -> None:
        super().__init__()
        self.model = model
        self.steps = steps
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay

    def training_step(self, batch: tuple[list[Tensor], list[dict[str, Tensor]]], batch_idx: int) -> Tensor:
        images, targets = batch
        terms = self.model(images, targets)
        loss = torch.stack([term.float() for term in terms.values()]).sum()
        self.log("loss", loss, prog_bar=True, batch_size=len(images))
        self.log_dict({f"loss/{name}": term for name, term in terms.items()}, batch_size=len(images))
        return loss

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(self.parameters(), self.learning_rate, weight_decay=self.weight_decay)
        warmup = max(self.steps // 20, 1)

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            progress = min((step - warmup) / max(self.steps - warmup, 1), 1.0)
            return 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * progress))))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
