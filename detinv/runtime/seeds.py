"""Random numbers drawn for each layout alone, so that an image does not depend on its batch."""

import hashlib

import torch


def layout_generator(seed: int, layout_id: str, purpose: str) -> torch.Generator:
    """Make a CPU generator for one layout and one purpose ("start", "augmentation", ...).

    Numbers are drawn on the CPU and then moved, because generators differ between devices.
    """
    digest = hashlib.sha256(f"{seed}/{purpose}/{layout_id}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") & (2**63 - 1))
