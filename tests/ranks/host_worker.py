"""One rank of a job over several hosts; the CPUs of each draw what its first rank says, at every step."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path

import torch.distributed as dist

from fakes.powercap import Powercap, Zone
from ranks.worker import options
from wattloop import Budget, track

RANK, LOCAL_RANK, HOST = (int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "GROUP_RANK"))
CPU_J = [[1.0, 0.1], [2.0, 0.2]]
"""What the package and the memory of each host draw in a step, in joules."""
STEPS, STEP_S = 100, 0.01


def draw(zone: Zone, joules: float) -> None:
    """Let a counter rise in one piece, as the kernel's does: the ranks read it all the time."""
    zone.energy_uj += round(joules * 1e6)
    written = zone.path / "written"
    written.write_text(f"{zone.energy_uj}\n")
    written.replace(zone.path / "energy_uj")


def main() -> None:
    folder = Path(sys.argv[1])
    dist.init_process_group("gloo")
    root = folder / f"powercap{HOST}"
    zones = None
    if LOCAL_RANK == 0:
        _, zones = Powercap.intel_server(root, sockets=1)
    dist.barrier()
    run = track(**options(folder, powercap_root=str(root), budget=Budget(kwh=1.0)))
    before_start_s = time.monotonic()
    with run:
        after_start_s = time.monotonic()
        for _ in run.steps(range(STEPS)):
            time.sleep(STEP_S)
            if zones is not None:
                draw(zones["package-0"], CPU_J[HOST][0])
                draw(zones["dram-0"], CPU_J[HOST][1])
        last_step_s = time.monotonic()
    told = {
        "host": platform.node(),
        "gpu_j": run.totals.gpu_j,
        "cpu_j": run.totals.cpu_j,
        "steps": run.steps_done,
        "before_start_s": before_start_s,
        "after_start_s": after_start_s,
        "last_step_s": last_step_s,
        "end_s": time.monotonic(),
    }
    (folder / f"rank{RANK}.json").write_text(json.dumps(told))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
