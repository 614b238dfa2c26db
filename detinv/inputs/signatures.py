"""What a class or function of detinv takes, read from its source text alone: nothing is imported, so it is fast."""

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGE = "detinv."


@dataclass(frozen=True)
class Parameter:
    """One argument that has a default.

    Args:
        name: of the argument.
        default: as YAML writes it.
        comment: what the docstring says of it, in one line.
    """

    name: str
    default: str
    comment: str


@cache
def parameters_of(target: str) -> tuple[Parameter, ...]:
    """Return the arguments of a class or function that have a plain default, in order.

    Args:
        target: dotted name of a class or function at the top of a module of detinv; others have none that are known.
    """
    module, _, name = target.rpartition(".")
    path = _ROOT / Path(*module.split(".")).with_suffix(".py") if module else _ROOT
    if not target.startswith(_PACKAGE) or not path.is_file():
        return ()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name]
    if not found:
        return ()
    comments = _comments(ast.get_docstring(found[0]) or "")
    return tuple(
        Parameter(name, default, comments.get(name, ""))
        for name, value in _defaults(found[0]).items()
        if (default := _plain(value)) is not None
    )


def _defaults(node: ast.ClassDef | ast.FunctionDef) -> dict[str, ast.expr]:
    """Return the defaults of a function, of `__init__`, or of the fields of a data class, by name."""
    if isinstance(node, ast.ClassDef):
        for part in node.body:
            if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                return _defaults(part)
        fields = [part for part in node.body if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)]
        return {
            part.target.id: part.value
            for part in fields
            if isinstance(part.target, ast.Name) and part.value is not None and "ClassVar" not in ast.dump(part)
        }
    positional = [*node.args.posonlyargs, *node.args.args]
    given = dict(zip([one.arg for one in positional][::-1], node.args.defaults[::-1], strict=False))
    keyword = zip([one.arg for one in node.args.kwonlyargs], node.args.kw_defaults, strict=True)
    return dict(reversed(given.items())) | {name: value for name, value in keyword if value is not None}


def _plain(value: ast.expr) -> str | None:
    """Write a default as YAML does; None where it is no plain value."""
    try:
        default = ast.literal_eval(value)
    except ValueError:
        return None
    return _yaml(default)


def _yaml(value: object) -> str | None:
    if isinstance(value, list | tuple):
        items = [_yaml(one) for one in value]
        return None if None in items else f"[{', '.join(map(str, items))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) if isinstance(value, int | float | str) else None


def _comments(docstring: str) -> dict[str, str]:
    """Return what the section "Args" of a docstring says of each argument, in one line."""
    _, _, section = docstring.partition("Args:\n")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if line and not line.startswith(" "):
            break
        start = re.match(r" {4}(\w[\w, ]*): (.*)", line)
        if start:
            names = [name.strip() for name in start[1].split(",")]
            found |= dict.fromkeys(names, start[2])
        else:
            found |= {name: f"{found[name]} {line.strip()}".strip() for name in names}
    return {name: text.rstrip(".") for name, text in found.items()}
