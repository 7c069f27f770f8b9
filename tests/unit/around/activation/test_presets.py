"""Choices become variables that the installed torch takes."""

from __future__ import annotations

import pytest

from envforge.around.activation import presets
from envforge.errors import InvalidValue
from envforge.model.activation import ALLOCATORS, ActivationRecord, Choices
from envforge.verify import allocator

RELEASES = [(1, minor) for minor in range(8, 14)] + [(2, minor) for minor in range(16)]


def test_nothing_is_chosen_for_nobody() -> None:
    assert presets.variables(Choices(), (2, 7), has_cuda=True) == {"PYTHONNOUSERSITE": "1"}


@pytest.mark.parametrize("choice", ALLOCATORS[1:])
@pytest.mark.parametrize("torch", RELEASES)
def test_an_allocator_is_one_that_this_torch_takes(choice: str, torch: tuple[int, int]) -> None:
    """By the table that `verify` judges with: name, options and values."""
    if torch < ((2, 1) if choice == "expandable" else (1, 12)):
        with pytest.raises(InvalidValue, match=rf"{torch[0]}\.{torch[1]} is installed"):
            presets.variables(Choices(allocator=choice), torch, has_cuda=True)
        return
    found = presets.variables(Choices(allocator=choice), torch, has_cuda=True)
    name = "PYTORCH_ALLOC_CONF" if torch >= allocator.RENAMED else "PYTORCH_CUDA_ALLOC_CONF"
    assert list(allocator.problems(allocator.read(found[name]), torch)) == []
    assert len([key for key in found if "ALLOC" in key]) == 1


@pytest.mark.parametrize(("torch", "has_cuda"), [(None, True), ((2, 7), False)])
def test_without_cuda_there_is_no_allocator_to_choose(
    torch: tuple[int, int] | None, has_cuda: bool
) -> None:
    with pytest.raises(InvalidValue, match="no CUDA build"):
        presets.variables(Choices(allocator="expandable"), torch, has_cuda=has_cuda)


def test_determinism_and_threads() -> None:
    chosen = Choices(deterministic=True, threads="4")
    on_gpu = presets.variables(chosen, (2, 7), has_cuda=True)
    on_cpu = presets.variables(chosen, (2, 7), has_cuda=False)

    assert on_gpu["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert "CUBLAS_WORKSPACE_CONFIG" not in on_cpu
    assert on_cpu["PYTHONHASHSEED"] == "0"
    assert on_cpu["OMP_NUM_THREADS"] == on_cpu["TORCHINDUCTOR_COMPILE_THREADS"] == "4"


@pytest.mark.parametrize("text", ["", "0", "-1", "4097", "1.5", "many", "٣", "1 "])
def test_threads_that_are_none(text: str) -> None:
    with pytest.raises(InvalidValue):
        presets.threads(text)


def test_threads_as_typed() -> None:
    assert [presets.threads(text) for text in ("auto", "off", "08")] == ["auto", "off", "8"]


def test_what_others_set_is_theirs() -> None:
    record = ActivationRecord(written={"A": ("1", "2"), "B": ("1",)})
    present = {"A": "2", "B": "theirs", "C": "theirs", "D": "locked", "E": "same"}
    wanted = dict.fromkeys("ABCDEF", "new") | {"E": "same"}

    ours, kept = presets.merged(wanted, present, record, frozenset({"D"}))

    assert ours == {"A": "new", "F": "new"}
    assert kept == ("B", "C", "D")
