import math
from importlib.util import find_spec

import pytest
import torch

from detinv.detectors.heads.assigners import DynamicAssigner
from detinv.detectors.heads.task_aligned import TaskAlignedAssigner, pairwise_complete_iou

CLASSES = 3


def grid(size, stride):
    y, x = torch.meshgrid(torch.arange(size // stride), torch.arange(size // stride), indexing="ij")
    return torch.stack([x, y, x + 1, y + 1], -1).reshape(-1, 4).float() * stride


ANCHORS = torch.cat([grid(64, 8), grid(64, 16)])
LEVELS = (64, 16)


def random_boxes(generator, *shape):
    """Boxes that contain the middle of 64 pixels, so that any two of them overlap well."""
    low = torch.rand(*shape, 2, generator=generator) * 24
    high = 40 + torch.rand(*shape, 2, generator=generator) * 24
    return torch.cat([low, high], -1)


def random_case(seed, objects=4):
    generator = torch.Generator().manual_seed(seed)
    boxes = random_boxes(generator, 2, objects)
    labels = torch.randint(0, CLASSES, (2, objects), generator=generator)
    valid = torch.ones(2, objects, dtype=torch.bool)
    valid[1, objects - 1] = False
    logits = torch.randn(2, len(ANCHORS), CLASSES, generator=generator)
    return boxes, labels, valid, torch.nn.functional.logsigmoid(logits), random_boxes(generator, 2, len(ANCHORS))


def assign(assigner, boxes, labels, valid, log_scores, decoded, anchors=ANCHORS, levels=LEVELS):
    return assigner.assign_predicted(anchors, levels, boxes, labels, valid, log_scores, decoded)


def one(box, decoded=None, anchors=ANCHORS, levels=LEVELS, **options):
    """The assignment of a single box in a single image."""
    count = len(anchors)
    return assign(
        TaskAlignedAssigner(**options),
        torch.tensor([[box]]).float(),
        torch.zeros(1, 1, dtype=torch.int64),
        torch.ones(1, 1, dtype=torch.bool),
        torch.full((1, count, 1), math.log(0.5)),
        anchors[None] if decoded is None else decoded,
        anchors,
        levels,
    )


def plain_ciou(a, b):
    inter = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    (wa, ha), (wb, hb) = (a[2] - a[0], a[3] - a[1]), (b[2] - b[0], b[3] - b[1])
    iou = inter / (wa * ha + wb * hb - inter)
    diagonal = (max(a[2], b[2]) - min(a[0], b[0])) ** 2 + (max(a[3], b[3]) - min(a[1], b[1])) ** 2
    apart = ((a[0] + a[2] - b[0] - b[2]) ** 2 + (a[1] + a[3] - b[1] - b[3]) ** 2) / 4
    shape = 4 / math.pi**2 * (math.atan(wa / ha) - math.atan(wb / hb)) ** 2
    return iou - apart / diagonal - (shape * shape / (1 - iou + shape) if shape else 0)


def reference(boxes, labels, log_scores, decoded, reach, topk):
    """Owner and strength of each row of one image; every object is expected to end with a row of its own."""
    metric, overlap = {}, {}
    for slot, box in enumerate(boxes):
        for row, anchor in enumerate(ANCHORS.tolist()):
            x, y, side = (anchor[0] + anchor[2]) / 2, (anchor[1] + anchor[3]) / 2, anchor[2] - anchor[0]
            sides = (x - box[0], y - box[1], box[2] - x, box[3] - y)
            if min(sides) > 0 and max(sides) <= reach * side:
                overlap[slot, row] = plain_ciou(box, decoded[row])
                score = math.exp(log_scores[row][labels[slot]])
                metric[slot, row] = score**0.5 * max(overlap[slot, row], 0) ** 6
    assert all(value > 0 for value in metric.values())
    chosen = set()
    for slot in range(len(boxes)):
        mine = [row for owner, row in metric if owner == slot]
        chosen |= {(slot, row) for row in sorted(mine, key=lambda row: -metric[slot, row])[:topk]}
    owner, strength = [-1] * len(ANCHORS), [0.0] * len(ANCHORS)
    for row in range(len(ANCHORS)):
        choosers = [slot for slot, other in chosen if other == row]
        if len(choosers) == 1:
            owner[row] = choosers[0]
        elif choosers:
            owner[row] = max((slot for slot, other in overlap if other == row), key=lambda slot: overlap[slot, row])
    best = []
    for slot in range(len(boxes)):
        mine = [row for row in range(len(ANCHORS)) if owner[row] == slot]
        best.append(max(mine, key=lambda row: metric[slot, row]))
        for row in mine:
            scale = max(overlap[slot, other] for other in mine) / metric[slot, best[slot]]
            strength[row] = metric[slot, row] * scale
        strength[best[slot]] = 1.0
    return owner, strength, best


@pytest.mark.parametrize("options", [{}, {"topk": 4}, {"reach": 3.5}, {"reach": 3.5, "topk": 3}])
@pytest.mark.parametrize("seed", range(4))
def test_assignment_equals_a_plain_loop(seed, options):
    boxes, labels, valid, log_scores, decoded = random_case(seed)
    found = assign(TaskAlignedAssigner(**options), boxes, labels, valid, log_scores, decoded)
    for image in range(2):
        count = int(valid[image].sum())
        owner, strength, best = reference(
            boxes[image, :count].tolist(),
            labels[image].tolist(),
            log_scores[image].tolist(),
            decoded[image].tolist(),
            options.get("reach", math.inf),
            options.get("topk", 10),
        )
        assert found.owner[image].tolist() == owner
        assert found.candidates[image, :count, 0].tolist() == best
        torch.testing.assert_close(found.strength[image], torch.tensor(strength), rtol=1e-4, atol=1e-6)
    assert found.candidates_valid[..., 0].equal(valid)
    assert found.background.equal(found.owner < 0)


def test_assignment_is_that_of_the_librarys_training():
    if find_spec("ultralytics") is None:
        pytest.skip("needs ultralytics: pip install 'detinv[yolo]'")
    from detinv.detectors.ultralytics.library import require_ultralytics

    require_ultralytics()
    from detinv.detectors.ultralytics.library import require_ultralytics

    # So that the library's first import leaves nothing behind for other tests.
    require_ultralytics()
    from ultralytics.utils.tal import TaskAlignedAssigner as LibrarysAssigner

    theirs = LibrarysAssigner(topk=10, num_classes=CLASSES, alpha=0.5, beta=6.0)
    contested = 0
    for seed in range(10):
        boxes, labels, valid, log_scores, decoded = random_case(seed)
        found = assign(TaskAlignedAssigner(), boxes, labels, valid, log_scores, decoded)
        points = (ANCHORS[:, :2] + ANCHORS[:, 2:]) / 2
        _, _, scores, foreground, slot = theirs(
            log_scores.exp(), decoded, points, labels[..., None], boxes, valid[..., None].float()
        )
        assert found.owner.equal(torch.where(foreground, slot, -1))
        standing = torch.zeros_like(foreground).scatter(1, found.candidates[..., 0], valid)
        # Rows that stand for an object shall be certain; all others have the library's target.
        wanted = torch.where(standing, 1.0, scores.sum(-1))
        torch.testing.assert_close(found.strength, wanted, rtol=1e-3, atol=1e-6)
        contested += int(foreground.sum() < 10 * valid.sum())
    assert contested > 5


def test_protocol_is_met_and_empty_slots_own_nothing():
    boxes, labels, _, log_scores, decoded = random_case(0)
    assigner = TaskAlignedAssigner()
    assert isinstance(assigner, DynamicAssigner)
    found = assign(assigner, boxes, labels, torch.zeros(2, 4, dtype=torch.bool), log_scores, decoded)
    assert (found.owner == -1).all()
    assert not found.candidates_valid.any()
    assert (found.strength == 0).all()


def test_empty_slots_change_nothing():
    boxes, labels, valid, log_scores, decoded = random_case(1)
    more = [torch.cat([value, value[:, :2]], 1) for value in (boxes, labels)]
    padded = torch.cat([valid, torch.zeros(2, 2, dtype=torch.bool)], 1)
    found = assign(TaskAlignedAssigner(), boxes, labels, valid, log_scores, decoded)
    again = assign(TaskAlignedAssigner(), *more, padded, log_scores, decoded)
    assert found.owner.equal(again.owner)
    torch.testing.assert_close(found.strength, again.strength)


def test_batch_equals_single_images():
    case = random_case(2)
    together = assign(TaskAlignedAssigner(), *case)
    for image in range(2):
        alone = assign(TaskAlignedAssigner(), *(value[image : image + 1] for value in case))
        assert alone.owner.equal(together.owner[image : image + 1])
        torch.testing.assert_close(alone.strength, together.strength[image : image + 1])


def test_a_box_between_the_points_takes_the_nearest():
    found = one([17.0, 17.0, 19.0, 19.0])
    (row,) = torch.nonzero(found.owner[0] >= 0)[:, 0].tolist()
    assert ANCHORS[row].tolist() == [16, 16, 24, 24]
    assert found.strength[0, row] == 1


def test_a_box_beyond_reach_of_fine_points_is_given_to_coarse_ones():
    found = one([2.0, 2.0, 62.0, 62.0], reach=3.0)
    owned = torch.nonzero(found.owner[0] >= 0)[:, 0]
    assert len(owned) > 0
    assert (owned >= LEVELS[0]).all()


def test_a_box_beyond_all_reach_takes_the_row_that_lacks_least():
    found = one([2.0, 2.0, 62.0, 62.0], reach=1.0)
    (row,) = torch.nonzero(found.owner[0] >= 0)[:, 0].tolist()
    assert row >= LEVELS[0]
    # One of the four cells round the centre.
    assert (ANCHORS[row] - 32).abs().max() <= 16


def test_boxes_without_any_overlap_are_chosen_by_how_near_they_come():
    box = torch.tensor([8.0, 8.0, 56.0, 56.0])
    decoded = torch.tensor([60.0, 60.0, 62.0, 62.0]).repeat(1, len(ANCHORS), 1)
    decoded[0, 27] = torch.tensor([57.0, 30.0, 59.0, 34.0])
    found = one(box.tolist(), decoded)
    assert found.candidates[0, 0, 0] == 27
    assert found.strength[0, 27] == 1
    assert ((found.owner[0] == 0).sum(), (found.strength[0] > 0).sum()) == (10, 1)


def test_an_object_whose_rows_all_go_to_another_takes_one_all_the_same():
    anchors = grid(64, 16)
    boxes = torch.tensor([[[8.0, 8.0, 56.0, 56.0], [9.0, 9.0, 55.0, 55.0]]])
    found = assign(
        TaskAlignedAssigner(),
        boxes,
        torch.tensor([[0, 1]]),
        torch.ones(1, 2, dtype=torch.bool),
        torch.full((1, 16, 2), -1.0),
        boxes[:, :1].expand(-1, 16, -1),
        anchors,
        (16,),
    )
    assert (found.owner == 1).sum() == 1
    assert (found.owner == 0).sum() > 1
    assert found.candidates[0, 0, 0] != found.candidates[0, 1, 0]


def test_a_certain_row_of_another_class_is_not_preferred():
    boxes = torch.tensor([[[8.0, 8.0, 56.0, 56.0]]])
    decoded = boxes.expand(-1, len(ANCHORS), -1)
    log_scores = torch.full((1, len(ANCHORS), 2), math.log(0.1))
    log_scores[0, 27, 1], log_scores[0, 28, 0] = math.log(0.9), math.log(0.2)
    valid = torch.ones(1, 1, dtype=torch.bool)
    found = assign(TaskAlignedAssigner(), boxes, torch.tensor([[0]]), valid, log_scores, decoded)
    assert found.candidates[0, 0, 0] == 28


def test_ciou_equals_its_formula_and_is_one_on_itself():
    generator = torch.Generator().manual_seed(0)
    a, b = random_boxes(generator, 5), torch.rand(7, 2, generator=generator) * 50
    b = torch.cat([b, b + 1 + torch.rand(7, 2, generator=generator) * 30], -1)
    found = pairwise_complete_iou(a, b)
    wanted = torch.tensor([[plain_ciou(x, y) for y in b.tolist()] for x in a.tolist()])
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(pairwise_complete_iou(a, a).diagonal(), torch.ones(5))
    assert pairwise_complete_iou(a, torch.zeros(1, 4)).isfinite().all()
