"""Figure 10: context is counted once an image, without the target object, and compared in both directions."""

import pytest
import torch

from detinv.experiments.common.context_statistics import agreement, asymmetries, co_occurrence, context_counts, top
from detinv.experiments.common.cooccurrence import NamedDetection, TargetedObject, group_detections
from detinv.experiments.paper.context import Context
from detinv.layouts.layout import Layout
from detinv.metrics.intervals import two_proportions_p, wilson
from detinv.results.reports.write_findings import write_findings
from tests.experiments.central_fakes import OBJECTS, bench_of

MIDDLE, CORNER, EDGE = (50.0, 50.0, 78.0, 78.0), (0.0, 0.0, 20.0, 20.0), (100.0, 50.0, 128.0, 78.0)
NAMES = ("bed", "person", "cat")


def target(name="bed"):
    return TargetedObject(f"{name}-0", name, MIDDLE, MIDDLE, MIDDLE, 0.98)


def seen(*found):
    return [NamedDetection(name, 0.9, box) for name, box in found]


def test_each_class_counts_once_an_image():
    runs = [
        (target(), seen(("bed", MIDDLE), ("person", CORNER), ("person", EDGE), ("cat", EDGE))),
        (target(), seen(("bed", MIDDLE), ("person", CORNER))),
        (target(), seen(("bed", MIDDLE), ("bed", CORNER))),
        (target(), []),
    ]
    assert context_counts(runs, NAMES) == {"bed": (1, 4), "person": (2, 4), "cat": (1, 4)}


def test_the_target_object_and_its_other_names_are_not_counted():
    runs = [(target(), seen(("bed", MIDDLE), ("cat", MIDDLE), ("bed", (60.0, 60.0, 90.0, 90.0))))]
    assert context_counts(runs, NAMES) == {name: (0, 1) for name in NAMES}


def test_top_lists_other_classes_that_were_seen_most_frequent_first():
    counts = {"bed": (9, 10), "person": (3, 10), "cat": (5, 10), "dog": (0, 10)}
    assert top(counts, "bed", 6) == ["cat", "person"]
    assert top(counts, "bed", 1) == ["cat"]
    assert top(counts, "cat", 6) == ["bed", "person"]


def test_asymmetry_puts_the_more_frequent_direction_first():
    counts = {
        "bed": {"bed": (0, 20), "person": (12, 20), "cat": (0, 20)},
        "person": {"bed": (1, 20), "person": (3, 20), "cat": (2, 20)},
        "cat": {"bed": (0, 20), "person": (2, 20), "cat": (0, 20)},
    }
    found = asymmetries(counts)
    assert [(pair["target"], pair["context"]) for pair in found] == [("bed", "person"), ("person", "cat")]
    assert (found[0]["rate"], found[0]["reverse"]) == (0.6, 0.05)
    assert found[0]["p"] == two_proportions_p((12, 20), (1, 20)) < 0.001
    assert found[1]["p"] == two_proportions_p((2, 20), (2, 20)) > 0.5
    turned = {name: counts[name] for name in reversed(counts)}
    assert [(pair["target"], pair["context"]) for pair in asymmetries(turned)][0] == ("bed", "person")


def layouts(*label_lists):
    return [
        Layout(torch.tensor([list(CORNER)] * len(labels)).view(-1, 4), torch.tensor(labels), (128, 128), str(k))
        for k, labels in enumerate(label_lists)
    ]


def test_co_occurrence_is_that_of_a_loop_over_layouts():
    found = co_occurrence(layouts([0, 1, 1], [0, 2], [1], [0, 0]), NAMES)
    assert found["bed"] == {"person": (1, 3), "cat": (1, 3)}
    assert found["person"] == {"bed": (1, 2), "cat": (0, 2)}
    assert found["cat"] == {"bed": (1, 1), "person": (0, 1)}


def test_agreement_is_one_with_itself_and_tells_directions_apart():
    company = co_occurrence(layouts([0, 1], [0, 1], [1], [1, 2], [1], [2], [1], [0, 1, 2]), NAMES)
    same = agreement(company, company)
    assert same["same"] == pytest.approx(1)
    assert same["transposed"] < 0.5
    assert same["pairs"] == 6
    turned = {a: {b: company[b][a] for b in company[a]} for a in company}
    assert agreement(turned, company)["transposed"] == pytest.approx(1)


def test_agreement_without_variation_or_without_a_class_is_unknown():
    company = co_occurrence(layouts([0, 1], [0, 1], [1]), NAMES)
    nothing = {name: {other: (0, 5) for other in NAMES} for name in NAMES}
    found = agreement(nothing, company)
    # No layout has a cat, so that nothing can be said of its company.
    assert found == {"same": None, "transposed": None, "pairs": 2}


@pytest.mark.parametrize("judge", [None, "fcos"])
def test_a_run_counts_what_the_reader_sees(tmp_path, judge):
    bench = bench_of(tmp_path, ["retinanet", "fcos"])
    bench.entries = ["retinanet"]
    findings = Context(OBJECTS, judge=judge, examples=1 if judge else 0).run(bench)
    for name in ("class0", "class1", "class2"):
        runs = list(
            zip(
                OBJECTS.targeted(bench, "retinanet", name),
                OBJECTS.detections(bench, "retinanet", name, judge),
                strict=True,
            )
        )
        counts = context_counts(runs, ("class0", "class1", "class2"))
        assert findings.numbers["rates"]["retinanet"][name] == {k: wilson(*count) for k, count in counts.items()}
        images = findings.numbers["images"]["retinanet"][name]
        for image, run in zip(images, runs, strict=True):
            found = group_detections(*run)
            assert image["context"] == sorted({one.name for one in found.context})
            assert image["confusions"] == sorted({one.name for one in found.confusions})
            assert image["seen"] == bool(found.target)
    assert any(rate.value for by in findings.numbers["rates"]["retinanet"].values() for rate in by.values())
    assert findings.numbers["control"]["retinanet"]["pairs"] == 6
    assert findings.decided["seen by"] == (judge or "the detector that the image was made for")
    assert ("context_retinanet" in {figure.name for figure in findings.figures}) == bool(judge)
    names = {table.name for table in findings.tables}
    assert names == {"top", "rates_retinanet", "asymmetry", "control", "confusions"}
    assert write_findings(findings, tmp_path / "out", "", Context.title, {}).is_file()


def test_the_control_can_be_left_out(tmp_path):
    findings = Context(OBJECTS, control=False).run(bench_of(tmp_path, ["retinanet"]))
    assert findings.numbers["control"] == {}
    assert "control" not in {table.name for table in findings.tables}
