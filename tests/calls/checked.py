"""Checks shapes and types at every call of the functions of some packages, while tests run.

jaxtyping's own import hook checks arguments twice, and prepares the checks of a function within another whenever the
outer one runs; that took a quarter of the suite's time. Here functions within others are left out: mypy checks theirs.
"""

import ast
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from functools import cache, wraps
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import FunctionType, ModuleType
from typing import Any

from beartype import BeartypeConf, beartype
from jaxtyping import TypeCheckError, config, jaxtyped

# A whole number is a number.
_CONF = BeartypeConf(is_pep484_tower=True, violation_type=TypeCheckError)
_NAME = "_checked"


def check_calls(packages: tuple[str, ...]) -> None:
    """Check the calls of all functions and dataclasses in `packages`, which must not be imported yet."""
    sys.meta_path.insert(0, _Finder(packages))


@contextmanager
def unchecked() -> Iterator[None]:
    """Check nothing within this block, as in a user's program."""
    before = config.jaxtyping_disable
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", before)


def checked(item: Any) -> Any:
    """Return a function that checks its arguments and its result, or a dataclass that checks its fields."""
    if not isinstance(item, type):
        return _checked(item)
    if is_dataclass(item) and not hasattr(item.__init__, "__wrapped__"):
        item.__init__ = _checked(item.__init__)
    return item


def _checked(function: Callable) -> Callable:
    call = beartype(function, conf=_CONF)
    hints = " ".join(map(repr, function.__annotations__.values()))
    shaped = "jaxtyping." in hints
    if shaped and "{" in hints:
        # A side is that of an argument.
        call, shaped = jaxtyped(call, typechecker=None), False

    def within_one_call(*args: Any, **kwargs: Any) -> Any:
        if config.jaxtyping_disable:
            return function(*args, **kwargs)
        if not shaped:
            return call(*args, **kwargs)
        with jaxtyped("context"):
            return call(*args, **kwargs)

    # In a traceback it is code of the function's own module, as without checks.
    own = FunctionType(within_one_call.__code__, _globals(function.__module__), closure=within_one_call.__closure__)
    return wraps(function)(own)


@cache
def _globals(module: str) -> dict[str, Any]:
    return {**globals(), "__name__": module}


class _Finder(MetaPathFinder):
    def __init__(self, packages: tuple[str, ...]) -> None:
        self._beginnings = tuple(f"{package}." for package in packages)

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if f"{name}.".startswith(self._beginnings) else None
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> Any:
        # Never from bytecode, nor into it: that is what the functions are without checks.
        path = self.get_filename(fullname)
        tree = _Decorating().visit(ast.parse(self.get_data(path), path))
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        setattr(module, _NAME, checked)
        super().exec_module(module)


class _Decorating(ast.NodeTransformer):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        # Below the other decorators: they may return anything. Not into the body.
        node.decorator_list.append(ast.copy_location(ast.Name(_NAME, ast.Load()), node))
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        # Above the other decorators: one of them makes the dataclass.
        node.decorator_list.insert(0, ast.copy_location(ast.Name(_NAME, ast.Load()), node))
        return node
