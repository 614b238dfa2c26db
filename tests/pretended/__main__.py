"""Runs a command of detinv on the pretended GPU.

python -m tests.pretended invert detector=shapes_fcos layout=random layout.count=1 steps=2 trainer.accelerator=gpu
"""

import sys

from detinv.cli import main
from tests.pretended_gpu import PretendedGpu

if __name__ == "__main__":
    with PretendedGpu():
        sys.exit(main())
