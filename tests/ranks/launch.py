"""Starts jobs of several ranks, and reads back what each rank wrote."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
TIMEOUT_S = 240.0
"""A job that is not done by then hangs, on however slow a machine."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the environment of a rank: it finds the tests' modules, and none of the ranks the tests may run under."""
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    mine = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    return {**mine, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **(extra or {})}


def torchrun(
    world: int, *arguments: str, nnodes: int = 1, endpoint: str = "localhost:0", more: Sequence[str] = ()
) -> list[str]:
    """Give the command of a job of `world` ranks on each of `nnodes` hosts."""
    options = [f"--nnodes={nnodes}", f"--nproc-per-node={world}", "--rdzv-backend=c10d", f"--rdzv-endpoint={endpoint}"]
    return [sys.executable, "-m", "torch.distributed.run", *options, *more, *arguments]


class Started:
    """A process with all that it starts, which ends with the block."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], output: Path) -> None:
        self._output = output
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *args: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def finish(self, timeout_s: float = TIMEOUT_S) -> str:
        """Wait for its good end, and return what it printed."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it hangs:\n{self.printed}") from None
        assert code == 0, self.printed
        return self.printed

    @property
    def printed(self) -> str:
        return self._output.read_text(errors="replace")


def told(folder: Path, world: int) -> list[dict[str, Any]]:
    """Read what each rank wrote."""
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(world)]
