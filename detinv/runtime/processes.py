"""Several processes that share one job: each inverts images of its own, and the first gathers them.

No gradient is exchanged, because images know nothing of each other. Lightning starts the processes: on this machine,
or wherever SLURM or torchrun have started them already.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from detinv.errors import ConfigError, DetinvError
from detinv.runtime.quiet import quiet_lightning

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process among those of the job.

    Args:
        rank, count: its number, and how many there are.
        on_node: how many of them share this machine.
        device: index of its accelerator on this machine.
    """

    rank: int = 0
    count: int = 1
    on_node: int = 1
    device: int = 0

    @property
    def first(self) -> bool:
        """Whether this process gathers, judges, writes and tells."""
        return self.rank == 0

    def decide(self, action: Callable[[], T]) -> T:
        """What `action` returns in the first process, in all of them; an error it raises there ends them all.

        Raises:
            DetinvError: in the first process, whatever `action` raised.
        """
        if self.count == 1:
            return action()
        box: list[Any] = [None, False]
        failure: DetinvError | None = None
        if self.first:
            try:
                box = [action(), True]
            except DetinvError as error:
                failure = error
        torch.distributed.broadcast_object_list(box, src=0)
        if failure is not None:
            raise failure
        if not box[1]:
            # The first process tells why.
            sys.exit(2)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in every one of them."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(found, value)
        return found

    def share(self, look: Callable[[list[S]], Sequence[T]], items: Sequence[S]) -> list[T]:
        """What `look` finds in each of the items, which are the same in all processes; each looks at some of them."""
        found = self.gather(list(look(list(items[self.rank :: self.count]))))
        return [found[place % self.count][place // self.count] for place in range(len(items))]

    def trainer(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of a Lightning Trainer that runs alone on this process's device."""
        if self.count == 1:
            return dict(arguments)
        from pytorch_lightning.plugins.environments import LightningEnvironment

        alone = {key: value for key, value in arguments.items() if key not in ("devices", "num_nodes", "strategy")}
        devices: Any = [self.device] if torch.cuda.is_available() and alone.get("accelerator") != "cpu" else 1
        return {**alone, "devices": devices, "plugins": [LightningEnvironment()]}


def start_processes(trainer: Mapping[str, Any]) -> Processes:
    """The processes that `trainer.devices` and `trainer.num_nodes` ask for, started where they are not yet.

    On one machine Lightning runs the program's command line once more for each further device.

    Raises:
        ConfigError: for devices that are not there.
    """
    devices, nodes = trainer.get("devices", 1), trainer.get("num_nodes", 1)
    if nodes == 1 and (devices in (1, "1") or (isinstance(devices, list | tuple) and len(devices) == 1)):
        return Processes()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return _this_process()
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    threads = torch.get_num_threads()
    try:
        with quiet_lightning():
            fabric = Fabric(
                accelerator=trainer.get("accelerator", "auto"),
                devices=devices,
                num_nodes=nodes,
                # Only results are exchanged; the first process to be done may wait for days.
                strategy=DDPStrategy(process_group_backend="gloo", timeout=timedelta(days=30)),
            )
            fabric.launch()
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"trainer: {error} (trainer.devices={devices}, trainer.num_nodes={nodes})") from error
    # The launcher divides the threads among the processes, and large images would round otherwise.
    torch.set_num_threads(threads)
    _STARTED.append(Processes(fabric.global_rank, fabric.world_size, fabric.world_size // nodes, fabric.local_rank))
    return _STARTED[-1]


_STARTED: list[Processes] = []


def _this_process() -> Processes:
    if _STARTED:
        return _STARTED[-1]
    rank, count = torch.distributed.get_rank(), torch.distributed.get_world_size()
    return Processes(rank, count, count, rank)
