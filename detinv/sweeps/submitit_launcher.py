"""Jobs as jobs of submitit: on a SLURM cluster, or in processes of this machine."""

import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detinv.errors import ConfigError
from detinv.inputs.printable import reason_of
from detinv.runtime.openmp import cores, limit_threads
from detinv.sweeps.job import JobOutcome, Task, run_apart
from detinv.sweeps.launcher import AbstractLauncher

if TYPE_CHECKING:
    from submitit import Job

# Seconds between two queries of the state of the jobs.
_POLL = {"local": 0.2, "slurm": 5.0}


class SubmititLauncher(AbstractLauncher):
    """Submits each job of a sweep with submitit; those for SLURM are one job array.

    Args:
        cluster: "slurm" or "local".
        array_parallelism: jobs that run at a time.
        options: of `submitit.AutoExecutor.update_parameters`, and of `sbatch` by submitit's names, without the prefix
            `slurm_`; what is None is left to the cluster.
    """

    def __init__(self, cluster: str, array_parallelism: Any, **options: Any) -> None:
        if cluster not in _POLL:
            raise ConfigError(f"hydra.launcher.cluster={cluster}: expected one of {', '.join(_POLL)}")
        if not isinstance(array_parallelism, int) or array_parallelism < 1:
            raise ConfigError(f"hydra.launcher.array_parallelism={array_parallelism}: expected a number, 1 or more")
        self.cluster = cluster
        self.array_parallelism = array_parallelism
        self.options = {name: value for name, value in options.items() if value is not None}

    def launch(self, tasks: Mapping[str, Task], folder: Path) -> Generator[tuple[str, JobOutcome], None, None]:
        executor = self._executor(folder)
        # SLURM itself limits how many run at a time; on this machine we do.
        at_once = len(tasks) if self.cluster == "slurm" else self.array_parallelism
        waiting = list(tasks.items())
        running: dict[Any, str] = {}
        try:
            while waiting or running:
                free = at_once - len(running)
                running |= self._submitted(executor, waiting[:free])
                del waiting[:free]
                ended = [job for job in running if job.done()]
                for job in ended:
                    yield running.pop(job), _outcome(job)
                if not ended:
                    time.sleep(_POLL[self.cluster])
        finally:
            for job in running:
                job.cancel(check=False)

    def _executor(self, folder: Path) -> Any:
        import submitit

        own = ("timeout_min", "cpus_per_task", "gpus_per_node", "mem_gb", "name")
        options = {name if name in own else f"slurm_{name}": value for name, value in self.options.items()}
        if self.cluster == "slurm":
            options["slurm_array_parallelism"] = self.array_parallelism
        try:
            executor = submitit.AutoExecutor(folder / ".submitit" / "%j", cluster=self.cluster)
            executor.update_parameters(**options)
        except (RuntimeError, ValueError, NameError, TypeError) as error:
            raise ConfigError(f"jobs for {self.cluster} cannot be made: {reason_of(error)}") from error
        return executor

    def _submitted(self, executor: Any, entries: Sequence[tuple[str, Task]]) -> "dict[Job[JobOutcome], str]":
        if not entries:
            return {}
        with executor.batch():
            jobs = {executor.submit(_Resumable(task, self._threads())): name for name, task in entries}
        return jobs

    def _threads(self) -> int | None:
        """Threads of each job that runs beside others on this machine; SLURM gives each job cores of its own."""
        alone = self.cluster == "slurm" or self.array_parallelism == 1
        return None if alone else max(1, cores() // self.array_parallelism)


class _Resumable:
    """A task that is submitted again when SLURM preempts it; commands resume where they stopped."""

    def __init__(self, task: Task, threads: int | None = None) -> None:
        self.task = task
        self.threads = threads

    def __call__(self) -> JobOutcome:
        if self.threads is not None:
            limit_threads(self.threads)
        return run_apart(self.task)

    def checkpoint(self) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _outcome(job: Any) -> JobOutcome:
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        outcome = job.result()
    except (FailedJobError, UncompletedJobError):
        return JobOutcome("failed", f"its job {job.job_id} died ({job.state}); see {job.paths.folder}")
    except Exception as error:  # a full disk cuts off the file of a result, which then raises anything when it is read
        return JobOutcome("failed", f"the result of its job {job.job_id} cannot be read: {reason_of(error)}")
    assert isinstance(outcome, JobOutcome)
    return outcome
