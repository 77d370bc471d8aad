"""What many ranks cost: a step of training, the collective itself, the agreement at the start, and the record.

Run it where wattloop, torch and a C compiler are installed::

    python benchmarks/ranks.py [--json FILE] [--only step collective start record] [--ranks 2 4 8 16 32]

It takes some two minutes on two cores. Ranks are processes of this machine on gloo, each with a fake GPU.

* **Step**: 4 ranks (`--world`), a small network, and one all-reduce of its gradient a step, which is timed by itself.
  Blocks with and without us take turns; start and end of a run are not in them, its sampler is. "Added" is the median
  of the differences between neighbouring blocks, per step; the noise it is held against is the distance between the
  quartiles of the training's own all-reduce. With fewer cores than ranks that noise is larger than what there is to
  see, so the exchange is timed by itself, too.
* **Collective**: our sum of 18 numbers, where ranks share the machine's cores, so that most of the time is waiting for
  a core. Past the ranks that fit here it is modelled; see `model`.
* **Start**: all ranks meet and say what they see, once. What each then works out by itself is timed up to 10,000 ranks.
* **Record**: the size of what rank 0 writes, for jobs of up to 10,000 ranks.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import pickle
import socket
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from figures import save

BLOCKS = 40
BLOCK_STEPS = 20
CALLS = 60
GPUS_PER_HOST = 8
MANY = (8, 64, 512, 4096, 10_000)
HOUR_S = 3600
NETWORKS_S = {"Ethernet, 30 us a message": 30e-6, "InfiniBand, 2 us a message": 2e-6}
"""Time from one host's memory to another's: what a small message takes on TCP, and on verbs."""


@dataclass(frozen=True)
class Row:
    what: str
    value: float
    unit: str
    aim: float | None = None


# -- processes ---------------------------------------------------------------------------------------------------------


def ranks(world: int, act: Callable[[], Any]) -> list[Any]:
    """Fork so many ranks, let them act, and return what each returned."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        children = []
        for rank in range(world):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    os.environ.update(
                        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), CUDA_VISIBLE_DEVICES=str(rank % 16)
                    )
                    dist.init_process_group("gloo", rank=rank, world_size=world)
                    Path(folder, str(rank)).write_text(json.dumps(act()))
                    dist.barrier()
                    code = 0
                finally:
                    os._exit(code)
            children.append(child)
        if any(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children):
            raise SystemExit("a rank failed")
        return [json.loads(Path(folder, str(rank)).read_text()) for rank in range(world)]


# -- a step of training ------------------------------------------------------------------------------------------------


def step(world: int) -> Iterator[Row]:
    from wattloop.ranks import CADENCE_STEPS

    found = ranks(world, trained)[0]
    without, with_us = found["without"], found["with"]
    added = [on - off for on, off in zip(with_us, without, strict=True)]
    low, middle, high = quantiles(found["all_reduce"], n=4)
    noise = high - low
    yield Row(f"step without us, {world} ranks", median(without) * 1e6, "us")
    yield Row("step with us", median(with_us) * 1e6, "us")
    yield Row("training's all-reduce, median", middle * 1e6, "us")
    yield Row("  between its quartiles", noise * 1e6, "us")
    yield Row("added a step", median(added) * 1e6, "us", noise * 1e6)
    low, _, high = quantiles(added, n=4)
    yield Row("  lower quartile of blocks", low * 1e6, "us")
    yield Row("  upper quartile of blocks", high * 1e6, "us")
    exchange_s = median(found["exchange"])
    yield Row("our exchange, by itself", exchange_s * 1e6, "us")
    yield Row("  a step's share of it", exchange_s / CADENCE_STEPS * 1e6, "us", noise * 1e6)


