"""The runs that the overrides of a sweep describe, by Hydra's own grammar."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice, product
from math import prod
from typing import TYPE_CHECKING, Any

from detinv.config.composition.chosen import is_group
from detinv.config.composition.compose import composed_values
from detinv.config.composition.texts import text_of
from detinv.config.words import lists_for_sweep, split_words, unreadable
from detinv.errors import ConfigError
from detinv.inputs.printable import reason_of

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

_MOST = 10_000


@dataclass(frozen=True)
class Combination:
    """One run of a sweep.

    Args:
        overrides: all of them, each with one value, as one would type them for a single run.
        swept: those among them whose values differ between the runs.
    """

    overrides: tuple[str, ...]
    swept: tuple[str, ...]


def key_of(override: str) -> str:
    """Return the key of an override: `detector` of `detector=a`, `trainer.max_time` of `+trainer.max_time=1`."""
    return override.lstrip("+~").split("=", 1)[0]


def combinations(command: str, overrides: Sequence[str]) -> list[Combination]:
    """List every combination of the values that the overrides list, the last one varying fastest.

    Values are listed as Hydra's multirun does: `a,b,c`, `choice(...)`, `range(...)`, and `glob(...)` for groups,
    detectors and experiments. If an override is given twice, the last one counts.

    Raises:
        ConfigError: for words that cannot be read, lists without values, and sweeps of more than 10000 runs.
    """
    axes: dict[str, list[str]] = {}
    swept: set[str] = set()
    values = _first_values(command, overrides)
    for word in overrides:
        key, found, several = _axis(command, word, values)
        # Of an override that is given twice, the last one counts, in its place.
        axes.pop(key, None)
        swept.discard(key)
        axes[key] = found
        if several:
            swept.add(key)
    count = prod(len(words) for words in axes.values())
    if count > _MOST:
        raise ConfigError(f"a sweep of {count} runs; at most {_MOST} are possible")
    return [
        Combination(words, tuple(word for key, word in zip(axes, words, strict=True) if key in swept))
        for words in product(*axes.values())
    ]


def _axis(command: str, word: str, values: Mapping[str, Any]) -> tuple[str, list[str], bool]:
    """Return the key of an override, `key=value` for each of its values, and whether there may be several."""
    key, equals, value = word.partition("=")
    listed = lists_for_sweep(value) or not equals or key.startswith("~")
    if not listed and (is_group(key.lstrip("+")) or text_of(key.lstrip("+"), command, values) is not None):
        # Paths and other texts are split as they are typed: Hydra would read some as numbers, and some not at all.
        found = split_words(value)
        return key, [f"{key}={one}" for one in dict.fromkeys(found)], len(found) > 1
    override = _parsed(word)
    return override.get_key_element(), _values(command, override), override.is_sweep_override()


def _first_values(command: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Compose the first choice of each group; the kinds of options are those of that."""
    firsts = []
    for word in overrides:
        key, equals, value = word.partition("=")
        if equals and is_group(key.lstrip("+")):
            found = [word] if not lists_for_sweep(value) else _values(command, _parsed(word))
            firsts += [f"{key}={split_words(one.partition('=')[2])[0]}" for one in found[:1]]
    return composed_values(command, firsts) if firsts else _default_values(command)


@cache
def _default_values(command: str) -> dict[str, Any]:
    return composed_values(command, [])


def _parsed(word: str) -> "Override":
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    try:
        return OverridesParser.create().parse_overrides([word])[0]
    except OverrideParseException as error:
        raise unreadable(word) from error


def _values(command: str, override: "Override") -> list[str]:
    """List `key=value` for each value of an override."""
    from hydra.errors import HydraException

    word = str(override.input_line)
    if not override.is_sweep_override():
        return [word]
    if not override.is_discrete_sweep():
        raise ConfigError(f"{word}: an interval has no values to run one after the other; write a,b,c or range(...)")
    try:
        values = list(dict.fromkeys(islice(_listed(command, override), _MOST + 1)))
    except (HydraException, ValueError) as error:
        raise ConfigError(f"{word}: {reason_of(error)}") from error
    if not values:
        raise ConfigError(f"{word}: not one value")
    return [f"{override.get_key_element()}={value}" for value in values]


def _listed(command: str, override: "Override") -> Iterator[str]:
    from hydra.core.override_parser.types import Glob

    pattern = override.value()
    if isinstance(pattern, Glob):
        return iter(pattern.filter(_names(command, override.key_or_group)))
    return override.sweep_string_iterator()


def _names(command: str, group: str) -> list[str]:
    """List what a pattern is matched with; Hydra knows neither experiments nor the detectors of other packages."""
    from detinv.config.detectors import detector_names
    from detinv.config.folders import choices, config_dir
    from detinv.config.help import experiments

    if group == "experiment":
        return [experiment.name for experiment in experiments() if experiment.for_run == (command == "run")]
    return list(detector_names() if group == "detector" else choices(config_dir(), group))
