"""Where the configuration files of detinv lie."""

import hashlib
import os
from pathlib import Path

FILE_ENDINGS = (".yaml", ".yml")
"""Endings by which a choice is the path of a user's own file."""


def config_dir() -> Path:
    """Return the folder of configuration groups: inside an installed package, next to it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / "configs"
    return packaged if packaged.is_dir() else package.parent / "configs"


def experiment_dir() -> Path:
    """Return the folder of experiments, which lies next to `config_dir()`."""
    return config_dir().parent / "experiments"


def hash_of_files() -> str:
    """Hash the names and contents of all files of configuration groups; times may stay when a file changes."""
    digest = hashlib.sha256()
    # As every composition asks for it, without `pathlib`, which takes as long as all the rest.
    for folder, _, names in sorted(os.walk(config_dir())):
        for path in (os.path.join(folder, name) for name in sorted(names) if name.endswith(".yaml")):
            with open(path, "rb") as file:
                digest.update(repr((path, file.read())).encode())
    return digest.hexdigest()


def choices(folder: Path, group: str) -> tuple[str, ...]:
    """List the names in a group of `folder`, sorted; none if there is no such group."""
    return tuple(sorted(path.stem for path in (folder / group).glob("*.yaml")))


def package_of(folder: Path, group: str) -> str | None:
    """Return where the values of a group go, as the files of the group say in their first line; None for its name."""
    for path in sorted((folder / group).glob("*.yaml")):
        with path.open(encoding="utf-8") as file:
            line = file.readline()
        return line.removeprefix("# @package").strip() if line.startswith("# @package") else None
    return None