def trained() -> dict[str, list[float]]:
    import torch
    import torch.distributed as dist

    from fakes.nvml import FakeNvml
    from wattloop import track

    torch.manual_seed(0)
    model = torch.nn.Sequential(*(torch.nn.Linear(256, 256) for _ in range(8)))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    x = torch.randn(32, 256)
    times: dict[str, list[float]] = {"without": [], "with": [], "all_reduce": [], "exchange": []}

    def one() -> None:
        optimizer.zero_grad()
        model(x).pow(2).mean().backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        begin_s = time.perf_counter()
        dist.all_reduce(gradient)
        times["all_reduce"].append(time.perf_counter() - begin_s)
        optimizer.step()

    def block(steps: Any) -> float:
        dist.barrier()
        begin_s = time.perf_counter()
        for _ in steps:
            one()
        return (time.perf_counter() - begin_s) / BLOCK_STEPS

    with FakeNvml("devices=16;profile=constant:300;refresh_s=0.02"), tempfile.TemporaryDirectory() as folder:
        block(range(BLOCK_STEPS))
        times["all_reduce"].clear()
        for number in range(BLOCKS):
            for ours in (number % 2 == 0, number % 2 == 1):
                if not ours:
                    times["without"].append(block(range(BLOCK_STEPS)))
                    continue
                kept = len(times["all_reduce"])
                with track(region="FR", total_steps=10**6, powercap_root=folder, log_dir=folder) as run:
                    times["with"].append(block(run.steps(range(BLOCK_STEPS))))
                    for _ in range(10):
                        begin_s = time.perf_counter()
                        run.check_stop()
                        times["exchange"].append(time.perf_counter() - begin_s)
                # The noise is that of training without us.
                del times["all_reduce"][kept:]
    return times


# -- the collective ----------------------------------------------------------------------------------------------------


def collective(worlds: list[int]) -> Iterator[Row]:
    from wattloop.ranks import CADENCE_STEPS
    from wattloop.share import Share

    yield Row("payload of a rank", 8.0 * len(Share.__struct_fields__), "bytes", 256.0)
    measured = {}
    for world in worlds:
        found = ranks(world, partial(summed, len(Share.__struct_fields__)))
        measured[world] = median(median(one["times"]) for one in found)
        yield Row(f"sum over {world} ranks", measured[world] * 1e6, "us")
        yield Row("  CPU of a rank", median(one["cpu"] for one in found) * 1e6, "us")
        yield Row("  share of a step", measured[world] * 1e6 / CADENCE_STEPS, "us")
        yield Row(
            "  beside an all-reduce of 2 MB", measured[world] / median(median(o["large"]) for o in found), "times"
        )
    # Least squares through the origin, of relative errors, so that the small worlds count as much as the large ones.
    ratios = [seconds / ring(world, 1.0) for world, seconds in measured.items()]
    message_s = sum(ratios) / len(ratios)
    yield Row("a message here, fitted to gloo's ring", message_s * 1e6, "us")
    for world in (256, 1024, 4096, 10_000):
        for network, latency_s in NETWORKS_S.items():
            yield Row(f"modelled: ring (gloo), {world} ranks, {network}", ring(world, latency_s) * 1e6, "us")
            yield Row(f"modelled: tree (NCCL), {world} ranks, {network}", tree(world, latency_s) * 1e6, "us")


def ring(world: int, message_s: float) -> float:
    """Time of gloo's all-reduce of a small vector: reduce-scatter and all-gather, each around the ring.

    2 (p - 1) alpha, without the terms in the size of the message (R. Thakur, R. Rabenseifner, W. Gropp, 2005,
    "Optimization of Collective Communication Operations in MPICH", Int. J. High Perform. Comput. Appl. 19(1)).
    """
    return 2 * (world - 1) * message_s


