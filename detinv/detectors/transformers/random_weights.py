"""Random weights under which transformers' DETR-type models look at the image.

The library's own start values leave nothing of it: normalisation begins near zero, box heads at zero, and all queries
alike. It expects weights to be loaded.
"""

import torch
from torch import nn

# Layers whose start values spread the points that deformable attention looks at.
_SPREAD_ALREADY = ("sampling_offsets", "attention_weights")


@torch.no_grad()
def randomise_weights(network: nn.Module, seed: int = 0) -> None:
    """Change the start values of an untrained network so that what it reports depends on the image.

    Args:
        network: of the library's.
        seed: of the weights, which are the same every time; torch's global generator is left as it was.
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
