"""What is asked about an object."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detinv.errors import ConfigError
from detinv.inputs.printable import quoted, suggestion

_OF_CLASS = ("class", "contrast", "log_probability", "score", "log_score", "objectness", "centerness")
_AGAINST = ("runner_up", "others", "background")


@dataclass(frozen=True)
class Question:
    """A scalar of one raw prediction; `target_values` computes it.

    Args:
        name: "class", "contrast", "score", "left" and so on; see `detinv.detectors.targets.target_values`.
        against: what "contrast" compares the class with: "runner_up", "others", "background" or a class number.
    """

    name: str
    against: str | int = "runner_up"

    @property
    def of_class(self) -> bool:
        """Whether it asks what the object is; otherwise it asks where it is."""
        return self.name in _OF_CLASS


def as_questions(names: Sequence[str], against: str | int | None, class_names: Sequence[str]) -> tuple[Question, ...]:
    """Return questions by their names.

    Args:
        against: for "contrast": None for the runner-up, one of "runner_up", "others" and "background", or the name or
            number of a class.

    Raises:
        ConfigError: when there is no question, a name comes twice, or `against` is no class.
    """
    if isinstance(names, str):
        raise ConfigError(f"questions={quoted(names)}: give several names, or one as ({quoted(names)},)")
    if not names:
        raise ConfigError("questions: name at least one, such as class or left")
    if len(set(names)) < len(names):
        raise ConfigError(f"questions={quoted(list(names))}: each may be named once")
    return tuple(Question(str(name), _against(against, class_names)) for name in names)


def _against(against: str | int | None, class_names: Sequence[str]) -> str | int:
    if against is None:
        return "runner_up"
    if isinstance(against, int | np.integer):
        if not 0 <= against < len(class_names):
            raise ConfigError(f"against={against}: classes are numbered from 0 to {len(class_names) - 1}")
        return int(against)
    if against in class_names:
        return list(class_names).index(against)
    if against not in _AGAINST:
        known = (*_AGAINST, *class_names)
        raise ConfigError(
            f"against={quoted(against)}: neither a class nor one of {', '.join(_AGAINST)}{suggestion(against, known)}"
        )
    return against
