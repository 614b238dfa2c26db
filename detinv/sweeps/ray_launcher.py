"""Jobs as Ray tasks: on all GPUs of this machine, or on a cluster."""

import os
import signal
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from detinv.errors import ConfigError
from detinv.inputs.printable import reason_of
from detinv.sweeps.job import JobOutcome, Task, run_apart
from detinv.sweeps.launcher import AbstractLauncher

# Bytes of Ray's object store, which jobs do not use.
_STORE = 80 * 2**20


class RayLauncher(AbstractLauncher):
    """Runs each job in a process of its own, as soon as the processors and GPUs it needs are free.

    Args:
        address: of a running cluster, as `ray start --head` prints it, or "auto"; the variable RAY_ADDRESS by default,
            and without that a Ray of its own on this machine.
        num_cpus: that each job needs.
        num_gpus: that each job needs, also a share such as 0.5; by default 1 where there are any, else 0.
    """

    def __init__(self, address: str | None = None, num_cpus: Any = 1, num_gpus: Any = None) -> None:
        for name, value in (("num_cpus", num_cpus), ("num_gpus", num_gpus)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
                raise ConfigError(f"hydra.launcher.{name}={value}: expected a number, 0 or more")
        self.address = address
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus

    def launch(self, tasks: Mapping[str, Task], folder: Path) -> Generator[tuple[str, JobOutcome], None, None]:
        import ray

        self._start()
        try:
            # One process per job and no retry: a job that kills its process would do so again.
            run = ray.remote(max_calls=1, max_retries=0, **self._needs())(run_apart)
            pending = {run.remote(task): name for name, task in tasks.items()}
            try:
                while pending:
                    ended, _ = ray.wait(list(pending))
                    for task in ended:
                        yield pending.pop(task), _outcome(task)
            finally:
                for task in pending:
                    with suppress(Exception):
                        ray.cancel(task, force=True)
        finally:
            ray.shutdown()

    def _start(self) -> None:
        import ray

        # Usage reports to Ray's makers are opt-in.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # By default Ray gives its workers a low priority.
        os.environ.setdefault("RAY_worker_niceness", "0")
        # The output of jobs is in their logs.
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "WARNING"}
        address = self.address or os.environ.get("RAY_ADDRESS") or "local"
        if address == "local":
            options |= {"include_dashboard": False, "object_store_memory": _STORE, "logging_level": "ERROR"}
        try:
            with _own_termination():
                ray.init(address, **options)
        except (ConnectionError, RuntimeError, ValueError, ImportError) as error:
            raise ConfigError(f"no Ray at {address}: {reason_of(error)}; set hydra.launcher.address=...") from error

    def _needs(self) -> dict[str, Any]:
        """Return what each job needs, checked against the largest machine, so that no job waits forever."""
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        most = {kind: max((node.get(kind, 0) for node in nodes), default=0) for kind in ("CPU", "GPU")}
        gpus = min(1, most["GPU"]) if self.num_gpus is None else self.num_gpus
        for name, value, kind in (("num_cpus", self.num_cpus, "CPU"), ("num_gpus", gpus, "GPU")):
            if value > most[kind]:
                raise ConfigError(f"hydra.launcher.{name}={value}: the largest machine has {most[kind]:g}")
        return {"num_cpus": self.num_cpus, "num_gpus": gpus}


@contextmanager
def _own_termination() -> Iterator[None]:
    """Restore this process's handler of SIGTERM, which Ray replaces by one that ends it without the table of jobs."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        # Only here can handlers be set, by Ray as well; None stands for one that was not set from Python.
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)


def _outcome(task: Any) -> JobOutcome:
    import ray
    from ray.exceptions import RayError

    try:
        outcome = ray.get(task)
    except RayError as error:
        return JobOutcome("failed", f"its process died: {reason_of(error)}")
    assert isinstance(outcome, JobOutcome)
    return outcome
