"""The whole step with real torchvision architectures: what moves, what must not, and whose image depends on whom."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger

from detinv.detectors.regions import Regions
from detinv.errors import TargetError
from detinv.inversion.callbacks.loss_recorder import LossRecorder
from detinv.inversion.callbacks.pixel_updates import PixelUpdates
from detinv.inversion.callbacks.pseudo_targets import PseudoTargets
from detinv.inversion.data import step_loader
from detinv.inversion.modules import network
from detinv.inversion.modules.ensemble import as_ensemble
from detinv.inversion.modules.inversion import Inversion
from detinv.inversion.modules.workers import cpu_threads
from detinv.inversion.objective.objective import Objective
from detinv.inversion.optim.normalized_momentum import NormalizedMomentum
from detinv.inversion.optim.schedules import Cosine
from detinv.inversion.pixels.augmentation import Augmentation
from detinv.inversion.pixels.pixels import RawPixels
from detinv.inversion.pixels.precondition import Preconditioner
from detinv.inversion.pixels.updates import Clamp, PeriodicBlur
from detinv.inversion.preset import load_preset
from detinv.inversion.run import invert
from detinv.inversion.targets.base import Targets
from detinv.inversion.targets.code import CodeRule
from detinv.inversion.targets.matching import HungarianRule
from detinv.inversion.targets.paper import PaperRule
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout
from detinv.runtime.quiet import quiet_lightning
from detinv.zoo.weights import weight_hash
from tests.fakes import FAMILIES, tiny_detector

STEPS = 6


def layout(name: str, boxes: list[list[float]], labels: list[int]) -> Layout:
    masks = torch.zeros(len(boxes), 64, 64, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[int(y0) : int(y1), int(x0) : int(x1)] = True
    return Layout(torch.tensor(boxes).view(-1, 4), torch.tensor(labels, dtype=torch.int64), (64, 64), name, masks)


LAYOUTS = [
    layout("a", [[4.0, 6.0, 30.0, 28.0], [32.0, 30.0, 60.0, 62.0]], [0, 2]),
    layout("b", [[20.0, 12.0, 44.0, 52.0]], [1]),
    layout("empty", [], []),
]


def inversion(
    detector,
    layouts,
    *,
    steps=STEPS,
    pixels=RawPixels,
    augmentation=None,
    optimizer=None,
    seed=0,
    slots=None,
    precondition=None,
):
    batch = LayoutBatch.collate(layouts, detector.size_divisor, slots)
    preset = load_preset("default")
    return Inversion(
        as_ensemble(detector),
        batch,
        pixels(batch, detector.pixel_mean.flatten(), seed, 0.05),
        preset.objective,
        optimizer or partial(NormalizedMomentum, lr=0.01),
        Cosine(),
        steps,
        augmentation or Augmentation(),
        seed,
        precondition=precondition,
    )


def fit(module, *callbacks, rule=None, every_n_steps=1):
    callbacks = callbacks or (PixelUpdates([Clamp(), PeriodicBlur(start=0.8, end=0.3)]),)
    targets = PseudoTargets(rule or CodeRule(), HungarianRule(), every_n_steps)
    with cpu_threads(1), quiet_lightning():
        pl.Trainer(
            accelerator="cpu",
            max_steps=module.steps,
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            callbacks=[targets, *callbacks],
        ).fit(module, step_loader(module.steps))
    return module


# Mask R-CNN does all that Faster R-CNN does, and that a RetinaNet's loss falls, the check of its adapter tells.
@pytest.mark.parametrize(
    "rule", [pytest.param(CodeRule(), id="code"), pytest.param(PaperRule(), id="paper", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "family",
    ["fcos", "maskrcnn", *(pytest.param(name, marks=pytest.mark.slow) for name in ("retinanet", "fasterrcnn"))],
)
def test_steps_lower_the_loss_and_leave_the_detector_alone(family: str, rule):
    detector = tiny_detector(family)
    before, state = weight_hash(detector), {name: value.clone() for name, value in detector.state_dict().items()}
    recorder = LossRecorder(every_n_steps=1)
    module = inversion(detector, LAYOUTS, steps=12)
    start = module.pixels().detach().clone()
    fit(module, recorder, rule=rule)

    assert [name for name, value in module.named_parameters() if value.requires_grad] == ["pixels.values"]
    # The targets move with the image, so single steps may rise.
    assert min(row["total"] for row in recorder.rows[-4:]) < recorder.rows[0]["total"]
    assert not torch.equal(module.pixels(), start)
    assert weight_hash(detector) == before
    assert all(torch.equal(value, state[name]) for name, value in detector.state_dict().items())
    assert not any(parameter.grad is not None for parameter in detector.parameters())


@pytest.mark.parametrize(
    ("family", "preconditioned"),
    [
        ("maskrcnn", True),
        *(
            pytest.param(family, preconditioned, marks=pytest.mark.slow)
            for family in FAMILIES
            for preconditioned in (False, True)
            if (family, preconditioned) != ("maskrcnn", True)
        ),
    ],
)
def test_an_image_does_not_depend_on_its_batch(family: str, preconditioned: bool):
    """To the last bit: on the CPU every image is computed alone."""
    augmentation = Augmentation(shift=2, zoom=0.05, contrast=0.1, hold=2)
    precondition = Preconditioner() if preconditioned else None
    # Three steps: the second with the same moves as the first, the third with others.
    options = {"augmentation": augmentation, "precondition": precondition, "slots": 2, "steps": 3}
    together = fit(inversion(tiny_detector(family), LAYOUTS, **options)).pixels()
    for index, single in enumerate(LAYOUTS):
        alone = fit(inversion(tiny_detector(family), [single], **options)).pixels()
        assert torch.equal(alone[0], together[index])


def test_a_neighbour_without_masks_takes_no_masks_away():
    options = {"steps": 4, "trainer": {"accelerator": "cpu"}, "progress": False}
    alone = invert(tiny_detector("maskrcnn"), [LAYOUTS[0]], **options)
    beside = invert(tiny_detector("maskrcnn"), [LAYOUTS[1].without_masks(), LAYOUTS[0]], **options)
    assert int((alone.images[0].int() - beside.images[1].int()).abs().max()) <= 1


@pytest.mark.slow
def test_step_numbers_of_loggers_never_go_backwards():
    class Numbers(Logger):
        name, version = "numbers", "0"

        def __init__(self):
            super().__init__()
            self.steps = []

        def log_metrics(self, metrics, step=None):
            self.steps.append(step)

        def log_hyperparams(self, *args, **kwargs):
            """Nothing to keep."""

    logger = Numbers()
    options = {"steps": 70, "batch_size": 1, "trainer": {"accelerator": "cpu"}, "progress": False}
    invert(tiny_detector("retinanet"), LAYOUTS[:2], loggers=[logger], log_images_every_n_steps=30, **options)
    assert logger.steps == sorted(logger.steps)
    assert max(logger.steps) == 139
    assert 30 in logger.steps and 100 in logger.steps


def test_mixed_precision_ends_near_full_precision():
    """Boxes and losses stay in fp32, only the network is rounded."""
    results = {
        precision: invert(
            tiny_detector("retinanet"),
            LAYOUTS[:2],
            steps=3,
            trainer={"accelerator": "cpu", "precision": precision},
            progress=False,
        )
        for precision in ("32-true", "bf16-mixed")
    }
    first, second = (result.losses[0]["total"] for result in results.values())
    assert second == pytest.approx(first, rel=0.05)
    assert first != second


def test_same_seed_same_bits_other_seed_other_image():
    first, again, other = (
        fit(inversion(tiny_detector("retinanet"), LAYOUTS[:2], seed=seed, steps=3)).pixels() for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("classes", [3, pytest.param(16, marks=pytest.mark.slow)])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_large_image_has_the_same_bits_alone_and_among_others(family: str, classes: int, monkeypatch):
    """With 16 classes, all numbers of a lone image fill whole registers, and it is not copied."""
    monkeypatch.setattr(network, "_LARGE", 1)
    detector = tiny_detector(family, classes)
    alone, among = (fit(inversion(detector, LAYOUTS[:count], slots=2, steps=2)).pixels() for count in (1, 2))
    assert torch.equal(alone[0], among[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_reaches_the_pixels_of_every_image_through_every_head(family: str):
    """Would fail if a head were read behind a detach."""
    detector = tiny_detector(family)
    module = inversion(detector, LAYOUTS[:2])
    callback = PseudoTargets(CodeRule(), HungarianRule())
    pixels = module.pixels
    predictions = detector(pixels(), module.layouts.image_sizes, Regions(module.layouts.boxes, module.layouts.valid))
    targets = callback.build("one", predictions.detach(), module.layouts, Targets())
    terms = module.objective.detector_terms(predictions, targets)
    dense, two_stage = {"cls", "reg", "positive"}, {"rpn_cls", "rpn_reg", "roi_cls", "roi_reg", "roi_positive"}
    expected = {
        "retinanet": dense,
        "fcos": dense | {"centerness"},
        "fasterrcnn": two_stage,
        "maskrcnn": two_stage | {"roi_mask"},
    }
    assert set(terms) == expected[family]
    for name, value in terms.items():
        (gradient,) = torch.autograd.grad(value.sum(), pixels.values, retain_graph=True)
        assert bool(torch.isfinite(gradient).all()), name
        assert bool((gradient.abs().amax((1, 2, 3)) > 0).all()), name


def test_without_pseudo_targets_the_step_refuses():
    module = inversion(tiny_detector("retinanet"), LAYOUTS)
    with pytest.raises(TargetError, match="PseudoTargets"):
        module.training_step(0, 0)


def test_targets_are_held_between_swaps():
    class Watch(pl.Callback):
        seen: list[int] = []

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.seen.append(id(pl_module.targets["TorchvisionRetinaNet"]))

    watch, module = Watch(), inversion(tiny_detector("retinanet"), LAYOUTS)
    fit(module, watch, every_n_steps=3)
    assert watch.seen[0] == watch.seen[1] == watch.seen[2]
    assert watch.seen[3] == watch.seen[4] == watch.seen[5]
    assert watch.seen[2] != watch.seen[3]


def test_checkpoints_hold_the_pixels_and_not_the_detector(tmp_path):
    module = fit(inversion(tiny_detector("retinanet"), LAYOUTS))
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    assert set(checkpoint["state_dict"]) == {"pixels.values"}
    fresh = inversion(tiny_detector("retinanet"), LAYOUTS)
    fresh.on_load_checkpoint(checkpoint)
    fresh.load_state_dict(checkpoint["state_dict"])
    assert torch.equal(fresh.pixels(), module.pixels())


def test_layouts_of_other_sizes_leave_their_padding_at_the_mean_colour():
    detector = tiny_detector("retinanet")
    small = Layout(torch.tensor([[2.0, 3.0, 30.0, 40.0]]), torch.tensor([1]), (50, 41), "small")
    module = fit(inversion(detector, [small]))
    pixels, mean = module.pixels()[0], detector.pixel_mean.view(3, 1, 1)
    torch.testing.assert_close(pixels[:, 50:], mean.expand_as(pixels[:, 50:]))
    torch.testing.assert_close(pixels[:, :, 41:], mean.expand_as(pixels[:, :, 41:]))
    assert module.images()[0].shape == (3, 50, 41)


def test_objective_suggests_the_nearest_term():
    from detinv.errors import ConfigError

    with pytest.raises(ConfigError, match="did you mean 'roi_mask'"):
        Objective({"roi_maks": 1.0})
