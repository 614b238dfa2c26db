"""The options of a command, read from its YAML files alone: fast, and never out of date.

The comment at the head of `configs/<command>.yaml` is the description; the comment behind a value explains it. Values
that a file leaves out are those of the class that it names, read from its source text.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from detinv.config.commands import COMMANDS
from detinv.config.folders import FILE_ENDINGS, choices, experiment_dir
from detinv.config.own_options import foreign_groups
from detinv.config.words import names_in
from detinv.config.yaml_files import read_yaml, yaml_nodes
from detinv.inputs.signatures import parameters_of

_MISSING = "???"
_WIDTH = 40
# The group whose files lie in a folder of their own.
_EXPERIMENTS = "experiment"
_HEADINGS = {"run": "experiments (detinv run NAME):", "invert": "experiments (experiment=NAME):"}


@dataclass(frozen=True)
class Option:
    """One value of a configuration: dotted key, default as YAML writes it, and the comment behind it."""

    key: str
    default: str
    comment: str

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default == _MISSING


@dataclass(frozen=True)
class Group:
    """One configuration group of a command: its choices, and the one taken by default."""

    name: str
    choices: tuple[str, ...]
    default: str | None


@dataclass(frozen=True)
class Experiment:
    """An experiment's name, and the first line of the comment at the head of its file.

    Args:
        for_run: whether `detinv run` runs it; the others are sets of options for `detinv invert`.
    """

    name: str
    summary: str
    for_run: bool


def experiments() -> list[Experiment]:
    """List all experiments, sorted by name."""
    found = []
    for path in sorted(experiment_dir().glob("*.yaml")):
        comment = [line for line in _description(path) if line and not line.startswith("@package")]
        values = read_yaml(path)
        found.append(Experiment(path.stem, comment[0] if comment else "", "experiment" in values))
    return found


def groups(folder: Path, command: str, chosen: Mapping[str, str] | None = None) -> list[Group]:
    """List the groups of a command in the order of its defaults, without those that have no choice; see `options`."""
    selected = _selected(folder, command, chosen or {})
    found = [Group(name, choices(folder, name), default) for name, default in selected.items()]
    return [group for group in found if group.choices]


def options(folder: Path, command: str, chosen: Mapping[str, str] | None = None) -> list[Option]:
    """List all values of a command.

    Args:
        folder: of the configuration files.
        command: name of the primary file.
        chosen: choices of groups that differ from the defaults; unknown ones are left out.
    """
    given = dict(chosen or {})
    values = {option.key: option for option in _values(folder / f"{command}.yaml", "")}
    selected = _selected(folder, command, given) | given
    # An experiment comes last: it overrides what all other choices say.
    for group in sorted(selected, key=lambda name: name == _EXPERIMENTS):
        for path in _files(folder, group, selected[group]):
            content = read_yaml(path) if group == _EXPERIMENTS else {}
            foreign = foreign_groups(folder, command, content, given)
            for option in _values(path, _prefix(path, group)):
                if option.key.partition(".")[0] in foreign:
                    continue
                before = values.get(option.key, option)
                values[option.key] = replace(option, comment=option.comment or before.comment)
    return list(values.values())


def choices_with(folder: Path, command: str, key: str, chosen: Mapping[str, str] | None = None) -> list[str]:
    """List the choices of a command's groups that have an option, as `group=choice`."""
    found = (
        f"{group.name}={choice}"
        for group in groups(folder, command, chosen)
        for choice in group.choices
        for path in _files(folder, group.name, choice)
        if key.startswith(prefix := f"{_prefix(path, group.name)}.")
        and any(option.key == key for option in _values(path, prefix.rstrip(".")))
    )
    return list(dict.fromkeys(found))


def render(folder: Path, command: str, chosen: Mapping[str, str] | None = None) -> str:
    """Write the text of `detinv <command> --help`."""
    subject = COMMANDS[command].subject
    lines = [
        *_description(folder / f"{command}.yaml"),
        "",
        f"usage: detinv {command}{f' {subject.upper()}' if subject else ''} [group=choice ...] [name=value ...]",
    ]
    if command in _HEADINGS:
        lines += ["", _HEADINGS[command]]
        lines += [
            f"  {experiment.name:<{_WIDTH // 2}}  {experiment.summary}".rstrip()
            for experiment in experiments()
            if experiment.for_run == (command == "run")
        ]
    found = groups(folder, command, chosen)
    if found:
        lines += ["", "groups (the default in brackets):"]
        for group in found:
            names = [f"[{name}]" if name == group.default else name for name in group.choices]
            lines.append(f"  {group.name}={' | '.join(names)}")
    lines += ["", "values (with their defaults):"]
    for option in options(folder, command, chosen):
        shown = "(required)" if option.required else option.default
        entry = f"  {option.key}={shown}"
        lines.append(f"{entry:<{_WIDTH}}  {option.comment}".rstrip())
    return "\n".join(lines)


