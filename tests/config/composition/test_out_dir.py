"""Folders by date and time: one for each job, and none that is empty."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from detinv.cli import main
from detinv.config.composition.compose import compose_config
from detinv.config.composition.out_dir import claim_dated_folder, claimed_while_used


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)


def test_jobs_of_the_same_second_have_folders_of_their_own():
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(claim_dated_folder, ["invert"] * 40))
    assert len(set(folders)) == 40 and all(folder.is_dir() for folder in folders)


def test_composing_alone_creates_nothing():
    assert compose_config("train").out_dir.startswith("outputs/")
    assert not Path("outputs").exists()


def test_an_empty_folder_is_removed_and_a_used_one_stays():
    with claimed_while_used() as claim:
        assert claim("invert").is_dir()
    assert not Path("outputs").exists()
    with claimed_while_used() as claim:
        used, empty = claim("invert"), claim("invert")
        (used / "file").write_text("")
    assert used.is_dir() and not empty.exists()


def test_other_processes_of_a_job_claim_nothing(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with claimed_while_used() as claim:
        assert not claim("invert").exists()
    assert not Path("outputs").exists()


def test_a_mistake_in_the_input_leaves_no_folder_behind(capsys):
    assert main(["invert", "layout=file", "layout.path=nowhere.yaml", "logger=none"]) == 2
    assert "nowhere.yaml" in capsys.readouterr().err
    assert not Path("outputs").exists()
