"""Named recipes: the files of configs/preset."""

from detinv.config.instantiate import choices, compose_choice, config_dir, instantiate
from detinv.config.printable import suggestion
from detinv.errors import ConfigError
from detinv.inversion.recipe import Recipe


def load_recipe(name: str = "default") -> Recipe:
    """The preset `name`.

    Raises:
        ConfigError: when there is none of that name; suggests the nearest.
    """
    names = choices(config_dir(), "preset")
    if name not in names:
        raise ConfigError(f"unknown preset {name!r}{suggestion(name, names)} (known: {', '.join(names)})")
    return instantiate(compose_choice("preset", name))
