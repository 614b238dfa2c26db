"""Hydra, reading the configuration files of detinv, whatever else it is doing in this process."""

from collections.abc import Iterator
from contextlib import contextmanager

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.version import VersionBase

from detinv.config.folders import config_dir


@contextmanager
def detinv_hydra() -> Iterator[None]:
    """Let `hydra.compose` read detinv's configuration files within this block.

    The calling program may itself be running under Hydra, whose state is put back afterwards.
    """
    outer, base = GlobalHydra.instance().hydra, VersionBase.instance().version_base
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = outer
        VersionBase.instance().version_base = base
