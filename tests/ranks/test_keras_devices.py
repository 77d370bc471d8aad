"""Keras on jax: several devices are one process, which measures them all, and several processes are one job."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from ranks.launch import Started, environment, told
from wattloop.ranks import CADENCE_STEPS

pytest.importorskip("keras")
pytest.importorskip("jax")

BUDGET_S, INTERVAL_S = 1.0, 0.1
WAKING_S = 0.1
"""How long a busy machine may keep a sampler's thread waiting."""


def script(name: str) -> str:
    return str(Path(__file__).with_name(name))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("devices")
    env = environment({"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_force_host_platform_device_count=4"})
    with Started([sys.executable, script("keras_script.py"), str(folder)], env, folder / "output") as started:
        started.finish()
    return folder


def check(rank: dict[str, Any], watts: float, cadence: int) -> None:
    """Hold a rank against a budget of `BUDGET_S` seconds of so many watts."""
    ends_s = rank["step_ends_s"]
    assert rank["steps"] == len(ends_s)
    assert rank["end_s"] >= rank["before_start_s"] + BUDGET_S
    seen_s = rank["after_start_s"] + BUDGET_S + INTERVAL_S + WAKING_S
    assert rank["steps"] <= sum(end_s < seen_s for end_s in ends_s) + cadence
    least_j = watts * (ends_s[-1] - rank["after_start_s"] - INTERVAL_S)
    assert least_j <= rank["energy_j"] <= watts * (rank["end_s"] - rank["before_start_s"])


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_a_budget_stops_a_process_with_several_devices_soon_after_it_is_spent(trained: Path, devices: int) -> None:
    found: dict[str, Any] = json.loads((trained / f"devices{devices}.json").read_text())
    assert found["sharded_over"] == devices
    check(found, 100.0 * devices, cadence=1)


@pytest.mark.parametrize("world", [2, 4])
def test_a_budget_stops_all_processes_at_one_step_soon_after_it_is_spent(tmp_path: Path, world: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    env = environment({"KERAS_BACKEND": "jax"})
    with contextlib.ExitStack() as stack:
        started = []
        for rank in range(world):
            command = [sys.executable, script("jax_worker.py"), str(rank), str(world), address, str(tmp_path)]
            started.append(stack.enter_context(Started(command, env, tmp_path / f"output{rank}")))
        for one in started:
            one.finish()
    ranks = told(tmp_path, world)
    assert len({rank["steps"] for rank in ranks}) == len({rank["run_id"] for rank in ranks}) == 1
    assert len(list(tmp_path.glob("wattloop-*.jsonl"))) == 1
    begun = {name: [rank[name] for rank in ranks] for name in ("before_start_s", "after_start_s", "end_s")}
    for rank in ranks:
        widest = {"before_start_s": min(begun["before_start_s"]), "end_s": max(begun["end_s"])}
        check(
            {**rank, **widest, "after_start_s": max(begun["after_start_s"])}, 50.0 * world * (world + 1), CADENCE_STEPS
        )
