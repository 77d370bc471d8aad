"""CUDA's documented rules, one by one."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattloop.meters.visible import Board, order_doubt, torch_uuids, visible_gpus

UUIDS = ("GPU-aa11", "GPU-aa22", "GPU-bb33", "GPU-cc44")
BOARDS = [Board(i, uuid, "NVIDIA H100", f"00000000:{i + 1:02X}:00.0") for i, uuid in enumerate(UUIDS)]
MIXED = [Board(0, "GPU-old", "NVIDIA T4", "00000000:01:00.0"), Board(1, "GPU-new", "NVIDIA H100", "00000000:02:00.0")]
PARTED = [
    Board(0, "GPU-aa11", "NVIDIA A100", "00000000:01:00.0", ("MIG-1111", "MIG-1122")),
    Board(1, "GPU-bb22", "NVIDIA A100", "00000000:02:00.0"),
]


def visible(text: str, boards: list[Board] = BOARDS) -> list[str]:
    return [gpu.uuid for gpu in visible_gpus({"CUDA_VISIBLE_DEVICES": text}, boards)]


def test_all_boards_where_the_variable_is_not_set() -> None:
    assert [gpu.uuid for gpu in visible_gpus({}, BOARDS)] == list(UUIDS)


@pytest.mark.parametrize("text", ["", " ", "-1", "NoDevFiles", "none", ",0", "4", "99999999999999999999"])
def test_none_where_the_first_entry_is_no_gpu(text: str) -> None:
    assert visible(text) == []


def test_ordinals_in_their_order() -> None:
    assert visible("2,0") == ["GPU-bb33", "GPU-aa11"]


@pytest.mark.parametrize("text", ["1x,2", " 1, 2", "1abc,2 and more", "+1,2"])
def test_an_integer_prefix_counts(text: str) -> None:
    assert visible(text) == ["GPU-aa22", "GPU-bb33"]


@pytest.mark.parametrize("text", ["3,1,-1,0", "3,1,4,0", "3,1,,0", "3,1,x,0", "3,1,GPU-aa11,0"])
def test_parsing_stops_at_the_first_invalid_entry(text: str) -> None:
    assert visible(text) == ["GPU-cc44", "GPU-aa22"]


@pytest.mark.parametrize("text", ["0,1,0", "GPU-bb33,GPU-bb33", "GPU-bb33,GPU-bb", "0,00"])
def test_a_gpu_named_twice_leaves_none(text: str) -> None:
    assert visible(text) == []


def test_a_repetition_behind_an_invalid_entry_is_not_seen() -> None:
    assert visible("0,-1,0") == ["GPU-aa11"]


def test_uuids_may_be_abbreviated_while_unambiguous() -> None:
    assert visible("GPU-c,GPU-aa2") == ["GPU-cc44", "GPU-aa22"]
    assert visible("GPU-c,GPU-aa,GPU-bb33") == ["GPU-cc44"]
    assert visible("GPU-dd") == []


def test_ordinals_count_along_the_bus() -> None:
    assert visible("0", BOARDS[::-1]) == ["GPU-aa11"]


@pytest.mark.parametrize(
    "text", ["MIG-1122", "MIG-1111,MIG-1122", "MIG-GPU-aa11/7/0", "MIG-GPU-aa11/7/0,MIG-GPU-aa11/8/0"]
)
def test_slices_give_their_board_once_and_shared(text: str) -> None:
    (gpu,) = visible_gpus({"CUDA_VISIBLE_DEVICES": text}, PARTED)
    assert (gpu.uuid, gpu.shared) == ("GPU-aa11", True)


@pytest.mark.parametrize("text", ["MIG-99", "MIG-11", "MIG-GPU-zz/1/0", "MIG-1111,MIG-1111"])
def test_slices_that_are_not_there_or_named_twice(text: str) -> None:
    assert visible(text, PARTED) == []


def test_a_whole_board_is_not_shared_and_a_partitioned_one_is() -> None:
    assert [(gpu.uuid, gpu.shared) for gpu in visible_gpus({}, PARTED)] == [("GPU-aa11", True), ("GPU-bb22", False)]


@pytest.mark.parametrize(
    ("environ", "boards", "doubt"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0"}, MIXED, True),
        ({"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, MIXED, True),
        ({"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, MIXED, False),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, MIXED, False),
        ({"CUDA_VISIBLE_DEVICES": "GPU-old"}, MIXED, False),
        ({"CUDA_VISIBLE_DEVICES": ""}, MIXED, False),
        ({}, MIXED, False),
        ({"CUDA_VISIBLE_DEVICES": "0"}, BOARDS, False),
    ],
)
def test_doubt_only_where_the_order_decides(environ: dict[str, str], boards: list[Board], doubt: bool) -> None:
    assert ("CUDA_DEVICE_ORDER=PCI_BUS_ID" in order_doubt(environ, boards)) is doubt


def test_torch_decides_where_it_names_these_boards() -> None:
    environ = {"CUDA_VISIBLE_DEVICES": "0"}
    assert [gpu.uuid for gpu in visible_gpus(environ, MIXED, ["GPU-new"])] == ["GPU-new"]
    assert [gpu.uuid for gpu in visible_gpus(environ, MIXED, ["GPU-elsewhere"])] == ["GPU-old"]
    assert [gpu.shared for gpu in visible_gpus({}, PARTED, ["GPU-1122"])] == [True]
    assert visible_gpus({}, MIXED, []) == ()


entries = st.sampled_from(["0", "1", "3", "4", "-1", "x", "GPU-aa11", "GPU-c", "MIG-"])


@given(st.one_of(st.text(), st.lists(entries).map(",".join)))
def test_any_text_gives_boards_of_the_host_each_once(text: str) -> None:
    found = visible(text)
    assert len(found) == len(set(found))
    assert set(found) <= set(UUIDS)


@given(st.permutations(range(4)), st.integers(0, 4))
def test_distinct_ordinals_give_just_those_boards(order: list[int], count: int) -> None:
    named = order[:count]
    assert visible(",".join(map(str, named))) == [UUIDS[i] for i in named]


def fake_torch(monkeypatch: pytest.MonkeyPatch, uuids: list[str], initialized: bool = True) -> None:
    cuda = SimpleNamespace(
        is_initialized=lambda: initialized,
        device_count=lambda: len(uuids),
        get_device_properties=lambda i: SimpleNamespace(uuid=uuids[i]),
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))


def test_torch_uuids_are_written_as_nvml_writes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_torch(monkeypatch, ["aa11-22", "GPU-bb33-44"])
    assert torch_uuids() == ("GPU-aa11-22", "GPU-bb33-44")


def test_torch_is_not_asked_before_it_has_initialised_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_torch(monkeypatch, ["aa11"], initialized=False)
    assert torch_uuids() is None
    monkeypatch.delitem(sys.modules, "torch")
    assert torch_uuids() is None
    assert "torch" not in sys.modules


def test_an_old_torch_without_uuids_is_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_torch(monkeypatch, ["aa11"])
    monkeypatch.setattr(sys.modules["torch"].cuda, "get_device_properties", lambda i: SimpleNamespace())
    assert torch_uuids() is None
