"""The bar counts the steps of all batches, however they are divided and wherever they began."""

import io
from collections.abc import Sequence
from unittest.mock import Mock

import pytest
import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.progress import Progress

from detinv.inversion import job
from detinv.inversion.callbacks.progress import StepProgress
from detinv.inversion.modules.base import AbstractPixelModule
from detinv.inversion.run import invert
from detinv.layouts.layout import Layout
from tests.fakes import tiny_detector


@pytest.fixture
def display(monkeypatch) -> Progress:
    display = Progress(disable=True)
    monkeypatch.setattr(job, "step_progress", lambda: display)
    return display


def run(count: int, batch_size: int) -> None:
    layouts = [Layout(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (64, 64), str(k)) for k in range(count)]
    options = {"steps": 2, "trainer": {"accelerator": "cpu"}}
    invert(tiny_detector("retinanet"), layouts, batch_size=batch_size, **options)


def test_a_bar_is_full_at_the_end(display):
    run(3, 2)
    (task,) = display.tasks
    assert (task.completed, task.total) == (4, 4)


def test_a_batch_halved_for_memory_counts_as_two(display, monkeypatch):
    fit, totals = job.fit_batch, []

    def cramped(ensemble, layouts: Sequence, *others):
        totals.append(display.tasks[0].total)
        module = fit(ensemble, layouts, *others)
        if len(layouts) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return module

    monkeypatch.setattr(job, "fit_batch", cramped)
    run(4, 4)
    assert totals == [2, 4, 4]
    assert display.tasks[0].completed == 4, "steps of the batch that failed do not count"


def test_a_resumed_batch_begins_where_it_stopped():
    display = Progress(disable=True)
    bar = StepProgress(display, "inverting", 10)
    bar.begin_batch(1, 2)
    bar.after_step(Mock(spec=pl.Trainer), Mock(spec=AbstractPixelModule), 6)
    (task,) = display.tasks
    assert (task.completed, task.total) == (17, 30)


@pytest.mark.parametrize(("terminal", "every", "lines"), [(False, 0.0, 3), (False, 3600.0, 0), (True, 0.0, 0)])
def test_without_a_terminal_a_line_appears_now_and_then(terminal, every, lines):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80)
    bar = StepProgress(Progress(console=console), "inverting", 10, every)
    bar.begin_batch(1, 2)
    for step in range(3):
        bar.after_step(Mock(spec=pl.Trainer), Mock(spec=AbstractPixelModule), step)
    said = console.file.getvalue().splitlines()
    assert len(said) == lines
    if lines:
        assert said[-1] == "inverting: 13 of 30 steps, about 0 s left"
