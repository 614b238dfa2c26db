"""Jobs keep their folders, and their outcomes are known whoever saw them."""

import json
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detinv.errors import OutputError
from detinv.sweeps.folder import SweepFolder
from detinv.sweeps.grammar import Combination
from detinv.sweeps.job import JobOutcome

VALUES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=120)


def job(*swept, common=("steps=2",)):
    return Combination((*swept, *common), swept)


def one(path, status=None):
    """A sweep of one job that ended as told, or did not begin."""
    folder = SweepFolder(path, "train")
    (name,) = folder.enlist([job("seed=1")])
    folder.begin({name: {}})
    if status:
        (path / name).mkdir()
        folder.note(name, JobOutcome(status, None if status == "ok" else "broken", 1.5))
    return name


@given(st.lists(VALUES, min_size=2, max_size=8, unique=True), st.integers(1, 7))
def test_names_are_safe_unique_and_stay_when_jobs_are_added(values, first):
    combinations = [job(f"layout.path={value}", "seed=1") for value in values]
    with tempfile.TemporaryDirectory() as path:
        folder = SweepFolder(Path(path), "invert")
        before = folder.enlist(combinations[-first:])
        folder.begin({name: {} for name in before})
        after = SweepFolder(Path(path), "invert").enlist(combinations)
    assert after[-first:] == before
    assert len({name.lower() for name in after}) == len(values)
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name) and len(name) <= 110 for name in after)


def test_names_say_what_differs(tmp_path):
    folder = SweepFolder(tmp_path, "invert")
    names = folder.enlist([job("detector=shapes_fcos", "seed=1"), job("detector=[a,b]", "seed=2")])
    assert names == ["detector_shapes_fcos-seed_1", "detector_a_b_-seed_2"]
    assert folder.enlist([Combination(("seed=4",), ()), Combination((), ())]) == ["seed_4", "invert"]


def test_other_common_values_make_other_jobs(tmp_path):
    folder = SweepFolder(tmp_path, "invert")
    assert folder.enlist([job("seed=1")]) == folder.enlist([job("seed=1")]) == ["seed_1"]
    assert folder.enlist([job("seed=1", common=("steps=3",))]) == ["seed_1-2"]


def test_where_a_job_is_watched_does_not_make_it_another(tmp_path):
    folder = SweepFolder(tmp_path, "invert")
    first = folder.enlist([job("seed=1", common=("logger=none", "trust_config=true"))])
    assert folder.enlist([job("seed=1", common=("logger=wandb", "logger.project=mine"))]) == first
    both = folder.enlist([job("logger=none"), job("logger=wandb")])
    assert both == ["logger_none", "logger_wandb"]


@pytest.mark.parametrize(("status", "error"), [("ok", None), ("failed", "broken"), (None, None)])
def test_the_record_is_read_again(status, error, tmp_path):
    name = one(tmp_path, status)
    # The job's own word is missing where its process was killed; a failure was then seen by the launcher.
    if status == "ok":
        (tmp_path / "outcomes" / f"{name}.json").write_text('{"status": "ok", "error": null, "seconds": 1.5}')
    found = SweepFolder(tmp_path, "train")
    assert found.enlist([job("seed=1")]) == [name]
    assert (found.job(name).status, found.job(name).error) == (status or "missing", error)
    (entry,) = json.loads((tmp_path / "sweep.json").read_text())["jobs"]
    assert (entry["folder"], entry["overrides"], entry["status"]) == (name, ["seed=1", "steps=2"], status or "missing")


def test_a_job_that_ended_while_nobody_waited_is_done(tmp_path):
    name = one(tmp_path)
    (tmp_path / name).mkdir()
    (tmp_path / "outcomes" / f"{name}.json").write_text('{"status": "ok", "error": null, "seconds": 7.0}')
    assert SweepFolder(tmp_path, "train").job(name).seconds == 7.0
    assert SweepFolder(tmp_path, "train").job(name).status == "ok"


def test_a_job_whose_results_are_gone_is_missing(tmp_path):
    name = one(tmp_path, "ok")
    (tmp_path / "outcomes" / f"{name}.json").write_text('{"status": "ok", "error": null, "seconds": 7.0}')
    (tmp_path / name).rmdir()
    assert SweepFolder(tmp_path, "train").job(name).status == "missing"


def test_a_job_killed_when_it_was_run_again_has_not_ended(tmp_path):
    name = one(tmp_path, "ok")
    outcome = tmp_path / "outcomes" / f"{name}.json"
    outcome.write_text('{"status": "ok", "error": null, "seconds": 7.0}')
    (tmp_path / name).rmdir()
    folder = SweepFolder(tmp_path, "train")
    folder.begin({name: {}})
    # It has begun to fill its folder again when everything dies.
    (tmp_path / name).mkdir()
    assert SweepFolder(tmp_path, "train").job(name).status == "missing"


def test_a_folder_of_another_command_is_refused(tmp_path):
    one(tmp_path)
    with pytest.raises(OutputError, match="belongs to another sweep: the command was train, is invert"):
        SweepFolder(tmp_path, "invert")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"command": "train", "jobs": [{"folder": "a"}]}'])
def test_a_record_that_is_none_is_refused(text, tmp_path):
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(OutputError, match=r"sweep\.json was not written by a sweep"):
        SweepFolder(tmp_path, "train")


def test_a_record_of_an_earlier_version_says_so(tmp_path):
    (tmp_path / "sweep.json").write_text('{"command": "train", "members": []}')
    with pytest.raises(OutputError, match=r"sweep\.json was written by an earlier version of detinv; choose another"):
        SweepFolder(tmp_path, "train")
