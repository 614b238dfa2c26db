"""The words of a sweep become runs as Hydra's own multirun would make them."""

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from detinv.config.detectors import detector_names
from detinv.config.folders import choices, config_dir
from detinv.config.words import quoted_override
from detinv.errors import ConfigError
from detinv.sweeps.grammar import combinations, key_of


@pytest.mark.parametrize(
    "words",
    [
        ["seed=1,2", "steps=3"],
        ["steps=3", "detector=shapes_fcos,shapes_retinanet", "seed=range(1,4)"],
        ["x=range(0,1,0.25)", "+y=choice(true,false)", "z=null,1"],
        ["a='x y','p,q'", "b=[1,2],[3]", "c={d:1},{d:2}"],
        ["a=PATH/x.yaml,b.yaml", "preset.objective.weights.reg=0,30"],
        ["a=sort(3,1,2)", "++b=1,2", "c@d=e,f"],
        [],
    ],
)
def test_combinations_are_those_of_hydra_s_multirun(words):
    parsed = OverridesParser.create().parse_overrides(words)
    (expected,) = BasicSweeper.split_arguments(parsed, None)
    assert [list(c.overrides) for c in combinations("invert", words)] == expected


@given(st.dictionaries(st.sampled_from("abc"), st.sets(st.integers(0, 99), min_size=1, max_size=3)))
def test_every_combination_comes_once(axes):
    words = [f"{key}={','.join(map(str, values))}" for key, values in axes.items()]
    found = combinations("invert", words)
    count = 1
    for values in axes.values():
        count *= len(values)
    assert len({c.overrides for c in found}) == len(found) == count
    for combination in found:
        assert list(map(key_of, combination.overrides)) == list(axes)
        assert list(map(key_of, combination.swept)) == [key for key, values in axes.items() if len(values) > 1]


def test_of_an_override_given_twice_the_last_one_counts():
    (only,) = combinations("invert", ["seed=1,2", "steps=5", "seed=3"])
    assert only.overrides == ("steps=5", "seed=3")
    assert only.swept == ()


def test_what_is_taken_away_stays_as_it_is_typed():
    assert [c.overrides for c in combinations("invert", ["~layout", "seed=1"])] == [("~layout", "seed=1")]


def test_a_value_listed_twice_is_one_run():
    assert len(combinations("invert", ["seed=1,1,2"])) == 2


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("out_dir=2024_01_01", ["2024_01_01"]),
        ("detector.weights=1e3,007,true", ["1e3", "007", "true"]),
        ("detector.weights=epoch=1.ckpt,epoch=2.ckpt", ["epoch=1.ckpt", "epoch=2.ckpt"]),
        ("logger.group='a,b',c", ["'a,b'", "c"]),
        ("logger.group=a\\,b", ["a\\,b"]),
        ("detector.class_names=[1e3,on],[x]", ["[1e3,on]", "[x]"]),
        ("detector.weights=choice(a,b)", ["a", "b"]),
        ("experiment=my experiment (1).yaml,b=2.yaml", ["my experiment (1).yaml", "b=2.yaml"]),
    ],
)
def test_texts_are_listed_as_they_are_typed(word, values, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("my experiment (1).yaml", "b=2.yaml"):
        (tmp_path / name).write_text("steps: 1\n")
    found = combinations("invert", [word])
    assert [one.overrides[0].partition("=")[2] for one in found] == values
    assert {bool(one.swept) for one in found} == {len(values) > 1}


def test_patterns_match_groups_detectors_and_experiments():
    def values(command, word):
        return [c.overrides[0].split("=")[1] for c in combinations(command, [word])]

    assert values("invert", "detector=glob(shapes_f*)") == [n for n in detector_names() if n.startswith("shapes_f")]
    codes = [name for name in choices(config_dir(), "preset") if name.startswith("code_")]
    assert values("invert", "preset=glob(code_*)") == codes
    assert values("run", "experiment=glob([fig10*,fig11*])") == ["fig10_context", "fig11_position"]
    assert values("invert", "experiment=glob(*,exclude=*bccd)") == ["diagonal_plain"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["seed=interval(0,1)"], "an interval has no values"),
        (["seed=range(1,1)"], "not one value"),
        (["detector=glob(nothing*)"], "not one value"),
        (["seed=range(0,1,0)"], "seed=range"),
        (["seed=["], "cannot read 'seed=\\['"),
        (["seed=range(0,200)", "steps=range(0,200)"], "a sweep of 40000 runs; at most 10000"),
        (["seed=range(0,1000000000000)"], "at most 10000"),
    ],
)
def test_mistakes_are_told(words, told):
    with pytest.raises(ConfigError, match=told):
        combinations("invert", words)


@given(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"))))
def test_a_quoted_text_is_read_as_it_is(text):
    assert OverridesParser.create().parse_override(quoted_override("out_dir", text)).value() == text
