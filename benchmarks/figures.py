"""How benchmarks write their figures to a file."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any


def save(path: Path | None, rows: Iterable[Any], **about: Any) -> None:
    """Write rows, dataclasses or mappings, and on what they were measured; without a path, nothing."""
    if path is None:
        return
    plain = [row if isinstance(row, Mapping) else asdict(row) for row in rows]
    machine = {"python": platform.python_version(), "cpus": os.cpu_count(), "load": os.getloadavg()[0]}
    path.write_text(json.dumps({"about": {**machine, **about}, "rows": plain}, indent=1) + "\n")
