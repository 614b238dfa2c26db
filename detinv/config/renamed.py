"""Short names, and names of earlier versions: some still work, for the others one line says what replaced them."""

from collections.abc import Iterable, Mapping, Sequence

from detinv.errors import ConfigError

_WORLDS = ("plain", "texture", "shape", "context", "part", "scale")
_SAMPLE = "sample:"
_TOTAL_VARIATION, _ALPHA_NORM = "preset.regularisers.total_variation", "preset.regularisers.alpha_norm"
# Options, and groups of options, by their old names.
_OPTIONS = {
    "protocol": "experiment",
    "preset.objective.weights.total_variation": f"{_TOTAL_VARIATION}.weight",
    "preset.objective.weights.alpha_norm": f"{_ALPHA_NORM}.weight",
    "preset.objective.tv_exponent": f"{_TOTAL_VARIATION}.exponent",
    "preset.objective.alpha_exponent": f"{_ALPHA_NORM}.exponent",
}
# The same, of one command.
_OF_COMMAND = {"train": {"training": "model"}}


def current_words(command: str, overrides: Sequence[str]) -> list[str]:
    """Write out short names, and overrides of earlier versions.

    `layout=plain` becomes `layout=world layout.world=plain`, and `layout=sample:farm` becomes
    `layout=sample layout.path=sample:farm`.

    Raises:
        ConfigError: for an option that has another name now, giving that.
    """
    words: list[str] = []
    for word in overrides:
        key, equals, value = word.partition("=")
        name = key.lstrip("+~")
        new = _new_name(name, _OPTIONS | _OF_COMMAND.get(command, {}))
        if new is not None:
            raise ConfigError(f"{name} is called {new} now; write {new}{equals}{value}{_hint(new)}")
        if key == "layout" and value in _WORLDS:
            words += ["layout=world", f"layout.world={value}"]
        elif key == "layout" and value.startswith(_SAMPLE):
            words += ["layout=sample", f"layout.path={value}"]
        else:
            words.append(word)
    return words


def is_old_name(key: str) -> bool:
    """Tell whether an option of this dotted name has another one now."""
    return _new_name(key, _OPTIONS) is not None


def check_names(keys: Iterable[str], where: str) -> None:
    """Raise ConfigError if a file uses an option that has another name now.

    Args:
        keys: dotted.
        where: the file; opens the message.
    """
    for key in keys:
        new = _new_name(key, _OPTIONS)
        if new is not None:
            raise ConfigError(f"{where}: {key} is called {new} now; rename it")


def _new_name(name: str, table: Mapping[str, str]) -> str | None:
    for old, new in table.items():
        if name == old or name.startswith(f"{old}."):
            return new + name.removeprefix(old)
    return None


def _hint(new: str) -> str:
    for regulariser in (_TOTAL_VARIATION, _ALPHA_NORM):
        if new.startswith(regulariser):
            return f" together with regulariser={regulariser.rpartition('.')[2]}"
    return ""