def tree(world: int, message_s: float) -> float:
    """Time of an all-reduce of a small vector by a reduction and a broadcast along a binary tree of hosts.

    2 ceil(log2 h) alpha between h hosts, and twice that of a host's own GPUs' way to it and back, taken to be as slow
    (P. Sanders, J. Speck, J. L. Träff, 2009, "Two-tree algorithms for full bandwidth broadcast, reduction and scan",
    Parallel Computing 35(12), which NCCL follows since 2.4).
    """
    hosts = max(1, world // GPUS_PER_HOST)
    return 2 * (math.ceil(math.log2(hosts)) + GPUS_PER_HOST - 1) * message_s


def summed(numbers: int) -> dict[str, Any]:
    import torch
    import torch.distributed as dist

    from wattloop.ranks_torch import TorchRanks

    job, values, gradient = TorchRanks(dist), [1.0] * numbers, torch.zeros(500_000)
    for _ in range(5):
        job.sum(values)
    dist.barrier()
    cpu_s = time.process_time()
    times = timed(partial(job.sum, values), CALLS)
    cpu_s = (time.process_time() - cpu_s) / CALLS
    dist.barrier()
    return {"times": times, "cpu": cpu_s, "large": timed(partial(dist.all_reduce, gradient), 10)}


def timed(call: Callable[[], object], times: int) -> list[float]:
    found = []
    for _ in range(times):
        begin_s = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin_s)
    return found


# -- the start ---------------------------------------------------------------------------------------------------------


def start(worlds: list[int]) -> Iterator[Row]:
    for world in worlds:
        yield Row(f"meeting and claims, {world} ranks", 1e3 * median(ranks(world, begun)), "ms")
    for world in MANY:
        found = claimed(world)
        yield Row(f"claims worked out by each of {world} ranks, 8 GPUs a host", 1e3 * found["seconds"], "ms")
        yield Row("  received by a rank, once", found["bytes"] / 1e6, "MB")
        yield Row("  held by a rank", found["held"] / 1e6, "MB")


def begun() -> float:
    import torch.distributed as dist

    from wattloop.footprint import Footprint, Totals
    from wattloop.grid.intensity import ConstantIntensity
    from wattloop.job import Job
    from wattloop.meters.base import Reading
    from wattloop.ranks_torch import TorchRanks
    from wattloop.sampler import Snapshot

    session = Footprint(ConstantIntensity(50.0, "a benchmark"))
    session.claims = {}
    gpus = range(GPUS_PER_HOST)
    session.take(Snapshot(0.0, tuple(Reading(f"GPU-{index}", "gpu", 0.0, "counter", 0.0) for index in gpus)))
    dist.barrier()
    begin_s = time.perf_counter()
    Job(TorchRanks(dist), "run", 50).exchange(session, 0, Totals(), False, None)
    return time.perf_counter() - begin_s


def claimed(world: int) -> dict[str, float]:
    """Work out the claims of a job whose ranks all see all 8 GPUs of their host, and its CPU's two packages."""
    import msgspec

    from wattloop.claims import Claims, Peer, Seen

    uuid = "GPU-{:08x}-fa4e-4000-8000-{:012x}".format
    said = []
    for rank in range(world):
        host, local = divmod(rank, GPUS_PER_HOST)
        this = Peer(
            "20260101T000000-abcdef", 50, f"node{host:05}.cluster", f"{host:036}", f"pid:[1]{rank}", ("pid:[1]1",)
        )
        channels = {uuid(host, index): ("gpu", "counter") for index in range(GPUS_PER_HOST)}
        channels |= {f"{kind}:{index}": (kind, "counter") for kind in ("cpu", "dram") for index in range(2)}
        said.append((msgspec.to_builtins(this), msgspec.to_builtins(Seen(uuid(host, local), channels))))
    size = sum(len(pickle.dumps(part)) for both in said for part in both)
    times = []
    for traced in (False, True):
        if traced:
            tracemalloc.start()
        begin_s = time.perf_counter()
        claims = Claims([msgspec.convert(peer, Peer) for peer, _ in said])
        claims.settle([msgspec.convert(seen, Seen) for _, seen in said])
        times.append(time.perf_counter() - begin_s)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert claims
    return {"seconds": times[0], "bytes": size, "held": held}


