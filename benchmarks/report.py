"""What ``wattloop report`` takes over a thousand records of a thousand lines, in seconds and in memory.

Run it with ``python -m tox run -e bench-report``, or, where wattloop and its command line are installed, with::

    python benchmarks/report.py [--journals 1000] [--lines 1000] [--repeat 3] [--json FILE]

The records are those of eight-GPU runs, a line every five seconds, an epoch every ten lines; one in ten was killed, one
in ten was resumed once. Each way of reporting is a process of its own, as a user starts it, timed from its start to its
end, Python's included; its memory is the most that it ever held. Beside it stands what decoding the same lines takes in
a process that does nothing else. It exits with 1 where a report takes more than 10 s or 300 MB.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import msgspec
from figures import save

from wattloop.footprint import Totals
from wattloop.grid.intensity import Intensity
from wattloop.journal import End, Epoch, Record, Start, Tick

MOST_S, MOST_MB = 10.0, 300.0
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
TICK_S = 5.0
SOURCE = "France 2024: Ember via Our World in Data, CC BY 4.0 (life-cycle, production-based, average)"
GPUS = [f"GPU-{number:08x}-0000-0000-0000-000000000000" for number in range(8)]
KEYS = [
    *(f"energy/{name}" for name in ("kwh", "gpu_kwh", "cpu_kwh", "epoch_kwh", "measured_fraction")),
    *("power/watts", "emissions/kg_co2e", "emissions/epoch_kg_co2e", "grid/g_co2e_per_kwh"),
    *(f"forecast/{name}{end}" for name in ("kwh", "kg_co2e") for end in ("", "_low", "_high")),
]
WAYS = {"table": [], "--json": ["--json"], "--csv": ["--csv"], "--latex": ["--latex"]}
RUN = "import sys; sys.argv[0] = 'wattloop'; from wattloop.cli import main; main()"
DECODE = """
import sys, msgspec
from wattloop.journal import Record
decode = msgspec.json.Decoder(Record).decode
for path in sys.argv[1:]:
    with open(path, "rb") as lines:
        for line in lines:
            decode(line)
"""


def record(folder: Path, number: int, lines: int) -> None:
    """Write the record of a run."""
    rng = random.Random(number)
    run_id = f"{BEGIN:%Y%m%dT%H%M%S}-{number:06x}"
    killed, resumed = number % 10 == 1, number % 10 == 2
    first = Start(
        time=BEGIN,
        run_id=run_id,
        version="0.1.0",
        framework="lightning",
        host="node1",
        region="FR",
        g_co2e_per_kwh=44.179,
        intensity_source=SOURCE,
        pue=1.1,
        budget=None,
        spent_before=Totals(),
        interval_s=6.0,
        hosts=("node1",),
    )
    records: list[Record] = [first]
    totals = spent = Totals()
    session = 1
    while len(records) < lines - (not killed):
        count = len(records)
        now = BEGIN + timedelta(seconds=TICK_S * count)
        gpu_j, cpu_j = TICK_S * rng.uniform(2400, 5600), TICK_S * rng.uniform(100, 400)
        kg = 1.1 * (gpu_j + cpu_j) / 3.6e6 * 0.044179
        totals += Totals(round(gpu_j, 3), round(cpu_j, 3), 0.0, 0.5, round(kg, 9), TICK_S, 8 * TICK_S)
        if resumed and count == lines // 2:
            session = 2
            records.append(msgspec.structs.replace(first, time=now, session=2, spent_before=totals))
        elif count % 10 == 0:
            metrics = {key: rng.random() for key in KEYS}
            records.append(
                Epoch(
                    time=now,
                    epoch=count // 10,
                    step=100 * count,
                    spent=totals - spent,
                    totals=totals,
                    uncertainty_kwh=rng.random() / 1000,
                    metrics=metrics,
                )
            )
            spent = totals
        else:
            records.append(
                Tick(
                    time=now,
                    step=100 * count,
                    phase="train",
                    totals=totals,
                    g_co2e_per_kwh=44.179,
                    uncertainty_kwh=round(rng.random() / 1000, 9),
                    session=session,
                    channels=dict.fromkeys(GPUS, "counter") if count == 1 else None,
                    intensity=Intensity(44.179, SOURCE) if count == 1 else None,
                )
            )
    if not killed:
        records.append(
            End(
                time=BEGIN + timedelta(seconds=TICK_S * lines),
                step=100 * lines,
                status="finished",
                totals=totals,
                uncertainty_kwh=0.001,
                phases_j={"train": totals.energy_j},
                channels_j=dict.fromkeys(GPUS, totals.gpu_j / 8),
                session=session,
            )
        )
    encode = msgspec.json.Encoder().encode
    (folder / f"wattloop-{run_id}.jsonl").write_bytes(b"".join(encode(one) + b"\n" for one in records))


def timed(command: list[str]) -> tuple[float, float]:
    """Run a command; return the seconds it took and the most memory it held, in MB."""
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[:4]} ended with {process.returncode}")
    return time.perf_counter() - begin, usage.ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--journals", type=int, default=1000)
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(options.journals):
            record(folder, number, options.lines)
        paths = sorted(map(str, folder.iterdir()))
        size_mb = sum(os.path.getsize(path) for path in paths) / 1e6
        print(f"{options.journals} records of {options.lines} lines, {size_mb:.0f} MB, {options.repeat} times each")
        commands = {"decoding alone": [sys.executable, "-c", DECODE, *paths]}
        for way, arguments in WAYS.items():
            commands[way] = [sys.executable, "-c", RUN, "report", str(folder), *arguments]
        rows, slow = [], False
        print(f"{'':16}{'best, s':>10}{'median, s':>11}{'peak, MB':>10}")
        for what, command in commands.items():
            took = [timed(command) for _ in range(options.repeat)]
            seconds, peak_mb = [each[0] for each in took], max(each[1] for each in took)
            rows.append({"what": what, "seconds": seconds, "peak_mb": peak_mb})
            print(f"{what:16}{min(seconds):10.2f}{median(seconds):11.2f}{peak_mb:10.0f}", flush=True)
            slow = slow or (what in WAYS and (median(seconds) > MOST_S or peak_mb > MOST_MB))
    save(options.json, rows, size_mb=size_mb)
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
