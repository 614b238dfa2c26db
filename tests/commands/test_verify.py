"""`detinv verify`: one line a claim, a file with the same, and an exit status that says whether all hold."""

import csv
import json

import pytest

from detinv import cli
from detinv.commands import verify
from detinv.verification.claim import Claim


def claim(name, holds):
    return Claim(name, f"the statement of {name}", "much", "little", holds, {"value": [0.5, 0.4, float("nan")]})


@pytest.fixture
def subjects(monkeypatch):
    """Two subjects that cost nothing, and what each was given."""
    given = []
    found = {"good": [claim("good/one", True)], "bad": [claim("bad/one", True), claim("bad/<two>", False)]}

    def checker(name):
        def check(means):
            given.append((name, means))
            return found[name]

        return check

    monkeypatch.setattr(verify, "SUBJECTS", {name: checker(name) for name in found})
    return given


def test_all_claims_hold(subjects, tmp_path, capsys):
    assert cli.main(["verify", "subjects=[good]", f"out_dir={tmp_path / 'run'}"]) == 0
    out = capsys.readouterr().out
    assert "holds  good/one: the statement of good/one" in out and "1 of 1 claims hold" in out
    numbers = json.loads((tmp_path / "run" / "numbers.json").read_text())["numbers"]
    assert numbers["all_hold"] is True
    assert numbers["claims"][0] == {
        "name": "good/one",
        "statement": "the statement of good/one",
        "expected": "much",
        "measured": "little",
        "holds": True,
        "numbers": {"value": [0.5, 0.4, None]},
    }


def test_one_claim_fails(subjects, tmp_path, capsys):
    assert cli.main(["verify", "--quick", f"out_dir={tmp_path / 'run'}"]) == 1
    out = capsys.readouterr().out
    assert "FAILS  bad/<two>" in out and "2 of 3 claims hold; these do not: bad/<two>" in out
    with (tmp_path / "run" / "claims.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["verdict"] for row in rows] == ["holds", "holds", "fails"]
    assert "<two>" not in (tmp_path / "run" / "report.html").read_text()
    assert [name for name, _ in subjects] == ["good", "bad"]


def test_quick_is_smaller_than_full(subjects, tmp_path):
    cli.main(["verify", "--quick", "subjects=[good]", f"out_dir={tmp_path / 'quick'}"])
    cli.main(["verify", "subjects=[good]", f"out_dir={tmp_path / 'full'}"])
    (_, quick), (_, full) = subjects
    assert quick.parts.keys() == full.parts.keys()
    assert all(quick.parts[name].count < full.parts[name].count for name in full.parts)


def test_another_size_in_the_same_folder_is_refused(subjects, tmp_path, capsys):
    cli.main(["verify", "--quick", "subjects=[good]", f"out_dir={tmp_path / 'run'}"])
    assert cli.main(["verify", "subjects=[good]", f"out_dir={tmp_path / 'run'}"]) == 2
    assert "belongs to another run: parts." in capsys.readouterr().err


def test_unknown_subject(tmp_path, capsys):
    assert cli.main(["verify", "subjects=[contxt]", f"out_dir={tmp_path / 'run'}"]) == 2
    assert "unknown subject 'contxt'; did you mean 'context'?" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
