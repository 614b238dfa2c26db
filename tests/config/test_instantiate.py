import fractions

import pytest

from detinv.config.folders import config_dir
from detinv.config.instantiate import instantiate, locate
from detinv.errors import ConfigError


def test_config_dir_holds_the_groups():
    assert (config_dir() / "detector").is_dir()


def test_instantiate_calls_targets_from_the_inside_out():
    node = {
        "_target_": "builtins.dict",
        "half": {"_target_": "fractions.Fraction", "numerator": 1, "denominator": 2},
        "sizes": [1, [2, 3]],
        "plain": {"a": "text"},
    }
    assert instantiate(node) == {"half": fractions.Fraction(1, 2), "sizes": [1, [2, 3]], "plain": {"a": "text"}}


@pytest.mark.parametrize("path", ["detinv.nowhere.f", "detinv.errors.NoSuchError", "nodots", ""])
def test_a_target_that_is_not_there(path):
    with pytest.raises(ConfigError, match="cannot be imported"):
        locate(path)
