"""Runs that are killed at random moments and resumed: a short version of ``benchmarks/kills.py``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "kills.py"


def test_resumed_after_kills_a_run_knows_what_it_has_spent(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    command = [sys.executable, SCRIPT, "--kills", "12", "--seed", "7", "--fronts", "loop", "--quick", "--json", result]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    counts = json.loads(result.read_text())["counts"]
    assert counts["kills"] >= counts["resumes of killed runs"] >= 12
    assert counts["violations"] == 0
