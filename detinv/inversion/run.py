"""The main job: from layouts to inverted images, and what the detector detects in them."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytorch_lightning as pl

from detinv.detectors.acceleration.full_precision import float32_products, precision_settings, tf32
from detinv.detectors.base import AbstractDetector
from detinv.inputs.fingerprint import settings_hash
from detinv.inputs.torch_settings import usual_torch
from detinv.inversion.evaluation import evaluate_all, planted_cues
from detinv.inversion.fit import device_of
from detinv.inversion.job import Gathered, Job
from detinv.inversion.modules.ensemble import Ensemble, as_ensemble
from detinv.inversion.preset import Preset, load_preset, preset_name_for
from detinv.inversion.requests import as_layouts, check_layouts, check_options
from detinv.inversion.resume.archive import Archive, held_archive
from detinv.inversion.resume.fingerprint import detector_code, detector_hash, packages_of
from detinv.layouts.fitting import network_frame
from detinv.layouts.layout import Layout
from detinv.layouts.sources import LayoutSource, layouts_for
from detinv.results.io.versions import versions
from detinv.results.reports.inversion_result import InversionResult
from detinv.runtime.loggers import Dashboard
from detinv.runtime.processes import Processes, start_processes
from detinv.runtime.quiet import quiet_lightning
from detinv.types import PRECISIONS, canonical_precision
from detinv.zoo.weights import weight_hash


class InversionInterrupted(KeyboardInterrupt):
    """The run was interrupted; `result` holds what was finished by then."""

    def __init__(self, result: InversionResult) -> None:
        super().__init__("interrupted")
        self.result = result


@usual_torch()
def invert(
    detector: AbstractDetector | str | Sequence[AbstractDetector | str] | Ensemble,
    layouts: Sequence[Layout] | LayoutSource,
    preset: Preset | str | None = None,
    *,
    steps: int | None = None,
    seed: int = 0,
    batch_size: int = 16,
    trainer: Mapping[str, object] | None = None,
    loggers: Sequence[pl.loggers.Logger] = (),
    log_images_every_n_steps: int = 100,
    progress: bool = True,
    folder: str | Path | None = None,
    checkpoint_every_n_seconds: float = 10.0,
    compile_mode: str | None = None,
    allow_tf32: bool | None = None,
) -> InversionResult:
    """Optimise one image for each layout until `detector` detects the layout in it.

    An image depends only on its layout, the detector, preset, steps and seed; on the CPU to the last bit, for any batch
    size and number of processes.

    Args:
        detector: or the name of a registered one; or several, for images in which all of them detect the layout. They
            are frozen and stay unchanged.
        layouts: a list, or a source of layouts such as `WorldLayouts`, which then gives layouts of the detector's
            classes. Boxes may be in any frame: they are resized to the (first) detector's own input size. Labels are
            the detector's own class numbers.
        preset: or the name of a preset; by default "photographs" for detectors trained on photographs, else "default".
        steps: optimiser updates for each image, by default the preset's; 0 gives the start images, the control of
            every figure.
        seed: of start images and views; each layout draws its own numbers from it.
        batch_size: most images optimised together; it does not change any image. Halved when memory runs out.
        trainer: arguments of `pytorch_lightning.Trainer`, such as `precision`, `accelerator` or `callbacks`, which see
            the pixels after every update; of what they change, `folder` knows nothing. With `devices` or
            `num_nodes` above 1 the program runs once for each device, and every process returns the whole result.
        loggers: Lightning loggers; told to save at the end, but not closed. One that fails is not used again.
        log_images_every_n_steps: between two grids of current images in the loggers.
        progress: show a progress bar.
        folder: where finished images and the state of the running batch are saved: the same call continues where an
            earlier one stopped. By default nothing is saved.
        checkpoint_every_n_seconds: between two saved states of the running batch.
        compile_mode: a mode of `torch.compile`, for the frozen networks; None compiles nothing. The first step then
            takes a minute or so, and the last bits of an image may depend on its batch.
        allow_tf32: whether a GPU may round float32 products and convolutions to TF32 meanwhile; None leaves torch's
            settings, which by default round convolutions.

    Returns:
        Images in 8 bit, the detector's own detections in just those, and metrics; without the layouts for which memory
        did not suffice, see `InversionResult.missing`.

    Raises:
        DetinvError: when layouts do not suit the detector, or two have the same id; when `folder` cannot be used or
            holds images of another detector, preset, seed or number of steps.
        ProcessError: when another process of the job has failed.
        InversionInterrupted: when interrupted, with the result so far.
    """
    ensemble = as_ensemble(detector)
    if not isinstance(preset, Preset):
        preset = load_preset(preset or preset_name_for(ensemble))
    steps = preset.steps if steps is None else steps
    source = layouts
    if isinstance(source, LayoutSource):
        asked: Sequence[Layout] = layouts_for(source, ensemble)
    else:
        asked = as_layouts(source)
    layouts = [
        layout.resized(network_frame(ensemble.network_size, layout.image_size, f"layout {layout.id}"))
        for layout in asked
    ]
    check_layouts(layouts, ensemble)
    check_options(steps, batch_size, log_images_every_n_steps, trainer or {}, compile_mode, allow_tf32, seed)
    ensemble.compiled(compile_mode)
    before, home = _hashes(ensemble), ensemble.pixel_mean.device
    team = start_processes(trainer or {})

    def source_of_images() -> dict[str, object]:
        return _source(ensemble, preset, before, steps, seed, trainer or {}, compile_mode, allow_tf32)

    with _archive(folder, layouts, source_of_images, team) as archive:
        job = Job(
            ensemble,
            layouts,
            preset,
            steps,
            seed,
            batch_size,
            team,
            team.trainer(trainer or {}),
            Dashboard(loggers if team.first else ()),
            log_images_every_n_steps,
            checkpoint_every_n_seconds,
            archive,
        )
        started = time.perf_counter()
        with team.failing_together():
            with quiet_lightning(), tf32(allow_tf32):
                products = float32_products()
                job.run(progress and team.first)
            if _hashes(ensemble) != before:
                raise RuntimeError("a detector's weights changed during the inversion; its images would prove nothing")
        done = Gathered.of(team.gather(job.done()))
    seconds = time.perf_counter() - started
    finished = sorted(done.images)
    inverted, images = [layouts[index] for index in finished], [done.images[index] for index in finished]
    # The detectors are back where they were; inference is faster on the device of the inversion.
    ensemble.to(device_of(job.trainer))
    member_detections = {member.name: team.share(member.detect, images) for member in ensemble}
    ensemble.to(home)
    metrics = evaluate_all(inverted, member_detections, ensemble.class_names) if inverted else {}
    metrics |= planted_cues(source, inverted, images, ensemble.class_names) if inverted else {}
    if done.interrupted:
        reason = "interrupted before it was finished"
        done.missing |= {index: reason for index in range(len(layouts)) if index not in done.images}
    metrics |= {
        "steps": steps,
        "seconds": round(seconds, 3),
        "seconds_per_step": round(job.seconds / job.steps_taken, 5) if job.steps_taken else None,
        "first_step_seconds": None if job.first_step is None else round(job.first_step, 3),
        "images": len(finished),
        "missing": {layouts[index].id: reason for index, reason in sorted(done.missing.items())},
        "stopped": done.stopped,
        "batch_size": batch_size,
        "seed": seed,
        "weight_hash": before if len(ensemble) > 1 else next(iter(before.values())),
        "float32_products": products,
        "versions": versions(),
    }
    result = InversionResult(inverted, images, member_detections, ensemble.class_names, metrics, done.losses())
    if done.interrupted:
        raise InversionInterrupted(result)
    return result


def _source(
    ensemble: Ensemble,
    preset: Preset,
    hashes: Mapping[str, str],
    steps: int,
    seed: int,
    trainer: Mapping[str, object],
    compile_mode: str | None,
    allow_tf32: bool | None,
) -> dict[str, object]:
    """Describe what all images depend on."""
    described: list[object] = [[detector_hash(member.detector), ensemble.shares[member.name]] for member in ensemble]
    if len(ensemble) > 1:
        described.append(ensemble.balance)
    code = [detector_code(member.detector) for member in ensemble]
    with tf32(allow_tf32):
        rounding = ", ".join(f"{name} {kind}" for name, kind in precision_settings().items())
    return {
        "weights": ",".join(hashes.values()),
        "classes": ", ".join(ensemble.class_names),
        # Before the options, which differ as well.
        "the code of its detector": ",".join(map(str, code)) if any(code) else None,
        "detector options": settings_hash(described),
        "preset": settings_hash(preset),
        "steps": steps,
        "seed": seed,
        "precision": canonical_precision(trainer.get("precision", PRECISIONS[0])),
        "packages": packages_of(member.detector for member in ensemble),
        "compile_mode": compile_mode,
        "float32 products": rounding,
    }


@contextmanager
def _archive(
    folder: str | Path | None, layouts: Sequence[Layout], describe: Callable[[], Mapping[str, object]], team: Processes
) -> Iterator[Archive | None]:
    """Open the folder in all processes; the first one prepares and holds it, or refuses it for all."""
    if folder is None:
        yield None
        return
    source = describe()
    with ExitStack() as until_done:
        team.decide(lambda: until_done.enter_context(held_archive(folder, layouts, source)))
        yield Archive(folder, layouts, source)


def _hashes(ensemble: Ensemble) -> dict[str, str]:
    return {member.name: weight_hash(member.detector) for member in ensemble}
