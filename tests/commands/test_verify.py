"""`detinv verify`: lines about each claim, a file with the same, and an exit status that says whether all hold."""

import csv
import json

import pytest

from detinv import cli
from detinv.commands import verify
from detinv.verification.claim import Claim
from detinv.verification.evidence import Verdict
from detinv.verification.groups import ClaimGroup


def claim(name, verdict, value):
    return Claim(
        name, f"the statement of {name}", "much", "little", "8 images", "nothing", 0.95, verdict, {"value": value}
    )


@pytest.fixture
def groups(monkeypatch):
    """Groups of claims that cost nothing, and the setup that each was measured with."""
    setups = []
    found = {
        "good": [("good/one", Verdict.HOLDS)],
        "bad": [("bad/one", Verdict.HOLDS), ("bad/<two>", Verdict.FAILS)],
        "small": [("small/one", Verdict.UNDECIDED)],
    }

    def group(name):
        def measure(setup):
            setups.append((name, setup))
            return {"value": [0.5, 0.4, float("nan")]}

        return ClaimGroup(measure, lambda measured: [claim(*one, measured["value"]) for one in found[name]])

    monkeypatch.setattr(verify, "GROUPS", {name: group(name) for name in found})
    return setups


def test_all_claims_hold(groups, tmp_path, capsys):
    assert cli.main(["verify", "claims=[good]", f"out_dir={tmp_path / 'run'}"]) == 0
    out = capsys.readouterr().out
    assert "holds  good/one: the statement of good/one" in out and "1 of 1 claims hold\n" in out
    assert "expected much" in out
    assert "measured little, n = 8 images (nothing would not hold with probability 95%)" in out
    numbers = json.loads((tmp_path / "run" / "numbers.json").read_text())["numbers"]
    assert numbers["all_hold"] is True
    assert numbers["claims"][0] == {
        "name": "good/one",
        "statement": "the statement of good/one",
        "expected": "much",
        "measured": "little",
        "n": "8 images",
        "violation": "nothing",
        "power": 0.95,
        "verdict": "holds",
        "numbers": {"value": [0.5, 0.4, None]},
    }


def test_measurements_are_stored_so_that_they_can_be_decided_again(groups, tmp_path):
    cli.main(["verify", "claims=[good]", f"out_dir={tmp_path / 'run'}"])
    stored = json.loads((tmp_path / "run" / "measurements" / "good.json").read_text())
    assert stored == {"value": [0.5, 0.4, None]}
    assert [one.verdict for one in verify.GROUPS["good"].decide(stored)] == [Verdict.HOLDS]


