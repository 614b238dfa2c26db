"""Which errors say that memory ran out."""

from pathlib import Path

import pytest
import torch

from detinv.cli import main
from detinv.runtime.memory import is_out_of_memory, release_memory
from tests.sweeps.stand_ins import stand_in


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED"),
        RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        RuntimeError("std::bad_alloc"),
    ],
    ids=str,
)
def test_messages_of_exhausted_memory(error: BaseException):
    assert is_out_of_memory(error)
    wrapped = RuntimeError("backend='inductor' raised")
    wrapped.__cause__ = error
    assert is_out_of_memory(wrapped)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED"),
        ValueError("the layout is out of memory"),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_other_errors(error: BaseException):
    assert not is_out_of_memory(error)


def test_cycles_are_freed():
    import weakref

    class Node:
        pass

    node = Node()
    node.itself = node
    alive = weakref.ref(node)
    del node
    release_memory()
    assert alive() is None


@pytest.mark.parametrize(
    ("command", "advice"), [("invert", "a smaller batch_size than 16, fewer"), ("attribute", "choose fewer or smaller")]
)
def test_a_command_that_memory_does_not_suffice_for_ends_with_advice_in_one_line(
    command: str, advice: str, monkeypatch, capsys, tmp_path: Path
):
    def run(config, build):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nSee the documentation")

    stand_in(monkeypatch, command, run)
    assert main([command, f"out_dir={tmp_path}"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("detinv: memory does not suffice: CUDA out of memory. Tried to allocate 2 GiB; choose ")
    assert advice in told and told.count("\n") == 1


def test_other_errors_of_a_command_keep_their_traceback(monkeypatch, tmp_path: Path):
    def run(config, build):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    stand_in(monkeypatch, "invert", run)
    with pytest.raises(RuntimeError, match="mat1"):
        main(["invert", f"out_dir={tmp_path}"])