# -- the record --------------------------------------------------------------------------------------------------------


def record() -> Iterator[Row]:
    for world in (1, *MANY):
        lines = written(world)
        yield Row(f"record's first line, {world} ranks", lines["start"], "bytes")
        yield Row("  last line", lines["end"], "bytes")
        yield Row("  a line every 5 s", lines["tick"], "bytes")
        yield Row("  an hour", lines["tick"] * HOUR_S / 5 / 1e3, "kB")


def written(world: int) -> dict[str, float]:
    """Write the record of an hour in which each rank has drawn 500 W, and return the lengths of its lines."""
    import msgspec

    from wattloop.footprint import Footprint
    from wattloop.grid.intensity import ConstantIntensity
    from wattloop.ledger import Ledger
    from wattloop.meters.base import Reading
    from wattloop.options import validated
    from wattloop.recorder import Recorder
    from wattloop.sampler import Snapshot
    from wattloop.share import Share

    ledger, session = Ledger(), Footprint(ConstantIntensity(50.0, "a benchmark"))
    ledger.run_id = "20260101T000000-abcdef"
    ledger.open(session)
    for time_s in (0.0, 1234.5, HOUR_S):
        reading = Reading("GPU-a0b1c2d3-fa4e-4000-8000-000000000000", "gpu", 500.123 * time_s, "counter", 0.1 * time_s)
        session.take(Snapshot(time_s, (reading,)))
    own = {name: value * (world - 1) for name, value in msgspec.structs.asdict(session.totals).items()}
    ledger.others = Share(**{name: own[name] for name in own if name in Share.__struct_fields__})
    hosts = tuple(f"node{host:05}.cluster" for host in range(max(1, world // GPUS_PER_HOST)))
    gpus_j = {f"GPU-{rank:08x}-fa4e-4000-8000-{rank:012x}": 500.123 * HOUR_S for rank in range(1, world)}
    cpus_j = {
        f"{host}/{kind}:{index}": 123.456 * HOUR_S for host in hosts for kind in ("cpu", "dram") for index in (0, 1)
    }
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(folder, ledger, session)
        recorder.start("a benchmark", validated({"region": "FR"}), world, hosts)
        recorder.tick(123_456, HOUR_S)
        ledger.others_channels_j = gpus_j | cpus_j
        recorder.end(123_456, "finished")
        (path,) = Path(folder).glob("wattloop-*.jsonl")
        first, tick, end = path.read_bytes().splitlines(keepends=True)
    return {"start": len(first), "tick": len(tick), "end": len(end)}


# -- the table ---------------------------------------------------------------------------------------------------------


def line(row: Row) -> str:
    aim = "" if row.aim is None else f"{row.aim:10.1f}{'  missed' if row.value > row.aim else ''}"
    return f"{row.what:74}{row.value:12.1f} {row.unit:6}{aim}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("step", "collective", "start", "record")
    parser.add_argument("--json", type=Path, help="also write the table to this file")
    parser.add_argument("--only", nargs="+", choices=parts, default=[*parts], help="measure these parts")
    parser.add_argument("--ranks", nargs="+", type=int, default=[2, 4, 8, 16, 32], help="numbers of ranks")
    parser.add_argument("--world", type=int, default=4, help="ranks of the step")
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    os.environ["OMP_NUM_THREADS"] = "1"
    logging.disable(logging.WARNING)
    every = {
        "step": partial(step, options.world),
        "collective": partial(collective, options.ranks),
        "start": partial(start, options.ranks),
        "record": record,
    }
    print(f"{'':74}{'median':>12} {'':6}{'aim':>10}")
    rows: list[Row] = []
    for part in options.only:
        for row in every[part]():
            print(line(row), flush=True)
            rows.append(row)
    save(options.json, rows)


if __name__ == "__main__":
    main()
