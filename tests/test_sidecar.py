"""The file that holds a run's state where a framework's backups have no place for it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest

from test_journal import disk_of
from wattloop.footprint import Totals
from wattloop.sidecar import KEPT, Sidecar
from wattloop.state import State
from wattloop.units import J_PER_KWH


def state(spent_j: float, **more: Any) -> dict[str, Any]:
    about = {"version": 1, "run_id": "r1", "epochs": 1, "epoch_start": Totals(), "phases_j": {"train": spent_j}}
    return msgspec.to_builtins(State(**{**about, "totals": Totals(gpu_j=spent_j), "uncertainty_kwh": 0.0, **more}))


def spent_j(loaded: dict[str, Any] | None) -> float:
    assert loaded is not None
    return loaded["totals"]["gpu_j"]


@pytest.fixture
def sidecar(tmp_path: Path) -> Sidecar:
    return Sidecar(tmp_path / "new folder" / "state.json", durable=True)


def again(sidecar: Sidecar) -> Sidecar:
    """Return what another process would have."""
    return Sidecar(sidecar.path, durable=True)


def test_what_is_saved_comes_back_for_the_same_moment(sidecar: Sidecar) -> None:
    assert sidecar.load(1, 0, exactly=True) is None
    sidecar.save(1, 0, state(10.0))
    sidecar.save(2, 0, state(20.0, journal="a record"))
    assert again(sidecar).load(2, 0, exactly=True) == state(20.0, journal="a record")
    assert again(sidecar).load(3, 0, exactly=True) is None
    assert again(sidecar).load(2, 5, exactly=True) is None
    assert [path.name for path in Path(sidecar.path).parent.iterdir()] == ["state.json"]


def test_of_a_moment_it_does_not_know_the_last_state_will_do_where_a_backup_vouches_for_it(sidecar: Sidecar) -> None:
    sidecar.save(1, 0, state(10.0))
    sidecar.save(2, 0, state(20.0))
    assert spent_j(again(sidecar).load(0, 17, exactly=False)) == 20.0


@pytest.mark.parametrize("journal", [None, "a record"])
def test_a_backup_older_than_the_last_state_makes_what_came_after_it_lost(
    sidecar: Sidecar, journal: str | None
) -> None:
    sidecar.save(1, 0, state(10.0, journal=journal))
    sidecar.save(2, 0, state(25.0, journal=journal, uncertainty_kwh=3 / J_PER_KWH))
    loaded = again(sidecar).load(1, 0, exactly=False)
    assert loaded is not None
    if journal is None:
        assert spent_j(loaded) == 25.0
        assert loaded["lost"]["gpu_j"] == 15.0
        assert loaded["phases_j"] == {"train": 10.0, "lost": 15.0}
        assert loaded["uncertainty_kwh"] * J_PER_KWH == pytest.approx(3)
    else:
        # The record knows better.
        assert loaded == state(10.0, journal=journal)


def test_states_after_the_one_gone_on_from_are_forgotten(sidecar: Sidecar) -> None:
    for epoch in range(1, 4):
        sidecar.save(epoch, 0, state(10.0 * epoch, journal="a record"))
    resumed = again(sidecar)
    resumed.load(1, 0, exactly=True)
    resumed.save(2, 0, state(50.0, journal="a record"))
    assert spent_j(again(sidecar).load(2, 0, exactly=True)) == 50.0
    assert again(sidecar).load(3, 0, exactly=True) is None


def test_it_does_not_grow(sidecar: Sidecar) -> None:
    for epoch in range(3 * KEPT):
        sidecar.save(epoch, 0, state(1.0))
        if epoch == KEPT:
            size = Path(sidecar.path).stat().st_size
    assert Path(sidecar.path).stat().st_size <= size + 100


@pytest.mark.parametrize(
    "content", [b"", b"[", b"{}", b'[{"epoch": 1}]', b"\xff\xfe", b'[{"epoch":1,"batch":0,"state":{}}]']
)
def test_a_damaged_file_costs_one_warning(sidecar: Sidecar, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    sidecar.save(1, 0, state(1.0))
    Path(sidecar.path).write_bytes(content)
    with caplog.at_level(logging.WARNING, "wattloop"):
        assert sidecar.load(1, 0, exactly=False) is None
    assert len(caplog.records) == 1


def test_a_full_disk_costs_one_warning_and_leaves_what_was_saved(
    sidecar: Sidecar, caplog: pytest.LogCaptureFixture
) -> None:
    sidecar.save(1, 0, state(1.0))
    with caplog.at_level(logging.WARNING, "wattloop"), disk_of(100):
        sidecar.save(2, 0, state(2.0))
        sidecar.save(3, 0, state(3.0))
    assert len(caplog.records) == 1
    assert spent_j(again(sidecar).load(1, 0, exactly=True)) == 1.0
    assert [path.name for path in Path(sidecar.path).parent.iterdir()] == ["state.json"]
    sidecar.save(4, 0, state(4.0))
    assert spent_j(again(sidecar).load(4, 0, exactly=True)) == 4.0


def test_forgetting_deletes_it(sidecar: Sidecar) -> None:
    sidecar.save(1, 0, state(1.0))
    sidecar.forget()
    sidecar.forget()
    assert sidecar.load(1, 0, exactly=False) is None
