"""The words of the command line: quotes, lists in brackets, and texts written so that Hydra reads them as they are.

Hydra's grammar has a meaning for `=`, commas, brackets, quotes and backslashes, and turns `5` into a number. The shell
hands over a path with none of this in mind. Everything heavy is imported late.
"""

import os
import re
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from detinv.errors import ConfigError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

QUOTES = ("'", '"')
_OPENING, _CLOSING = "([{", ")]}"
_IN_QUOTES = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)
# Functions of Hydra's grammar that list values for a sweep.
_SWEEPS = re.compile(r"(choice|range|glob|sort|shuffle|interval)\(.*\)", re.DOTALL)


def quoted_override(key: str, value: str) -> str:
    """Return the override that sets `key` to the text `value`."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return f"{key}={QuotedString(value, Quote.single).with_quotes()}"


def unquoted(value: str) -> str | None:
    """Return the text that stands in quotes, by Hydra's rules; None when `value` is anything but one text in quotes."""
    if len(value) < 2 or value[0] not in QUOTES or value[-1] != value[0]:
        return None
    found = _read(value)
    return found if isinstance(found, str) else None


def plain_text(value: str) -> str:
    """Return the text that a word of the command line means.

    What stands in quotes is that. Backslashes before characters that Hydra's grammar has a meaning for are removed, as
    Hydra does. A path in the home folder is completed, because shells do so only at the beginning of a word.
    """
    found = unquoted(value)
    if found is None and "\\" in value:
        read = _read(value)
        found = read if isinstance(read, str) else None
    return in_home(value if found is None else found)


def in_home(path: str) -> str:
    """Replace the `~` of a path that begins with `~/`."""
    return os.path.expanduser(path) if path == "~" or path.startswith("~/") else path


def split_words(text: str) -> list[str]:
    """Split at commas, except at those in quotes, in brackets that have a partner, and behind a backslash."""
    # A bracket without a partner is a letter like any other.
    nested = _balanced(_IN_QUOTES.sub("", text))
    words, start, depth, before, at = [], 0, 0, ",", 0
    while at < len(text):
        one = text[at]
        if one == "\\":
            at += 1
        elif before in ",:([{" and (found := _IN_QUOTES.match(text, at)):
            at = found.end() - 1
        elif nested and one in _OPENING:
            depth += 1
        elif nested and one in _CLOSING:
            depth -= 1
        elif one == "," and not depth:
            words.append(text[start:at])
            start = at + 1
        # A quote in the middle of a word, as in Bob's, is a letter.
        before = before if one.isspace() else one
        at += 1
    return [word.strip() for word in (*words, text[start:])]


def bracketed(value: str) -> list[str] | None:
    """Return the words of a list in square brackets; None when `value` is no such list."""
    if not (value.startswith("[") and value.endswith("]")):
        return None
    inner = value[1:-1]
    return split_words(inner) if inner.strip() else []


def names_in(value: str) -> list[str]:
    """Return the names that a choice gives: one, or several in square brackets."""
    listed = bracketed(value)
    return [plain_text(word) for word in ([value] if listed is None else listed) if word]


def several_values(command: str, word: str, hint: str = "") -> ConfigError:
    """Return the error for a word that lists values for a sweep where one is needed.

    Args:
        command: that it was given to.
        word: `key=value`.
        hint: what else it could mean.
    """
    if opens_list(word):
        return unclosed(word)
    return ConfigError(
        f"{word} lists several values; for a run with each of them: detinv {command} -m {shlex.quote(word)}{hint}"
    )


def opens_list(word: str) -> bool:
    """Tell whether the value of a word begins with a bracket that it does not close, as in `size=[64,`."""
    value = word.partition("=")[2]
    return value[:1] in ("[", "{") and not _balanced(_IN_QUOTES.sub("", value))


def unclosed(word: str, following: Sequence[str] = ()) -> ConfigError:
    """Return the error for a word that opens a list without closing it, since a shell splits words at spaces.

    Args:
        following: words behind it, among which there may be the rest of the list.
    """
    whole = word
    for other in following:
        whole += f" {other}"
        if not opens_list(whole):
            advice = f"put the whole of it in quotes: {shlex.quote(whole)}"
            break
    else:
        advice = f"close it; where it has spaces, put the whole word in quotes: '{word.partition('=')[0]}=[a, b]'"
    return ConfigError(f"cannot read {word!r}: it opens a list and does not close it; {advice}")


def unreadable(word: str) -> ConfigError:
    """Return the error for a word that Hydra's grammar cannot read, which says how to write it if it is a text."""
    key, equals, value = word.partition("=")
    if opens_list(word):
        return unclosed(word)
    if key != key.strip():
        return ConfigError(f"cannot read {word!r}; leave out the spaces around its name: {key.strip()}{equals}{value}")
    text = ""
    if value and _parsed(f"{key}={_in_quotes(value)}") is not None:
        text = f", and a text with such characters in quotes: {typed(key, value)}"
    return ConfigError(f"cannot read {word!r}; write name=value{text}")


def lists_for_sweep(value: str) -> bool:
    """Tell whether a value is written as a function that lists values, such as `range(1,4)`."""
    return _SWEEPS.fullmatch(value) is not None


def typed(key: str, value: str) -> str:
    """Return the word that one types in a shell to set `key` to the text `value`, whatever characters it has."""
    return shlex.quote(f"{key}={_in_quotes(value)}")


def _in_quotes(value: str) -> str:
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(value, Quote.double).with_quotes()


def _balanced(text: str) -> bool:
    """Tell whether every bracket has its partner."""
    open_ones: list[str] = []
    for one in text:
        if one in _OPENING:
            open_ones.append(_CLOSING[_OPENING.index(one)])
        elif one in _CLOSING and (not open_ones or open_ones.pop() != one):
            return False
    return not open_ones


def _read(value: str) -> object:
    """Return what Hydra's grammar makes of a value; None where it cannot read it, or reads several."""
    override = _parsed(f"key={value}")
    return None if override is None or override.is_sweep_override() else override.value()


def _parsed(word: str) -> "Override | None":
    """Return what Hydra's grammar makes of a word; None where it cannot read it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(word)
    except HydraException:
        return None
