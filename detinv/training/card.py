"""The model card of a file of weights."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from detinv.results.io.versions import versions
from detinv.training.datasets import TrainingSet
from detinv.training.fit import TrainingOptions

_SHOWN = ("AP", "AP50", "AP75", "APs", "APm", "APl")


@dataclass(frozen=True)
class Training:
    """What a card says about a training run apart from its results.

    Args:
        name: of the detector.
        architecture: class of the model.
        parameters: number of trained parameters.
        class_names: in the order of the labels.
        seed: of the initial weights.
        command: that repeats the run.
    """

    name: str
    architecture: str
    parameters: int
    class_names: Sequence[str]
    seed: int
    command: str


def model_card(
    training: Training, options: TrainingOptions, data: TrainingSet, scores: Mapping[str, float], weight_hash: str
) -> str:
    """Return the card as Markdown.

    Args:
        scores: from `evaluate`, measured with the stored weights.
        weight_hash: of the detector that was measured.
    """
    rows = [
        ("architecture", f"{training.architecture} of torchvision on a small residual backbone with a feature pyramid"),
        ("parameters", f"{training.parameters:,}"),
        ("classes", ", ".join(training.class_names)),
        ("learnt from", data.learnt_from),
        ("seed of the first weights", str(training.seed)),
        *(
            (name.replace("_", " "), f"{value:g}" if isinstance(value, float) else str(value))
            for name, value in _decisive(options)
        ),
        ("weights", f"`{training.name}.safetensors`, kernels in half precision; hash {weight_hash}"),
        ("versions", ", ".join(f"{name} {number}" for name, number in versions().items())),
    ]
    lines = [f"# {training.name}", "", "Made, and measured, by", "", f"    {training.command}", ""]
    lines += ["|  |  |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""]
    lines += ["## Measured", "", f"COCO's average precision, in percent, on {data.measured_on}", ""]
    lines[-2] += f" ({scores['objects']:g} objects), by the detector's own inference with the stored weights."
    lines += _score_table(scores, training.class_names)
    if data.planted:
        lines += ["", "## Planted truth", "", data.planted]
    lines += ["", "## Limits", "", data.limits, "", "## Licence", "", data.licence]
    return "\n".join(lines) + "\n"


def _decisive(options: TrainingOptions) -> list[tuple[str, object]]:
    """Return the options that affect the result, which excludes where the run took place and in how many processes."""
    return [(name, value) for name, value in asdict(options).items() if name not in ("accelerator", "workers")]


def _score_table(scores: Mapping[str, float], class_names: Sequence[str]) -> list[str]:
    columns = [*_SHOWN, *(f"AP/{name}" for name in class_names)]
    kinds = [("boxes", ""), *((("masks", "mask_"),) if "mask_AP" in scores else ())]
    header = ["", *(column.removeprefix("AP/") for column in columns)]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for kind, prefix in kinds:
        lines.append("| " + " | ".join([kind, *(_score(scores[prefix + column]) for column in columns)]) + " |")
    return lines


def _score(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"
