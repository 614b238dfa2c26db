"""What all these tests share: the command line must refuse in one line, and leave everything as it was."""

import copy
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from omegaconf import DictConfig, OmegaConf

from detinv import cli
from detinv.commands import detect, execute, invert
from detinv.config.folders import config_dir
from detinv.detectors.base import AbstractDetector
from detinv.detectors.load import build_detector
from tests.inputs.surroundings import Surroundings

QUIET = ("logger=none", "steps=0", "trainer.accelerator=cpu", "out_dir=out")
"""For `detinv invert`."""
_LONGEST = 520
# Of these words the files differ from test to test.
_DIFFERING = ("detector=_", "detector=plain.yaml", "detector=broken.yaml", "detector=mine.yaml", "experiment=theirs")
_BUNDLED = yaml.safe_load((config_dir() / "detector" / "shapes_retinanet.yaml").read_text())
_built: list[AbstractDetector] = []


EVIL = "evil_module_of_the_test"
_CODE = """
from pathlib import Path
Path("ran").write_text("")

def build(weights="shapes_fcos"):
    from detinv.detectors.load import load_detector
    return load_detector(weights)
"""
SECRET = "s3cr3t-of-the-test"
EMPTY = ("layout=file", "layout.path=empty.yaml")
"""For a command that has nothing to do."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder with a module that leaves a mark when it is imported, and a secret in the environment."""
    (tmp_path / f"{EVIL}.py").write_text(_CODE)
    (tmp_path / "mine.yaml").write_text(f"_target_: {EVIL}.build\n")
    (tmp_path / "empty.yaml").write_text("[]\n")
    monkeypatch.setenv("DETINV_SECRET", SECRET)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop(EVIL, None)


def contents(folder: Path) -> dict[str, bytes | None]:
    """All that lies in a folder, by path; None for what is no file."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def composed() -> dict[tuple[str, ...], DictConfig]:
    """What words were composed to in the tests of one file; garbage collection would walk through that of all files."""
    return {}


@pytest.fixture
def refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    composed: dict[tuple[str, ...], DictConfig],
) -> Callable[..., str]:
    """Runs a command in an empty folder of its own; what it says on being refused."""
    monkeypatch.chdir(tmp_path)
    compose_config = execute.compose_config

    def remembered(command: str, overrides: Sequence[str] = (), *rest: Any) -> DictConfig:
        """Composed of the same words it is the same; what lies in a file may differ."""
        if any(word.startswith(_DIFFERING) for word in overrides):
            return compose_config(command, overrides, *rest)
        words = (command, *overrides)
        if words not in composed:
            composed[words] = compose_config(command, overrides, *rest)
        return copy.deepcopy(composed[words])

    def build_once(entries: DictConfig) -> AbstractDetector:
        """The bundled detector is frozen, so the same for all."""
        if OmegaConf.to_container(entries) != _BUNDLED:
            return build_detector(entries)
        if not _built:
            _built.append(build_detector(entries))
        return _built[0]

    monkeypatch.setattr(execute, "compose_config", remembered)
    monkeypatch.setattr(invert, "build_detector", build_once)
    monkeypatch.setattr(detect, "build_detector", build_once)

    def call(*words: str, naming: str | tuple[str, ...] = ()) -> str:
        before = contents(tmp_path)
        status = cli.main(words)
        told = capsys.readouterr()
        assert (status, told.out) == (2, ""), told
        assert told.err.startswith("detinv: ") and told.err.endswith("\n") and len(told.err) <= _LONGEST
        line = told.err.removesuffix("\n")
        assert line.isprintable(), line
        for part in (naming,) if isinstance(naming, str) else naming:
            assert part in line, line
        assert contents(tmp_path) == before
        return line

    return call


# An image may have 89 megapixels, and the masks of one image 2 GB.
MOST_MEMORY = 3 * 2**30
LONGEST_SECONDS = 30


def peak() -> int:
    """Most memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Surroundings:
    return Surroundings(tmp_path, monkeypatch)


@pytest.fixture
def fuzz(surroundings: Surroundings) -> Iterator[Callable[..., None]]:
    """Runs a check on many inputs, in an empty folder: none may take long, nor all together much memory."""

    def hangs(number: int, frame: object) -> None:
        raise AssertionError(f"takes longer than {LONGEST_SECONDS} seconds")

    def run(amount: int, inputs: SearchStrategy, check: Callable[[Any], None], most_memory: int = MOST_MEMORY) -> None:
        before = peak()

        # What is found is shown as it is: to make it smaller may take longer than all the rest.
        @settings(max_examples=amount, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
        @given(inputs)
        def one(value: Any) -> None:
            signal.alarm(LONGEST_SECONDS)
            try:
                check(value)
            finally:
                signal.alarm(0)

        one()
        assert peak() - before < most_memory

    earlier = signal.signal(signal.SIGALRM, hangs)
    yield run
    signal.signal(signal.SIGALRM, earlier)