def test_one_claim_fails(groups, tmp_path, capsys):
    assert cli.main(["verify", "--quick", "claims=[good,bad]", f"out_dir={tmp_path / 'run'}"]) == 1
    out = capsys.readouterr().out
    assert "FAILS  bad/<two>" in out and "2 of 3 claims hold; these fail: bad/<two>\n" in out
    with (tmp_path / "run" / "claims.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["verdict"] for row in rows] == ["holds", "holds", "fails"]
    assert [row["n"] for row in rows] == ["8 images"] * 3
    assert "<two>" not in (tmp_path / "run" / "report.html").read_text()


def test_an_undecided_claim_does_not_hold(groups, tmp_path, capsys):
    assert cli.main(["verify", "claims=[good,small]", f"out_dir={tmp_path / 'run'}"]) == 1
    out = capsys.readouterr().out
    assert "UNDECIDED  small/one" in out
    assert "1 of 2 claims hold; undecided, for lack of images: small/one\n" in out


def test_all_groups_by_default(groups, tmp_path):
    cli.main(["verify", f"out_dir={tmp_path / 'run'}"])
    assert [name for name, _ in groups] == ["good", "bad", "small"]


def test_quick_is_smaller_than_full(groups, tmp_path):
    cli.main(["verify", "--quick", "claims=[good]", f"out_dir={tmp_path / 'quick'}"])
    cli.main(["verify", "claims=[good]", f"out_dir={tmp_path / 'full'}"])
    (_, quick), (_, full) = groups
    assert quick.sample_sizes.keys() == full.sample_sizes.keys()
    assert all(quick.sample_sizes[name].count < full.sample_sizes[name].count for name in full.sample_sizes)


def test_another_size_in_the_same_folder_is_refused(groups, tmp_path, capsys):
    cli.main(["verify", "--quick", "claims=[good]", f"out_dir={tmp_path / 'run'}"])
    assert cli.main(["verify", "claims=[good]", f"out_dir={tmp_path / 'run'}"]) == 2
    assert "belongs to another run: sample_sizes." in capsys.readouterr().err


def test_unknown_group(tmp_path, capsys):
    assert cli.main(["verify", "claims=[contxt]", f"out_dir={tmp_path / 'run'}"]) == 2
    assert "unknown group of claims 'contxt'; did you mean 'context'?" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.fixture
def real_groups(monkeypatch):
    """Groups of claims about real detectors, one of which needs photographs, and the setups of what was measured."""
    setups = {}

    def group(name, claims, photographs=False):
        def measure(setup):
            setups[name] = setup
            return {"value": 1}

        return ClaimGroup(measure, lambda measured: [claim(*one, 1) for one in claims], photographs)

    found = {
        "seen": [("seen/control-noise", Verdict.HOLDS), ("seen/one", Verdict.FAILS), ("seen/two", Verdict.UNDECIDED)],
        "broken": [("broken/control-noise", Verdict.FAILS)],
        "unsure": [("unsure/control-noise", Verdict.UNDECIDED)],
    }
    groups = {name: group(name, claims) for name, claims in found.items()}
    groups["pictures"] = group("pictures", [("pictures/one", Verdict.HOLDS)], photographs=True)
    monkeypatch.setattr(verify, "REAL_GROUPS", groups)
    return setups


def test_a_sentence_that_does_not_hold_of_a_real_detector_is_an_answer(real_groups, tmp_path, capsys):
    assert cli.main(["verify", "real=true", "claims=[seen,unsure]", f"out_dir={tmp_path / 'run'}"]) == 0
    out = capsys.readouterr().out
    assert "FAILS  seen/one" in out and "these fail: seen/one; undecided, for lack of images: seen/two" in out
    about = json.loads((tmp_path / "run" / "numbers.json").read_text())
    assert about["numbers"]["all_hold"] is False


def test_a_control_that_fails_on_a_real_detector_is_a_failure(real_groups, tmp_path):
    assert cli.main(["verify", "real=true", "claims=[seen,broken]", f"out_dir={tmp_path / 'run'}"]) == 1


def test_groups_without_their_photographs_are_named_as_skipped(real_groups, tmp_path, capsys):
    cli.main(["verify", "real=true", f"out_dir={tmp_path / 'run'}"])
    assert list(real_groups) == ["seen", "broken", "unsure"]
    line = "skipped  pictures: needs photographs and their annotations: give annotations=PATH and images=DIR\n"
    assert line in capsys.readouterr().out


def test_groups_with_their_photographs_are_measured(real_groups, tmp_path, capsys):
    options = ["annotations=some.json", "images=some"]
    assert cli.main(["verify", "real=true", "claims=[pictures]", f"out_dir={tmp_path / 'run'}", *options]) == 0
    assert (real_groups["pictures"].annotations, real_groups["pictures"].images) == ("some.json", "some")
    assert "skipped" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["real=true", "claims=[pictures]"], "claims: pictures needs photographs and their annotations: give"),
        (["real=true", "annotations=some.json"], "annotations=some.json: needs photographs and their annotations"),
        (["images=some"], "images=some: only real=true looks at photographs"),
        (["real=true", "claims=[sen]"], "unknown group of claims 'sen'; did you mean 'seen'?"),
    ],
)
def test_photographs_that_are_missing_or_of_no_use(real_groups, tmp_path, capsys, options, message):
    assert cli.main(["verify", *options, f"out_dir={tmp_path / 'run'}"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