def _selected(folder: Path, command: str, given: Mapping[str, str]) -> dict[str, str | None]:
    """Find the groups that a command composes, those that its choices bring with them included, and their choices."""
    selected: dict[str, str | None] = {}

    def add(path: Path) -> None:
        for name, choice in _defaults(path):
            selected.setdefault(name, choice)
            for nested in _files(folder, name, given.get(name, choice)):
                add(nested)

    add(folder / f"{command}.yaml")
    for path in _files(folder, _EXPERIMENTS, given.get(_EXPERIMENTS)):
        add(path)
    for group in (*selected, _EXPERIMENTS):
        for path in _files(folder, group, given.get(group, selected.get(group))):
            for name, choice in _overridden(path):
                selected[name] = choice
    return selected


def _files(folder: Path, group: str, choice: str | None) -> list[Path]:
    """Find the files of a choice, those that it builds on first."""
    found: list[Path] = []
    for name in names_in(choice or ""):
        path = (experiment_dir() if group == _EXPERIMENTS else folder / group) / f"{name}.yaml"
        if name.endswith(FILE_ENDINGS):
            path = Path(name)
        if path.is_file():
            for base in _bases(path):
                found += _files(folder, group, base)
            found.append(path)
    return found


def _bases(path: Path) -> Iterator[str]:
    """List the files of the same group that a file builds on."""
    for entry in _defaults_list(path):
        if isinstance(entry, str) and entry != "_self_":
            yield entry


def _description(path: Path) -> list[str]:
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line[1:].removeprefix(" "))
    return lines


def _defaults_list(path: Path) -> list[Any]:
    return read_yaml(path).get("defaults", [])


def _defaults(path: Path) -> Iterator[tuple[str, str | None]]:
    """List the groups that a file composes."""
    for entry in _defaults_list(path):
        if isinstance(entry, Mapping):
            for name, choice in entry.items():
                words = str(name).split()
                if words[0] != "override":
                    yield words[-1].lstrip("/").split("@")[0], choice


def _overridden(path: Path) -> Iterator[tuple[str, str]]:
    """List the choices of other groups that choosing this file implies."""
    for entry in _defaults_list(path):
        if isinstance(entry, Mapping):
            for name, choice in entry.items():
                words = str(name).split()
                if words[0] == "override":
                    yield words[-1].lstrip("/"), choice


def _prefix(path: Path, group: str) -> str:
    for line in _description(path):
        if line.startswith("@package "):
            package = line.removeprefix("@package ").strip()
            return "" if package == "_global_" else package
    return group.replace("/", ".")


def _values(path: Path, prefix: str) -> Iterator[Option]:
    text = path.read_text(encoding="utf-8")
    root = yaml_nodes(text)
    if isinstance(root, yaml.MappingNode):
        root.value = [(key, value) for key, value in root.value if key.value != "defaults"]
        yield from _leaves(root, prefix, text.splitlines())


def _leaves(node: yaml.MappingNode, prefix: str, lines: list[str]) -> Iterator[Option]:
    given = {str(key.value): value for key, value in node.value}
    for key_node, value in node.value:
        name = str(key_node.value)
        if name.startswith("_"):
            continue
        key = f"{prefix}.{name}" if prefix else name
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _leaves(value, key, lines)
        else:
            yield Option(key, _shown(value), _comment(value, lines))
    # What the file leaves out has the default of what it builds.
    for left_out in parameters_of(str(given["_target_"].value)) if "_target_" in given else ():
        if left_out.name not in given:
            key = f"{prefix}.{left_out.name}" if prefix else left_out.name
            yield Option(key, left_out.default, _in_brief(left_out.comment))


def _in_brief(comment: str) -> str:
    """Return the first statement of what a docstring says."""
    return comment.split("; ")[0].split(". ")[0].replace("`", "")


def _shown(node: Any) -> str:
    if isinstance(node, yaml.ScalarNode):
        return node.value or "null"
    if isinstance(node, yaml.SequenceNode):
        return "[" + ", ".join(_shown(item) for item in node.value) + "]"
    return "{" + ", ".join(f"{key.value}: {_shown(value)}" for key, value in node.value) + "}"


def _comment(node: Any, lines: list[str]) -> str:
    if node.end_mark.line >= len(lines):
        return ""
    _, mark, comment = lines[node.end_mark.line][node.end_mark.column :].partition("#")
    return comment.strip() if mark else ""
