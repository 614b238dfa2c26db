"""A command's configuration, composed by Hydra of configs/ and of the command line; mistakes are one line.

Hydra neither changes the working directory nor sets up logging here. Everything heavy is imported late.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detinv.config.commands import COMMANDS
from detinv.config.composition.chosen import (
    EXPERIMENT,
    check_choice,
    chooses,
    chosen_groups,
    lies_elsewhere,
    registered,
    store_experiment,
    unknown_choice,
)
from detinv.config.composition.kinds import check_kinds, check_numbers, check_read, flat_values
from detinv.config.composition.out_dir import dated_folder
from detinv.config.composition.texts import as_typed
from detinv.config.folders import config_dir
from detinv.config.renamed import current_words
from detinv.config.words import unreadable
from detinv.errors import ConfigError
from detinv.inputs.printable import suggestion

if TYPE_CHECKING:
    from omegaconf import DictConfig

_PRESET = "preset"
_DETECTOR = "detector."
# Of the choices that have an option, a message lists this many.
_NAMED = 3


def compose_config(
    command: str, overrides: Sequence[str] = (), name_out_dir: Callable[[str], Path] = dated_folder
) -> "DictConfig":
    """Compose the configuration of a command, complete and checked, `out_dir` included.

    Args:
        command: name of the primary file.
        overrides: as on the command line.
        name_out_dir: names the folder for the results of a command when no `out_dir` is given; called when everything
            else has been checked.

    Raises:
        ConfigError: for an unknown group, choice or value, suggesting the nearest; for a value of the wrong kind; for a
            value that has no default and was not given.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from detinv.config.instantiate import mistake_within
    from detinv.config.trust import check_decisions, check_resolved

    for word in overrides:
        _check_name(command, word)
    overrides = [registered(command, word) for word in current_words(command, overrides)]
    choosing, chosen, base = _chosen_base(command, overrides)
    check_decisions(OmegaConf.to_container(base), chosen.get(EXPERIMENT, "configuration"))
    known = flat_values(base)
    own = [_left_out(word, known) for word in overrides if word not in choosing]
    config = _with_values(command, base, known, choosing, as_typed(command, own, known), chosen)
    # Lists of detectors, and whether real ones are verified, are options, not choices.
    if suited := _suited_preset(command, config, chosen):
        return compose_config(command, [*overrides, f"{_PRESET}={suited}"], name_out_dir)
    try:
        defaults = flat_values(_resolved(base))
        options = COMMANDS[command]
        check_kinds(defaults, config, options.constructor, options.optional)
        check_numbers(flat_values(config))
        check_read(command, defaults, flat_values(config))
        _check_complete(config, command, chosen)
        if config.out_dir is None:
            config.out_dir = str(name_out_dir(command))
        OmegaConf.resolve(config)
        # Once more: only now are interpolated values known.
        check_kinds(defaults, config, options.constructor, options.optional)
    except (OmegaConfBaseException, RecursionError) as error:
        raise mistake_within(error) from error
    check_resolved(OmegaConf.to_container(config))
    return config


def _check_name(command: str, override: str) -> None:
    """Raise ConfigError for an override without a name, and for one that moves a choice to another place."""
    name = override.partition("=")[0].lstrip("+~")
    if not name or "@" in name:
        raise ConfigError(f"cannot read {override!r}; write name=value, see detinv {command} --help")


def _left_out(override: str, known: Mapping[str, Any]) -> str:
    """Return an override as one that adds an option, where the file of a choice leaves an option of its target out."""
    from detinv.config.composition.annotations import annotation_of_option

    key, equals, _ = override.partition("=")
    if not equals or key in known or key[:1] in "+~" or annotation_of_option(known, key) is None:
        return override
    return f"+{override}"


def composed_values(command: str, choosing: Sequence[str]) -> dict[str, Any]:
    """Return the flat values of a command when only choices of groups are given; see `compose_config`."""
    overrides = [registered(command, word) for word in current_words(command, choosing)]
    return flat_values(_chosen_base(command, overrides)[2])


