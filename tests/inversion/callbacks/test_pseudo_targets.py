"""Targets that are held between steps: still where their rows are, rebuilt where each pass chooses rows again."""

import io

import pytest
import pytorch_lightning as pl
import torch

from detinv.detectors.heads.codec import DeltaCodec
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, PostProcessing, Predictions
from detinv.detectors.regions import Regions
from detinv.inversion.callbacks.pseudo_targets import PseudoTargets
from detinv.inversion.fit import make_trainer
from detinv.inversion.modules.inversion import Inversion
from detinv.inversion.targets.base import Targets
from detinv.inversion.targets.matching import HungarianRule
from detinv.inversion.targets.paper import PaperRule
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout
from tests.fakes import block_image, tiny_detector

BOXES = torch.tensor([[8.0, 8, 30, 30], [34, 30, 60, 58]])
LAYOUTS = LayoutBatch.collate([Layout(BOXES, torch.tensor([2, 1]), (64, 64), "a")])


def predict(detector, seed):
    with torch.no_grad():
        return detector(block_image((64, 64), seed)[None].float() / 255, regions=Regions(LAYOUTS.boxes, LAYOUTS.valid))


@pytest.mark.parametrize("family", ["retinanet", "fcos", "ssd"])
def test_rows_of_a_dense_head_keep_their_targets(family):
    detector, targets = tiny_detector(family), PseudoTargets(PaperRule(), HungarianRule(), every_n_steps=3)
    first = targets.build("a", predict(detector, 0), LAYOUTS, Targets())
    assert targets.hold(predict(detector, 1), LAYOUTS, first) is first


def test_regions_of_a_second_stage_get_the_targets_of_what_they_are_now():
    detector, targets = tiny_detector("fasterrcnn"), PseudoTargets(PaperRule(), HungarianRule(), every_n_steps=3)
    first = targets.build("a", predict(detector, 0), LAYOUTS, Targets())
    now = predict(detector, 1)
    held = targets.hold(now, LAYOUTS, first)
    assert held.proposals is first.proposals
    wanted = PaperRule().roi(now.roi, LAYOUTS)
    assert held.roi.labels.equal(wanted.labels) and held.roi.class_weights.equal(wanted.class_weights)
    assert not held.roi.class_weights.equal(first.roi.class_weights)


def queries(order):
    """Five queries in another order; the first two of them have the objects' boxes."""
    boxes = torch.cat([BOXES, BOXES[:1] + 2, BOXES[1:] - 5, BOXES[:1] + 20])
    classes = torch.tensor([2, 1, 0, 0, 0])
    head = DenseHead(boxes, (5,), DeltaCodec(), None, PostProcessing(0.05, None, 5, 5))
    logits = 8.0 * torch.nn.functional.one_hot(classes, 3).float() - 4
    anchors = boxes[order]
    head = DenseHead(anchors, (5,), DeltaCodec(), None, head.post)
    identities = torch.tensor([70, 11, 42, 5, 33])[order]
    return Predictions(DensePredictions(logits[order][None], torch.zeros(1, 5, 4), head, identities=identities[None]))


def test_queries_keep_the_object_of_their_token_wherever_they_stand():
    targets = PseudoTargets(PaperRule(), HungarianRule(), every_n_steps=3)
    first = targets.build("a", queries([0, 1, 2, 3, 4]), LAYOUTS, Targets())
    held = targets.hold(queries([4, 1, 3, 0, 2]), LAYOUTS, first)
    assert first.dense.positive_rows.tolist() == [[0, 1]]
    assert held.dense.positive_rows.tolist() == [[3, 1]]
    assert held.dense.positive_identities.equal(first.dense.positive_identities)
    assert held.encoder is first.encoder


class Holder(Inversion):
    """Holds targets, and nothing else of an inversion."""

    def __init__(self) -> None:
        pl.LightningModule.__init__(self)
        self.targets = {}


def resumed(targets: PseudoTargets, built: Targets) -> dict[str, Targets]:
    """The targets that a run continues with after a step with these."""
    before, after, file, trainer = Holder(), Holder(), io.BytesIO(), make_trainer({"accelerator": "cpu"})
    before.targets["a"] = built
    checkpoint = {}
    targets.on_save_checkpoint(trainer, before, checkpoint)
    torch.save(checkpoint, file)
    file.seek(0)
    targets.on_load_checkpoint(trainer, after, torch.load(file, weights_only=True))
    return after.targets


def test_a_resumed_run_knows_which_query_each_object_had():
    targets = PseudoTargets(PaperRule(), HungarianRule())
    built = targets.build("a", queries([0, 1, 2, 3, 4]), LAYOUTS, Targets())
    assert resumed(targets, built)["a"].dense.positive_identities.equal(built.dense.positive_identities)


@pytest.mark.parametrize(("every", "kept"), [(1, False), (3, True)])
def test_targets_that_no_later_step_asks_for_are_not_kept(every, kept):
    targets = PseudoTargets(PaperRule(), HungarianRule(), every_n_steps=every)
    built = targets.build("a", predict(tiny_detector("retinanet"), 0), LAYOUTS, Targets())
    assert bool(resumed(targets, built)) is kept
