"""Run one command: compose its configuration, then call its module. Everything heavy is imported late."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from detinv.config.composition.compose import compose_config
from detinv.config.composition.out_dir import claimed_while_used
from detinv.errors import DetinvError, MemoryLimitError
from detinv.inputs.printable import reason_of
from detinv.runtime.interrupts import begin_work

if TYPE_CHECKING:
    from omegaconf import DictConfig

_TRUST = "trust_config"


def run_command(name: str, overrides: Sequence[str]) -> int:
    """Run one command as the command line does, which trusts configurations only if an override says so.

    Returns:
        The exit status: 0, or what the command says.

    Raises:
        DetinvError: for a mistake in the input; when memory does not suffice.
    """
    from detinv.config.instantiate import instantiate
    from detinv.config.trust import trusting

    with trusting(says_trust(overrides)), claimed_while_used() as claim:

        def claim_when_imported(command: str) -> Path:
            # A folder is claimed only when what takes long, and may be interrupted, is over.
            import_module(f"detinv.commands.{command}")
            return claim(command)

        config = compose_config(name, overrides, claim_when_imported)
        _forget_trust(config)
        command = import_module(f"detinv.commands.{name}")
        begin_work()
        with _memory_told(config):
            return command.run(config, instantiate) or 0


@contextmanager
def _memory_told(config: "DictConfig") -> Iterator[None]:
    """Raise MemoryLimitError, which says what to try, for any error that comes from a lack of memory."""
    try:
        yield
    except Exception as error:
        from detinv.runtime.memory import is_out_of_memory

        if isinstance(error, DetinvError) or not is_out_of_memory(error):
            raise
        batch_size = config.get("batch_size")
        smaller = "" if batch_size in (None, 1) else f"a smaller batch_size than {batch_size}, "
        raise MemoryLimitError(
            f"memory does not suffice: {reason_of(error).rstrip('.')}; choose {smaller}fewer or smaller images, or a "
            "machine or GPU with more memory"
        ) from error


def check_command(name: str, overrides: Sequence[str]) -> "DictConfig":
    """Return the configuration that `run_command` would run, composed and checked in the same way."""
    from detinv.config.trust import trusting

    with trusting(says_trust(overrides)):
        return compose_config(name, overrides)


def says_trust(overrides: Sequence[str]) -> bool:
    """Tell whether the command line allows configurations to run code; the last override counts."""
    pairs = (override.lstrip("+").split("=", 1) for override in overrides if "=" in override)
    said = [value.strip().lower() for key, value in pairs if key == _TRUST]
    return said[-1:] == ["true"]


def _forget_trust(config: "DictConfig") -> None:
    """Remove the option for trust, which is given for one call and not stored with the results."""
    from omegaconf import open_dict

    with open_dict(config):
        config.pop(_TRUST, None)
