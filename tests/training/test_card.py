"""The model card: what it tells of a run."""

import pytest

from detinv.training.card import Training, model_card
from detinv.training.datasets import TrainingSet, world_scenes
from detinv.training.fit import TrainingOptions

SCORES = {"objects": 12.0, **dict.fromkeys(("AP", "AP50", "AP75", "APs", "APm", "APl"), 50.0)}


def card(data: TrainingSet) -> str:
    names = data.source.class_names
    training = Training("tiny", "RetinaNet", 1234, names, 0, "detinv train model=tiny")
    scores = SCORES | {f"AP/{name}": 25.0 for name in names} | {f"AP/{names[0]}": float("nan")}
    return model_card(training, TrainingOptions(steps=3, batch_size=2, learning_rate=0.1), data, scores, "0123abcd")


@pytest.fixture
def data() -> TrainingSet:
    return world_scenes("context", seed=1, evaluation_seed=2, evaluation_scenes=3)


def test_card_says_what_tells_the_classes_apart(data):
    text = card(data)
    section = text.split("## Planted truth\n\n")[1].split("\n\n## Limits")[0]
    assert "nine of ten bulbs have a cap above them" in section
    assert text.index("## Measured") < text.index("## Planted truth") < text.index("## Limits")


def test_card_without_a_known_truth_has_no_such_section(data):
    photographs = TrainingSet(data.source, data.held_out, "photographs", "others", "none", "MIT")
    assert "Planted truth" not in card(photographs)


def test_card_tells_scores_and_run(data):
    text = card(data)
    rows = [line for line in text.splitlines() if line.startswith("| boxes")]
    assert rows == ["| boxes | " + " | ".join(["50.0"] * 6 + ["-"] + ["25.0"] * 7) + " |"]
    for part in ("1,234", "detinv train model=tiny", "0123abcd", "`context`", "seed 2 (12 objects)", "bulb, ball"):
        assert part in text
