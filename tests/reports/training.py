"""A training that goes on until it is killed, on the fake GPU: ``python training.py FOLDER``.

It writes the moments around its start, and its checkpoint, to files there, each in one piece.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from wattloop.run import Run


def tell(path: Path, what: Any) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(what))
    os.replace(part, path)


def main() -> None:
    folder = Path(sys.argv[1])
    checkpoint = folder / "checkpoint.json"
    state = json.loads(checkpoint.read_text()) if checkpoint.exists() else None
    run = Run(region="FR", pue=1.2, interval_s=0.05, log_dir=folder, powercap_root=str(folder / "none"))
    asked_s = time.monotonic()
    run.start(framework="test", state=state)
    run.enter_phase("train")
    tell(folder / "began.json", {"asked_s": asked_s, "began_s": time.monotonic(), "run_id": run.id})
    while True:
        time.sleep(0.01)
        run.step()
        if run.steps_done == 20 and state is None:
            run.epoch_end()
            tell(checkpoint, run.state_dict())


if __name__ == "__main__":
    main()
