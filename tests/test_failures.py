"""What is left out of a batch, and what no memory looks like."""

import errno

import numpy as np
import pytest

from napari_defectstrain.failures import Failure, Failures, is_out_of_memory, reason_of, said_once
from napari_defectstrain.types import Cancelled, DefectStrainError


def torch_without_memory() -> Exception:
    import torch

    try:
        torch.empty(2**50, dtype=torch.float64)
    except RuntimeError as error:
        return error
    raise AssertionError("there was memory")


def numpy_without_memory() -> Exception:
    try:
        np.empty(2**59)
    except MemoryError as error:
        return error
    raise AssertionError("there was memory")


@pytest.mark.parametrize(
    "error",
    [
        numpy_without_memory(),
        RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("MPS backend out of memory"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_no_memory_is_one_line(error):
    assert is_out_of_memory(error)
    assert "out of memory" in (reason_of(error) or "")


def test_torch_says_so_too():
    reason = reason_of(torch_without_memory())
    assert reason is not None
    assert "out of memory" in reason


def test_failures_are_named_and_the_rest_goes_on():
    failures = Failures()
    left = []
    for name in ("a", "b", "c"):
        with failures.left_out(name):
            if name == "b":
                raise DefectStrainError("b.tif: no\n lattice")
            left.append(name)
    failures.check_any_left(left)
    assert left == ["a", "c"]
    assert failures.found == [Failure("b", "b.tif: no lattice")]
    assert str(failures.found[0]) == "b.tif: no lattice"
    assert str(Failure("a", "damaged")) == "a: damaged"


@pytest.mark.parametrize("error", [Cancelled(), KeyError("x"), RuntimeError("a mistake of ours")])
def test_mistakes_and_stops_go_through(error):
    failures = Failures()
    with pytest.raises(type(error), match="^$|x|ours"), failures.left_out("a"):
        raise error
    assert failures.found == []


def test_strict_raises_the_first():
    with pytest.raises(DefectStrainError, match="no lattice"), Failures(strict=True).left_out("a"):
        raise DefectStrainError("no lattice")


def test_nothing_left_is_an_error_with_the_reasons():
    failures = Failures()
    failures.check_any_left([])
    for name in "ab":
        with failures.left_out(name):
            raise DefectStrainError(f"{name}: damaged")
    with pytest.raises(DefectStrainError, match="none of 2 images can be used: a: dam.*; b: dam"):
        failures.check_any_left([])


def test_what_is_the_same_for_many_is_said_once():
    failures = Failures()
    for name in ("a", "b", "c"):
        with failures.left_out(name):
            raise DefectStrainError("b.tif: torn" if name == "b" else "device: got 'cuda'")
    assert said_once(failures.found) == ["a, c: device: got 'cuda'", "b.tif: torn"]
    with pytest.raises(DefectStrainError) as raised:
        failures.check_any_left([])
    assert str(raised.value).count("device") == 1
