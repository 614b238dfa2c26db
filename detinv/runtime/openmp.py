"""How many threads OpenMP has, and how long they keep a core busy while they wait for each other.

By default, they keep it busy for some milliseconds (GNU) or up to 200 (Intel, LLVM) in each of many thousand waits.
This is lost to whatever else runs on the cores, even to the thread that is waited for. A sleeping thread takes
microseconds to wake up.
"""

import os

# Of the user, who may want the opposite.
_CHOICES = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_WAIT_POLICY")
# Iterations in GNU's runtime, some microseconds; milliseconds in Intel's and LLVM's, of which whichever torch brings.
_SHORT = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}


def limit_spinning() -> None:
    """Let waiting threads sleep early, in this process if it has not imported torch yet, and in those it starts.

    Variables of OpenMP that the user has set stay as they are, and none is added to them.
    """
    if not any(name in os.environ for name in _CHOICES):
        os.environ.update(_SHORT)


def limit_threads(count: int) -> None:
    """Give torch `count` threads in this process and those it starts, unless the user has set a number."""
    # Imported late: this module is imported before torch may be.
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        os.environ["OMP_NUM_THREADS"] = str(count)
        torch.set_num_threads(count)


def cores() -> int:
    """Count the processor's cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
