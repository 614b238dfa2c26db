"""Random weights under which the predictions of transformers' DETR-type models depend on the image.

Under the library's own initial values they do not: normalisation starts near zero, box heads at zero, and all queries
are alike, as weights are expected to be loaded.
"""

from collections.abc import Iterable

import torch
from torch import nn

# Layers whose initial values spread the sampling points of deformable attention.
_SPREAD_ALREADY = ("sampling_offsets", "attention_weights")


@torch.no_grad()
def randomise_weights(network: nn.Module, seed: int = 0) -> None:
    """Change the initial values of an untrained network so that its detections depend on the image.

    Args:
        network: one of the library's.
        seed: of the weights; torch's global generator is not affected.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear) and not name.endswith(_SPREAD_ALREADY):
                nn.init.xavier_uniform_(module.weight)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)
            else:
                _spread(module.parameters(recurse=False))


def _spread(parameters: Iterable[nn.Parameter]) -> None:
    """Fill embeddings that are plain parameters of three axes and still zero, such as those of YOLOS's queries."""
    for parameter in parameters:
        if parameter.ndim == 3 and not parameter.any():
            nn.init.normal_(parameter)
