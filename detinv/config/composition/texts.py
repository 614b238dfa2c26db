"""Options that mean a text, such as a path or a name: what is typed stays as it is typed.

`out_dir=5` is a folder called 5, `images=2024_01_01` not the folder 20240101, and `layout.annotations=epoch=3.json`
needs no quotes. Which options mean a text is known by their kinds: annotations, and kinds of defaults.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from detinv.config.commands import COMMANDS, Text
from detinv.config.composition.annotations import annotation_of_option, annotations_of_own
from detinv.config.words import (
    bracketed,
    in_home,
    lists_for_sweep,
    plain_text,
    quoted_override,
    several_values,
    split_words,
    typed,
    unquoted,
)
from detinv.errors import ConfigError

# Entries of `detectors=[{name: NAME, weights: PATH}]` that are texts.
_TEXTS_OF_ENTRY = ("name", "label", "weights")
_NULL = "null"


def text_of(key: str, command: str, values: Mapping[str, Any]) -> Text | None:
    """Tell what kind of text an option takes; None when it takes none.

    Args:
        key: dotted.
        command: whose option it is.
        values: flat values of the composed configuration, without what is overridden.
    """
    group, _, name = key.rpartition(".")
    if not group:
        if name in COMMANDS[command].texts:
            return COMMANDS[command].texts[name]
        kind = annotations_of_own(COMMANDS[command].constructor).get(name)
    else:
        kind = annotation_of_option(values, key)
    if kind is None:
        default = values.get(key)
        return "text" if isinstance(default, str) and default != "???" and "${" not in default else None
    return _text_of(kind)


def as_typed(command: str, overrides: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """Write the overrides of options that mean a text so that Hydra reads each as it is typed.

    Args:
        command: whose options they are.
        overrides: `key=value`; the others, and those of other options, are returned as they are.
        values: see `text_of`.

    Raises:
        ConfigError: for a value that lists several.
    """
    words = []
    for word in overrides:
        key, equals, value = word.partition("=")
        if not equals or key.startswith("~"):
            words.append(word)
            continue
        kind = text_of(key.lstrip("+"), command, values)
        if kind is not None:
            word = _as_typed(command, key, value, kind)
        elif len(split_words(value)) > 1 or lists_for_sweep(value):
            hint = f"; for one list: {key}=[{value}]" if isinstance(values.get(key), list) else ""
            raise several_values(command, word, hint)
        words.append(word)
    return words


def _as_typed(command: str, key: str, value: str, kind: Text) -> str:
    # Only this spelling means nothing; a folder of that name is ./null.
    if value == _NULL:
        return f"{key}={value}"
    words = bracketed(value)
    if kind in ("texts", "entries", "text or texts") and words is not None:
        return f"{key}=[{','.join(map(_entry if kind == 'entries' else _quoted, words))}]"
    if kind in ("texts", "entries"):
        return f"{key}={value}"
    if kind == "path" and not value:
        # As a script writes it whose variable is empty; an empty path would be the working directory.
        raise ConfigError(f"{key}= is empty: give a path ({key}=. for this folder)")
    if kind != "path" and len(split_words(value)) > 1 and not os.path.exists(in_home(value)):
        raise several_values(command, f"{key}={value}", f"; if it is one: {typed(key, value)}")
    return quoted_override(key, plain_text(value))


def _quoted(word: str) -> str:
    return quoted_override("", plain_text(word)).removeprefix("=")


def _entry(word: str) -> str:
    """Quote the name of a detector, or the texts among the entries that describe one."""
    if not (word.startswith("{") and word.endswith("}")):
        return _quoted(word)
    entries = []
    for pair in split_words(word[1:-1]):
        name, colon, value = pair.partition(":")
        text = colon and (unquoted(name.strip()) or name.strip()) in _TEXTS_OF_ENTRY and value.strip() != _NULL
        entries.append(f"{name}:{_quoted(value.strip())}" if text else pair)
    return f"{{{','.join(entries)}}}"


def _text_of(kind: Any) -> Text | None:
    kinds = [one for one in _alternatives(kind) if one is not NoneType]
    lists = [one for one in kinds if _is_list_of_texts(one)]
    texts = [one for one in kinds if one in (str, Path) or (get_origin(one) is Literal and _all_texts(one))]
    if not kinds or len(lists) + len(texts) < len(kinds):
        return None
    if lists:
        return "text or texts" if texts else "texts"
    return "path" if Path in texts else "text"


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _all_texts(literal: Any) -> bool:
    return all(isinstance(value, str) for value in get_args(literal))


def _is_list_of_texts(kind: Any) -> bool:
    origin = get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, Sequence) and get_args(kind)[:1] == (str,)
