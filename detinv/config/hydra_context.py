"""Hydra, reading the configuration files of detinv, whatever else it is doing in this process."""

import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from detinv.config.folders import config_dir, hash_of_files


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


def composed_of_files(name: str, overrides: Sequence[str] = (), experiment: str = "") -> DictConfig:
    """Compose `name` of detinv's own files alone, again only if one of them has changed; the caller may change it.

    It takes a fifth of a second, and a sweep, an experiment or a notebook asks for the same many times.

    Args:
        experiment: what the registered experiment that `overrides` choose says.
    """
    return pickle.loads(_composed_of_files(name, tuple(overrides), experiment, hash_of_files()))


def with_values(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Set values in a copy of what is composed, which is what Hydra would compose of the same choices and `overrides`.

    Args:
        overrides: `key=value`, of keys that `config` has; none chooses from a group.

    Raises:
        OverrideParseException: for what Hydra's grammar cannot read.
        ConfigCompositionException: for a value that cannot stand there, or several.
    """
    config = config.copy()
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if override.is_sweep_override():
            raise ConfigCompositionException(f"Ambiguous value for argument '{override.input_line}'")
        try:
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        except OmegaConfBaseException as error:
            raise ConfigCompositionException(f"Error merging override {override.input_line}") from error
    return config


@lru_cache(maxsize=128)
def _composed_of_files(name: str, overrides: tuple[str, ...], experiment: str, of_files: str) -> bytes:
    """Pickled, since copying it takes several times as long as unpickling."""
    with detinv_hydra():
        return pickle.dumps(compose(name, list(overrides)))
