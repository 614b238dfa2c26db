"""The checkpoint of a training, which is whole at any time."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from detinv.results.io.files import write_with


class WholeCheckpoints(TorchCheckpointIO):
    """Replaces a checkpoint at once; Lightning's own copies over it, so that a full disk would cost both."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            OutputError: when it cannot be written; the one before is still there.
        """

        def write(temporary: Path) -> None:
            try:
                with temporary.open("wb") as file:
                    torch.save(checkpoint, file)
            except RuntimeError as error:
                # After a file that cannot be written, torch's closing of its archive fails as well.
                reason = error.__context__
                if not isinstance(reason, OSError):
                    raise
                raise OSError(reason.errno, reason.strerror) from error

        write_with(path, write)
