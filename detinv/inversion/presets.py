"""Named recipes: the files of configs/preset."""

from difflib import get_close_matches

from omegaconf import OmegaConf

from detinv.configuration import config_dir, instantiate
from detinv.errors import ConfigError
from detinv.inversion.recipe import Recipe


def load_recipe(name: str = "default") -> Recipe:
    """The preset `name`.

    Raises:
        ConfigError: when there is none of that name; suggests the nearest.
    """
    folder = config_dir() / "preset"
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in names:
        near = get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"unknown preset {name!r}{hint} (known: {', '.join(names)})")
    return instantiate(OmegaConf.to_container(OmegaConf.load(folder / f"{name}.yaml"), resolve=True))
