"""Whose folder it is."""

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from detinv.errors import OutputError
from detinv.results.io.in_use import LOCK
from detinv.results.io.resume import claim_folder, claimed_folder, replace_results, replaced_folder
from tests.results.io.holder import another_holds


def config(**changes: object) -> DictConfig:
    values = {
        "out_dir": "a",
        "logger": {"_target_": "x.Y"},
        "steps": 3,
        "detectors": ["one", {"name": "two", "label": "three"}],
        "layout": {"count": 4, "masks": True, "size": [1, 2]},
        "images": None,
    }
    return OmegaConf.create(values | changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a run that has begun."""
    assert claim_folder(tmp_path, config()) is False
    (tmp_path / "images").mkdir()
    return tmp_path


def test_the_configuration_is_written_and_known_again(folder: Path) -> None:
    assert OmegaConf.load(folder / "config.yaml") == config()
    assert claim_folder(folder, config()) is True


def test_a_folder_has_one_run_at_a_time(tmp_path: Path) -> None:
    with (
        another_holds(tmp_path),
        pytest.raises(OutputError, match="in use by"),
        claimed_folder(config(out_dir=str(tmp_path))),
    ):
        pytest.fail("two runs")
    # What a dead process leaves is no result of it.
    (tmp_path / LOCK).touch()
    with claimed_folder(config(out_dir=str(tmp_path), steps=5)) as folder:
        assert folder == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_place_and_dashboard_may_differ(folder: Path) -> None:
    assert claim_folder(folder, config(out_dir="b", logger=None)) is True
    assert OmegaConf.load(folder / "config.yaml").out_dir == "a"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"steps": 5}, "steps was 3, is 5;"),
        ({"steps": 5, "images": "x"}, "images was None, is 'x';"),
        ({"layout": {"count": 4, "masks": True, "size": [1, 3]}}, r"layout\.size was \[1, 2\], is \[1, 3\];"),
        ({"layout": {"count": 4, "size": [1, 2]}}, r"layout\.masks was True, is None;"),
        ({"layout": None}, r"layout\.count was 4, is None;"),
        ({"detectors": ["one"]}, r"detectors was \['one', .*\], is \['one'\];"),
        ({"extra": {"deep": 1}}, r"extra\.deep was None, is 1;"),
    ],
)
def test_another_configuration_is_refused_by_the_first_difference(
    folder: Path, changes: dict[str, object], problem: str
) -> None:
    before = (folder / "config.yaml").read_text()
    with pytest.raises(OutputError, match=f"belongs to another run: {problem}") as caught:
        claim_folder(folder, config(**changes))
    assert "\n" not in str(caught.value) and "choose another out_dir" in str(caught.value)
    assert (folder / "config.yaml").read_text() == before


def test_a_folder_where_nothing_was_made_is_free(tmp_path: Path) -> None:
    """A run that stopped at a mistake may be mended and started again."""
    claim_folder(tmp_path, config())
    (tmp_path / "wandb").mkdir()
    assert claim_folder(tmp_path, config(steps=5)) is False
    assert OmegaConf.load(tmp_path / "config.yaml").steps == 5
    (tmp_path / "parts").mkdir()
    with pytest.raises(OutputError, match="steps was 5, is 3"):
        claim_folder(tmp_path, config())


@pytest.mark.parametrize(
    ("text", "problem"),
    [("steps: [", "cannot be read"), ("\x00", "cannot be read"), ("- steps", "is not a configuration")],
)
def test_a_configuration_that_cannot_be_read_is_one_line(folder: Path, text: str, problem: str) -> None:
    (folder / "config.yaml").write_text(text)
    with pytest.raises(OutputError, match=rf"config\.yaml {problem}") as caught:
        claim_folder(folder, config())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"preset": {"_target_": "detinv.inversion.recipe.Recipe", "steps": 3}},
        {"protocol": {"_target_": "detinv.experiments.transfer.Transfer", "joint": False}},
        {"preset": {"objective": {"weights": {"total_variation": 1e-7}}}},
    ],
)
def test_results_of_an_earlier_version_say_so_in_one_line(folder: Path, changes: dict) -> None:
    OmegaConf.save(config(**changes), folder / "config.yaml")
    with pytest.raises(OutputError, match="holds results of an earlier version of detinv; choose another") as caught:
        claim_folder(folder, config())
    assert "\n" not in str(caught.value)


def own(folder: Path, **options: object) -> DictConfig:
    """The configuration of a command that does not resume."""
    return OmegaConf.create({"out_dir": str(folder), "images": None, "seed": 0, **options})


def test_results_of_the_same_command_may_be_replaced(tmp_path: Path):
    claim_folder(tmp_path, own(tmp_path, detector={"name": "a"}))
    with replaced_folder(own(tmp_path, seed=1)) as folder:
        assert folder == tmp_path
    refused = pytest.raises(OutputError, match="holds the results of another command")
    with refused, replaced_folder(own(tmp_path, layout="plain")):
        pytest.fail("they would be neither resumed nor told from these")


def test_a_mistake_leaves_no_folder_behind(tmp_path: Path):
    with pytest.raises(RuntimeError), replaced_folder(own(tmp_path / "a" / "b")):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_results_that_are_replaced_have_one_writer(tmp_path: Path):
    refused = pytest.raises(OutputError, match="in use by process 7")
    with another_holds(tmp_path), refused, replaced_folder(own(tmp_path)):
        pytest.fail("two writers")


def test_no_result_stands_beside_another_configuration(tmp_path: Path):
    for name in ("numbers.json", "picture.png"):
        (tmp_path / name).write_text("of seed 0")
    replace_results(tmp_path, own(tmp_path, seed=1), "numbers.json", "never/written.json")
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "picture.png"}
    assert OmegaConf.load(tmp_path / "config.yaml").seed == 1
