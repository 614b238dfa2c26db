import torch
from hypothesis import given
from hypothesis import strategies as st

from detinv.layouts.layout import Detections, Layout
from detinv.viz.labels import caption, place_labels

_corner = st.floats(0, 90)
_box = st.tuples(_corner, _corner, st.floats(1, 60), st.floats(1, 60)).map(
    lambda b: (b[0], b[1], min(b[0] + b[2], 100.0), min(b[1] + b[3], 100.0))
)


@given(st.lists(st.tuples(_box, st.floats(1, 100), st.floats(1, 20)), max_size=6))
def test_place_labels_never_leaves_the_picture(rows: list) -> None:
    places = place_labels([row[0] for row in rows], [row[1:] for row in rows], (100, 100))
    assert len(places) == len(rows)
    for (x, y), (_, w, h) in zip(places, rows, strict=True):
        assert x >= 0 and y >= 0
        assert x + w <= 100 + 1e-6 and y + h <= 100 + 1e-6


def test_place_labels_prefers_the_place_above_the_box() -> None:
    assert place_labels([(30, 40, 70, 80)], [(20, 10)], (100, 100)) == [(30, 30)]


def test_place_labels_of_equal_boxes_do_not_cover_each_other() -> None:
    places = place_labels([(30, 40, 70, 80)] * 4, [(35, 10)] * 4, (100, 100))
    for k, (x, y) in enumerate(places):
        for u, v in places[:k]:
            assert x + 35 <= u or u + 35 <= x or y + 10 <= v or v + 10 <= y


def test_caption_tells_class_and_score() -> None:
    boxes, labels = torch.tensor([[0.0, 0, 5, 5]] * 3), torch.tensor([0, 1, 7])
    found = Detections(boxes, torch.tensor([0.5, 0.998, 1.0]), labels, (10, 10))
    assert [caption(found, k, ("ring", "star")) for k in range(3)] == ["ring 0.50", "star 0.99", "class 7 1.00"]
    assert caption(Layout(boxes, labels, (10, 10), "a"), 1, ("ring", "star")) == "star"
