"""`detinv train`: train a detector, store its weights, measure it, write its card."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from detinv.commands import Build
from detinv.commands.terminal import console, literal
from detinv.detectors.class_names import read_class_names
from detinv.detectors.load import RANDOM, build_detector
from detinv.errors import ConfigError
from detinv.inputs.printable import quoted
from detinv.results.io.files import write_json, write_text, write_with
from detinv.results.io.names import file_stems
from detinv.results.io.resume import claimed_folder
from detinv.results.io.versions import versions
from detinv.training.card import Training, model_card
from detinv.training.command import repeating_command
from detinv.training.datasets import TrainingSet
from detinv.training.evaluate import evaluate
from detinv.training.fit import TrainingOptions, fit
from detinv.zoo.weights import save_weights, weight_hash

# Lines stay whole, so that paths can be copied, and numbers keep the colour of their sentence.
_PLAIN: dict[str, Any] = {"soft_wrap": True, "highlight": False}
_CHOICES = ("steps", "batch_size", "learning_rate", "weight_decay", "gradient_clip", "steps_per_epoch", "precision")


def run(config: DictConfig, build: Build) -> None:
    """Train `config.detector` on `config.data`, or continue, or only measure what has been trained already."""
    with ExitStack() as until_done:
        _run(config, build, until_done)


def _run(config: DictConfig, build: Build, until_done: ExitStack) -> None:
    terminal = console()
    options = TrainingOptions(
        **{name: config[name] for name in _CHOICES}, accelerator=config.accelerator, workers=config.workers
    )
    torch.manual_seed(config.seed)
    data: TrainingSet = build(config.data)
    if config.detector.get("weights") != "bundled":
        raise ConfigError(f"{config.detector.name} is not one of the bundled detectors, which alone detinv trains")
    model = build(config.detector.model)
    name, class_names = config.detector.name, list(read_class_names(config.detector.class_names))
    if not isinstance(name, str) or file_stems([name]) != [name]:
        raise ConfigError(f"detector.name={quoted(name)}: the weights' file is named after it; take letters and digits")
    if list(data.source.class_names) != class_names:
        raise ConfigError(
            f"{name} knows the classes {', '.join(class_names)}, but the data has "
            f"{', '.join(data.source.class_names)}; choose the model of the same name"
        )
    # What is measured in the end is tried now, with other weights: a mistake shows before anything is learnt.
    build_detector(OmegaConf.merge(config.detector, {"weights": RANDOM}))
    out_dir = until_done.enter_context(claimed_folder(config))
    where = literal(f"{name} in {out_dir}")
    terminal.print(f"training {where}; interrupt at will: the same out_dir continues", **_PLAIN)
    begun = fit(model, data.source, options, out_dir)
    if begun >= options.steps:
        terminal.print(f"already trained for {begun} steps: measuring only", **_PLAIN)

    training = Training(
        name,
        type(model).__name__,
        sum(parameter.numel() for parameter in model.parameters()),
        class_names,
        config.seed,
        repeating_command(config),
    )
    weights = out_dir / f"{name}.safetensors"
    header = _header(training, options, data)
    write_with(weights, lambda path: save_weights(model, path, header))
    detector = build_detector(OmegaConf.merge(config.detector, {"weights": str(weights)}))
    terminal.print(literal(f"measuring on {data.measured_on}"), **_PLAIN)
    scores = evaluate(detector, data.held_out)
    digest = weight_hash(detector)
    card = out_dir / f"{name}.md"
    write_text(card, model_card(training, options, data, scores, digest))
    write_json(out_dir / "metrics.json", _metrics(training, options, scores, digest))
    terminal.print(_summary(name, scores))
    _say_where(terminal, out_dir, weights, card)


def _header(training: Training, options: TrainingOptions, data: TrainingSet) -> dict[str, Any]:
    """Return the metadata stored in the file of weights."""
    return {
        "name": training.name,
        "architecture": training.architecture,
        "class_names": list(training.class_names),
        "learnt_from": data.learnt_from,
        "steps": options.steps,
        "seed": training.seed,
        "command": training.command,
        "licence": data.licence,
    }


def _metrics(training: Training, options: TrainingOptions, scores: dict[str, float], digest: str) -> dict[str, Any]:
    return {
        **scores,
        "name": training.name,
        "parameters": training.parameters,
        "steps": options.steps,
        "seed": training.seed,
        "weight_hash": digest,
        "versions": versions(),
    }


def _summary(name: str, scores: dict[str, float]) -> Table:
    table = Table(title=literal(name))
    kinds = [("boxes", ""), *([("masks", "mask_")] if "mask_AP" in scores else [])]
    for column in ("", "AP", "AP50", "AP75"):
        table.add_column(column, justify="right" if column else "left")
    for kind, prefix in kinds:
        table.add_row(kind, *(f"{scores[prefix + column]:.1f}" for column in ("AP", "AP50", "AP75")))
    return table


def _say_where(terminal: Console, out_dir: Path, weights: Path, card: Path) -> None:
    for what, path in (("weights", weights), ("card", card), ("all results", out_dir)):
        terminal.print(f"{what}: {literal(path)}", **_PLAIN)
