"""Several processes that share one job: each inverts images of its own, and the first gathers them.

No gradient is exchanged, because images do not depend on each other. Lightning starts the processes on this machine,
unless SLURM or torchrun have started them already.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from detinv.errors import ConfigError
from detinv.runtime.failures import NEVER, Child, Failures
from detinv.runtime.quiet import quiet_lightning

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process among those of the job; a context manager that ends all of them together.

    Leaving the `with` block by an exception makes all other processes raise ProcessError; leaving it normally waits
    until all others leave it as well, so that none is taken for dead while the first still writes results.

    Args:
        rank, count: this process's number, and how many there are.
        on_node: how many of them run on this machine.
        device: index of this process's accelerator on this machine.
        failures: how processes learn of each other's errors; None where there is one process.
    """

    rank: int = 0
    count: int = 1
    on_node: int = 1
    device: int = 0
    failures: Failures | None = None

    @property
    def first(self) -> bool:
        """Whether this process gathers, evaluates, writes and reports."""
        return self.rank == 0

    @property
    def failed(self) -> bool:
        """Whether another process has failed, so that this one should end; known without waiting."""
        return self.failures is not None and self.failures.other is not None

    def check(self) -> None:
        """Raise ProcessError when another process has failed; for work that takes long and waits for nobody."""
        if self.failures is not None and self.failures.other is not None:
            raise self.failures.other

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.gather(None)
        elif self.failures is not None:
            self.failures.tell(error)

    @contextmanager
    def failing_together(self) -> Iterator[None]:
        """Make all other processes raise ProcessError when an exception leaves the block here."""
        try:
            yield
        except BaseException as error:
            if self.failures is not None:
                self.failures.tell(error)
            raise

    def decide(self, action: Callable[[], T]) -> T:
        """Return, in all processes, what `action` returns in the first; only there it is called.

        Raises:
            ProcessError: in the other processes, when `action` raised anything in the first.
        """
        if self.count == 1:
            return action()
        with self.failing_together():
            box: list[Any] = [action() if self.first else None]
            self._wait(lambda: torch.distributed.broadcast_object_list(box, src=0))
        return box[0]

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, in every one of them.

        Raises:
            ProcessError: when another process has failed.
        """
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        with self.failing_together():
            self._wait(lambda: torch.distributed.all_gather_object(found, value))
        return found

    def share(self, compute: Callable[[list[S]], Sequence[T]], items: Sequence[S]) -> list[T]:
        """Return what `compute` gives for each of the items; each process computes some of them.

        Args:
            compute: from some items to as many results.
            items: the same in all processes.
        """
        with self.failing_together():
            mine = list(compute(list(items[self.rank :: self.count])))
        found = self.gather(mine)
        return [found[place % self.count][place // self.count] for place in range(len(items))]

    def trainer(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Change arguments of a Lightning Trainer so that it runs alone, on this process's device."""
        if self.count == 1:
            return dict(arguments)
        from pytorch_lightning.plugins.environments import LightningEnvironment

        alone = {key: value for key, value in arguments.items() if key not in ("devices", "num_nodes", "strategy")}
        devices: Any = [self.device] if torch.cuda.is_available() and alone.get("accelerator") != "cpu" else 1
        return {**alone, "devices": devices, "plugins": [LightningEnvironment()]}

    def _wait(self, action: Callable[[], object]) -> None:
        action() if self.failures is None else self.failures.wait(action)


def start_processes(trainer: Mapping[str, Any]) -> Processes:
    """Start the processes that `trainer.devices` and `trainer.num_nodes` ask for, unless they run already.

    On one machine Lightning runs the program's command line again, once for each further device.

    Raises:
        ConfigError: for devices that do not exist.
    """
    devices, nodes = trainer.get("devices", 1), trainer.get("num_nodes", 1)
    if for_one_process(trainer):
        return Processes()
    if _STARTED:
        return _STARTED[-1]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        _STARTED.append(_of_the_program(devices))
        return _STARTED[-1]
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    threads = torch.get_num_threads()
    children: list[Child] = []
    try:
        with quiet_lightning():
            fabric = Fabric(
                accelerator=trainer.get("accelerator", "auto"),
                devices=devices,
                num_nodes=nodes,
                # Only results are exchanged. Whoever waits learns of failures by `Failures`, not by a time-out.
                strategy=DDPStrategy(process_group_backend="gloo", timeout=NEVER),
            )
            fabric.launch()
            children = _taken_over(fabric)
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"trainer: {error} (trainer.devices={devices}, trainer.num_nodes={nodes})") from error
    # The launcher divides the threads among the processes, and large images would be rounded differently. What divides
    # the cores without that is `Network`.
    torch.set_num_threads(threads)
    rank, count = fabric.global_rank, fabric.world_size
    # On `trainer.devices=[2,3]` the second process of a machine has device 3.
    device = fabric.device.index or 0
    _STARTED.append(Processes(rank, count, count // nodes, device, Failures.connect(rank, count, children)))
    return _STARTED[-1]


def processes_here() -> int:
    """Count the processes of the job that run on this machine, this one included."""
    return _STARTED[-1].on_node if _STARTED else 1


def for_one_process(trainer: Mapping[str, Any]) -> bool:
    """Tell whether arguments of a Lightning Trainer ask for one device, so that no other process takes part."""
    devices = trainer.get("devices", 1)
    one = devices in (1, "1") or isinstance(devices, list | tuple) and len(devices) == 1
    return bool(one) and trainer.get("num_nodes", 1) == 1


_STARTED: list[Processes] = []


def _taken_over(fabric: Any) -> list[Child]:
    """Return the processes that Lightning has started from this one, which it stops watching.

    As soon as one ended in failure, Lightning would kill this one without a word. `Failures` watches them instead.
    """
    watched = getattr(fabric.strategy.launcher, "procs", [])
    children = list(watched)
    watched.clear()
    return children


def _of_the_program(devices: object) -> Processes:
    """The processes of a program that has formed a group of its own."""
    rank, count = torch.distributed.get_rank(), torch.distributed.get_world_size()
    local = int(os.environ.get("LOCAL_RANK", rank))
    on_node = int(os.environ.get("LOCAL_WORLD_SIZE", count))
    device = int(devices[local]) if isinstance(devices, list | tuple) and local < len(devices) else local
    return Processes(rank, count, on_node, device, Failures.connect(rank, count))
