"""Launchers, which run the jobs of a sweep: the interface, the one for this process, and how one is chosen."""

import gc
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from detinv.config.words import plain_text, quoted_override
from detinv.errors import ConfigError
from detinv.inputs.printable import reason_of, suggestion
from detinv.sweeps.job import JobOutcome, Task, run_here

GROUP = "hydra/launcher"
"""The option that chooses a launcher, as in all programs that use Hydra."""

_OPTIONS = "hydra.launcher."
# The group of configuration files that hold the options.
_FOLDER = "launcher"
# Class, the library it needs, and the extra that installs it.
# Options that are texts, although an account may be called 007, and nodes node[01-03,07].
_TEXTS = ("address", "name", "partition", "account", "qos", "constraint", "exclude", "gres")
_LAUNCHERS = {
    "basic": ("detinv.sweeps.launcher.InProcess", None, None),
    "ray": ("detinv.sweeps.ray_launcher.RayLauncher", "ray", "ray"),
    "submitit_local": ("detinv.sweeps.submitit_launcher.SubmititLauncher", "submitit", "slurm"),
    "submitit_slurm": ("detinv.sweeps.submitit_launcher.SubmititLauncher", "submitit", "slurm"),
}


class AbstractLauncher(ABC):
    """Runs tasks, each isolated from the others, and reports each one as it ends.

    These are not Hydra's launcher plugins: those return when all jobs have ended, and give up all of them when the
    process of one dies, so that jobs could not be reported as they end.
    """

    @abstractmethod
    def launch(self, tasks: Mapping[str, Task], folder: Path) -> Generator[tuple[str, JobOutcome], None, None]:
        """Run all tasks.

        Args:
            tasks: by name.
            folder: of the sweep.

        Returns:
            Names and outcomes, in the order in which the tasks end. Closing the generator ends those still running.

        Raises:
            ConfigError: before any task has begun, for options that cannot be satisfied here.
        """


class InProcess(AbstractLauncher):
    """In this process, one after the other."""

    def launch(self, tasks: Mapping[str, Task], folder: Path) -> Generator[tuple[str, JobOutcome], None, None]:
        for name, task in tasks.items():
            print(f"{name}:", flush=True)
            yield name, run_here(task)
            # Frees memory in reference cycles, also of a GPU, for the next job.
            gc.collect()


def is_launcher_option(override: str) -> bool:
    """Tell whether an override concerns the launcher rather than the jobs."""
    return override.lstrip("+~").startswith(("hydra.", "hydra/"))


def choose_launcher(overrides: Sequence[str]) -> AbstractLauncher:
    """Build the launcher that the overrides of `hydra/launcher` and `hydra.launcher` describe.

    Raises:
        ConfigError: for one that is unknown or not installed, and for options it does not have.
    """
    from detinv.config.folders import choices, config_dir

    name, options = "basic", []
    for word in overrides:
        key, _, value = word.partition("=")
        if key == GROUP:
            name = value
        elif key.startswith(_OPTIONS):
            options.append(word)
        else:
            raise ConfigError(f"{word}: of Hydra's own options, sweeps have {GROUP}=NAME and {_OPTIONS}OPTION=VALUE")
    known = choices(config_dir(), _FOLDER)
    if name not in known:
        raise ConfigError(f"unknown {GROUP} {name!r}{suggestion(name, known)} (there are: {', '.join(known)})")
    values = _composed(name, options)
    target, library, extra = _LAUNCHERS[name]
    if library and find_spec(library) is None:
        raise ConfigError(f"{GROUP}={name} needs the extra: pip install 'detinv[{extra}]'")
    module, _, kind = target.rpartition(".")
    launcher = getattr(import_module(module), kind)(**values)
    assert isinstance(launcher, AbstractLauncher)
    return launcher


def _composed(name: str, options: Sequence[str]) -> dict[str, Any]:
    """Compose the options of a launcher.

    They are a group of our own: Hydra's group has the options of its plugins, should any be installed.
    """
    from hydra import compose
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from detinv.config.hydra_context import detinv_hydra

    try:
        with detinv_hydra():
            known = sorted(map(str, compose(None, [f"+{_FOLDER}={name}"]).get(_FOLDER) or {}))
            for word in options:
                key = word.split("=", 1)[0].removeprefix(_OPTIONS)
                if key.split(".")[0] not in known:
                    there = ", ".join(known) or "none"
                    raise ConfigError(
                        f"{GROUP}={name} has no option {key!r}{suggestion(key, known)} (there are: {there})"
                    )
            words = [f"{_FOLDER}.{_as_typed(word.removeprefix(_OPTIONS))}" for word in options]
            values = OmegaConf.to_container(compose(None, [f"+{_FOLDER}={name}", *words]), resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"{' '.join(options)}: {reason_of(error).rstrip('.:')}") from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in (values.get(_FOLDER) or {}).items()}


def _as_typed(word: str) -> str:
    key, equals, value = word.partition("=")
    return quoted_override(key, plain_text(value)) if equals and key in _TEXTS and value != "null" else word
