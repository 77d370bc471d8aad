"""Ranks that Lightning starts itself: children of the first rank, spawned, or forked in a notebook."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fakes.nvml import environment as with_gpus
from ranks.launch import Started, environment, told
from wattloop.meters.modelled import design_power

pytest.importorskip("lightning")

WATTS = 300.0
INTERVAL_S = 0.05


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn", "ddp_notebook"])
def test_ranks_stop_at_the_same_step_and_count_gpus_and_load_once(tmp_path: Path, strategy: str) -> None:
    script = Path(__file__).with_name("lightning_script.py")
    env = with_gpus("devices=2;d0.profile=constant:100;d1.profile=constant:200", environment())
    with Started([sys.executable, str(script), strategy, str(tmp_path)], env, tmp_path / "output") as started:
        printed = started.finish()
    ranks = told(tmp_path, 2)
    (step,) = {rank["step"] for rank in ranks}
    assert 0 < step < 2000
    assert list(tmp_path.rglob(f"budget-step={step}.ckpt"))
    assert "sync_dist" not in printed

    # Both ranks see both GPUs: the first counts them.
    least_j = WATTS * (ranks[0]["last_step_s"] - ranks[0]["after_start_s"] - INTERVAL_S)
    most_j = WATTS * (max(rank["end_s"] for rank in ranks) - ranks[0]["before_start_s"])
    assert all(least_j <= rank["gpu_j"] <= most_j for rank in ranks)

    # Their load is modelled, by each rank for itself, but under ddp the second is a child of the first.
    assert (ranks[1]["pids"][0] == ranks[0]["pids"][1]) is (strategy == "ddp")
    w_per_cpu = design_power(os.cpu_count() or 1).watts / (os.cpu_count() or 1)
    assert (ranks[1]["own_cpu_j"] == 0.0) is (strategy == "ddp")
    assert ranks[0]["own_cpu_j"] > 0.0
    # Of what was used since the start. Systems count CPU time in steps of 10 ms, and may count late.
    least_s = 0.75 * sum(rank["cpu_s"] for rank in ranks)
    most_s = (os.cpu_count() or 1) * (max(rank["end_s"] for rank in ranks) - ranks[0]["before_start_s"])
    assert least_s <= ranks[0]["cpu_j"] / w_per_cpu <= most_s


def test_a_checkpoint_that_the_first_rank_cannot_save_leaves_no_rank_waiting(tmp_path: Path) -> None:
    """Only that rank tries, and the others wait for it in Lightning's own barrier behind."""
    script = Path(__file__).with_name("lightning_script.py")
    env = with_gpus("devices=2;d0.profile=constant:100;d1.profile=constant:200", environment())
    with Started([sys.executable, str(script), "ddp", str(tmp_path), "full"], env, tmp_path / "output") as started:
        printed = started.finish()
    assert printed.count("could not be saved") == 1
    ranks = told(tmp_path, 2)
    (step,) = {rank["step"] for rank in ranks}
    assert 0 < step < 2000
