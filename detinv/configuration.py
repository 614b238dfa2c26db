"""Where the configuration files lie, and how a `_target_` in them becomes an object."""

from importlib import import_module
from pathlib import Path
from typing import Any

from detinv.errors import ConfigError, DetinvError


def config_dir() -> Path:
    """The folder of configuration groups: packaged with an installed detinv, beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    packaged = package / "configs"
    return packaged if packaged.is_dir() else package.parent / "configs"


def recipe_dir() -> Path:
    """The folder of recipes: `recipes` inside an installed package, `experiments` beside it in a checkout."""
    beside = config_dir().parent
    return beside / ("recipes" if beside == Path(__file__).resolve().parent else "experiments")


def choices(folder: Path, group: str) -> tuple[str, ...]:
    """Names one can choose from in a group of `folder`; none if there is no such group."""
    return tuple(sorted(path.stem for path in (folder / group).glob("*.yaml")))


def compose_choice(group: str, name: str) -> Any:
    """One file of a group with what it builds on, by Hydra's rules."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose(f"{group}/{name}")[group]


def locate(path: str) -> Any:
    """The object at the dotted `path`, a module's attribute.

    Raises:
        ConfigError: when the module or the attribute does not exist.
    """
    module, _, attribute = path.rpartition(".")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"_target_ {path!r} cannot be imported ({error}); give module.name") from error


def instantiate(node: Any) -> Any:
    """The object that a configuration entry with a `_target_` describes, by Hydra's rules; lists become Python lists.

    Raises:
        DetinvError: whatever the target raised of that kind; ConfigError when it knows no such argument.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate as hydra_instantiate

    try:
        return hydra_instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, DetinvError):
            raise cause from None
        if isinstance(cause, TypeError) and "unexpected keyword argument" in str(cause):
            raise ConfigError(f"an option that its target does not have: {cause}") from error
        if isinstance(cause, TypeError | ValueError):
            raise ConfigError(f"an option with an unusable value: {cause}") from error
        raise