def _chosen_base(command: str, overrides: Sequence[str]) -> tuple[list[str], dict[str, str], "DictConfig"]:
    """Return the overrides that choose from groups, what they choose, and the configuration of these alone.

    The preset is among them where it is the detector that decides.
    """
    chosen = chosen_groups(overrides)
    for group, choice in chosen.items():
        check_choice(command, group, choice)
    experiment: str | None = store_experiment(command, chosen)
    choosing = [word for word in overrides if word.lstrip("+").split("=", 1)[0] in chosen]
    if any(lies_elsewhere(group, choice) for group, choice in chosen.items()):
        experiment = None
    base = _compose(command, choosing, chosen, experiment)
    if suited := _suited_preset(command, base, chosen):
        choosing.append(f"{_PRESET}={suited}")
        chosen[_PRESET] = suited
        base = _compose(command, choosing, chosen, experiment)
    return choosing, chosen, base


def _suited_preset(command: str, config: "DictConfig", chosen: Mapping[str, str]) -> str | None:
    """Return the preset for the detectors of `config`, where none is chosen and the default does not suit them."""
    if _PRESET not in config or chooses(_PRESET, chosen):
        return None
    from detinv.config.composition.suited import DEFAULT, suited_preset

    suited = suited_preset(command, config)
    return None if suited == DEFAULT else suited


def _compose(
    command: str, overrides: Sequence[str], chosen: Mapping[str, str], experiment: str | None = None
) -> "DictConfig":
    """Compose the choices among `overrides`, anew unless they are known to be detinv's files and this experiment."""
    from hydra import compose

    from detinv.config.hydra_context import composed_of_files, detinv_hydra

    with _told_in_one_line(command, chosen):
        if experiment is not None:
            return composed_of_files(command, overrides, experiment)
        with detinv_hydra():
            return compose(command, list(overrides))


def _with_values(
    command: str,
    base: "DictConfig",
    known: Mapping[str, Any],
    choosing: Sequence[str],
    words: Sequence[str],
    chosen: Mapping[str, str],
) -> "DictConfig":
    """Compose with further words; only where one of them adds or removes something need Hydra compose anew.

    Args:
        known: the values of `base` by their dotted keys.
    """
    from detinv.config.hydra_context import with_values

    if not all("=" in word and word.partition("=")[0] in known for word in words):
        return _compose(command, [*choosing, *words], chosen)
    with _told_in_one_line(command, chosen):
        return with_values(base, words)


@contextmanager
def _told_in_one_line(command: str, chosen: Mapping[str, str]) -> Iterator[None]:
    from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except OverrideParseException as error:
        raise unreadable(str(error.override)) from error
    except MissingConfigException as error:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        raise ConfigError(unknown_choice(group, choice)) from error
    except (ConfigCompositionException, OmegaConfBaseException) as error:
        raise ConfigError(_composition_problem(command, chosen, error)) from error


def _composition_problem(command: str, chosen: Mapping[str, str], error: Exception) -> str:
    from detinv.config.detectors import JOINT
    from detinv.config.help import choices_with, groups, options

    text = str(error) or str(error.__cause__)
    _, quote, rest = text.partition("Could not override '")
    if not quote:
        return f"{_first_line(error)}; see detinv {command} --help"
    key = rest.split("'", 1)[0]
    if key.startswith(_DETECTOR) and chosen.get("detector") == JOINT:
        option = key.removeprefix(_DETECTOR)
        return f"several detectors have options of their own: write detector.members.NAME.{option}=... for each"
    folder = config_dir()
    known = [group.name for group in groups(folder, command)]
    known += [option.key for option in options(folder, command, chosen)]
    if key not in known and (others := choices_with(folder, command, key, chosen)):
        more = ", ..." if others[_NAMED:] else ""
        one = "one of them" if others[1:] else "it"
        return f"{key} is an option of {', '.join(others[:_NAMED])}{more} only; choose {one} as well"
    return f"detinv {command} has no option {key!r}{suggestion(key, known)} (see detinv {command} --help)"


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or str(error.__cause__).strip()
    return text.splitlines()[0].rstrip(".:") if text else type(error).__name__


def _resolved(base: "DictConfig") -> "DictConfig":
    """Copy the defaults with interpolations resolved, so that each has a kind."""
    from omegaconf import OmegaConf

    resolved = base.copy()
    OmegaConf.resolve(resolved)
    return resolved


def _check_complete(config: "DictConfig", command: str, chosen: Mapping[str, str]) -> None:
    from omegaconf import OmegaConf

    missing = sorted(str(key) for key in OmegaConf.missing_keys(config))
    if not missing:
        return
    from detinv.config.help import options

    comments = {option.key: option.comment for option in options(config_dir(), command, chosen)}
    hints = [f"{key}=..." + (f" ({comments[key]})" if comments.get(key) else "") for key in missing]
    raise ConfigError(f"detinv {command} needs {' and '.join(hints)}")
