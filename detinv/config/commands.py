"""The commands of the command line: names and summaries. Imports nothing heavy."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

Text = Literal["path", "text", "texts", "text or texts", "entries"]
"""What a text of an option is: a path, another text, a list of texts, either, or a list of names and of entries."""

_OUT_DIR: Mapping[str, Text] = {"out_dir": "path"}


@dataclass(frozen=True)
class Command:
    """One command of the command line; its options are those of `configs/<name>.yaml`.

    Args:
        name: also of the module in `detinv.commands`.
        summary: one line for `detinv --help`.
        subject: the option that a bare word sets, as in `detinv bench step`.
        flags: overrides that a word with two dashes stands for, as in `detinv verify --quick`.
        texts: those of the command's own options that are texts, where neither a default nor an annotation says so.
        constructor: dotted name of what takes the command's own options; its annotations say of what kinds they are.
        optional: the command's own options that may be null although they have a default.
    """

    name: str
    summary: str
    subject: str | None = None
    flags: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, Text] = field(default_factory=lambda: _OUT_DIR)
    constructor: str | None = None
    optional: Collection[str] = ()


COMMANDS = {
    command.name: command
    for command in (
        Command("invert", "make images that a frozen detector reads as the layouts you ask for"),
        Command(
            "run",
            "run one of the paper's experiments: detinv run table1_transfer",
            "experiment",
            texts={**_OUT_DIR, "images": "path", "detectors": "entries"},
        ),
        Command(
            "verify",
            "check the paper's claims on detectors with planted priors: detinv verify --quick",
            flags={"--quick": "size=quick"},
            texts={**_OUT_DIR, "claims": "texts", "annotations": "path", "images": "path"},
        ),
        Command(
            "detect",
            "run a detector's own inference over a folder of images and judge it",
            texts={**_OUT_DIR, "images": "path", "annotations": "path"},
        ),
        Command(
            "attribute",
            "explain why a detector decided so: which pixels make the class, and each side of the box",
            texts={**_OUT_DIR, "images": "path", "annotations": "path", "layers": "texts", "against": "text"},
        ),
        Command(
            "diagnose",
            "tell what a detector misses in the images of a run, and why: detinv diagnose outputs/RUN",
            "run",
            texts={**_OUT_DIR, "run": "path", "images": "path", "annotations": "path"},
        ),
        Command(
            "check",
            "try an adapter: does it keep the contract that inversions rely on?",
            texts={**_OUT_DIR, "images": "path", "annotations": "path"},
        ),
        Command(
            "train", "train a bundled detector again and measure it", constructor="detinv.training.fit.TrainingOptions"
        ),
        Command(
            "bench",
            "time an inversion step against the bare network: detinv bench step",
            "benchmark",
            optional=("inversion.against",),
        ),
    )
}
