"""The commands, one file each, which `detinv.commands.execute` imports only when it runs them.

A command is a module with `run(config, build)`: `config` is what Hydra composed, with `out_dir` filled in, and `build`
makes the object that a `_target_` entry of it describes. It may return an exit status. This file stays free of heavy
imports.
"""

from collections.abc import Callable
from typing import Any

Build = Callable[[Any], Any]
"""Builds the object that a configuration entry with a `_target_` describes."""
