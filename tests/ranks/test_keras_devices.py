"""Keras on jax: several devices are one process, which measures them all."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ranks.launch import Started, environment

pytest.importorskip("keras")
pytest.importorskip("jax")

BUDGET_S, INTERVAL_S, WAKING_S = 1.0, 0.1, 0.1


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("devices")
    env = environment({"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_force_host_platform_device_count=4"})
    script = str(Path(__file__).with_name("keras_script.py"))
    with Started([sys.executable, script, str(folder)], env, folder / "output") as started:
        started.finish()
    return folder


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_a_budget_stops_a_process_with_several_devices_soon_after_it_is_spent(trained: Path, devices: int) -> None:
    told: dict[str, Any] = json.loads((trained / f"devices{devices}.json").read_text())
    assert told["sharded_over"] == devices
    ends_s, watts = told["step_ends_s"], 100.0 * devices
    assert told["steps"] == len(ends_s)
    assert ends_s[-1] >= told["before_start_s"] + BUDGET_S
    seen_s = told["after_start_s"] + BUDGET_S + INTERVAL_S + WAKING_S
    assert told["steps"] <= sum(end_s < seen_s for end_s in ends_s) + 1
    least_j = watts * (ends_s[-1] - told["after_start_s"] - INTERVAL_S)
    assert least_j <= told["energy_j"] <= watts * (told["end_s"] - told["before_start_s"])
