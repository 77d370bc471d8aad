"""Claims: which rank counts which instrument, so that nothing in a job is counted twice."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from wattloop.meters.base import Reading


class Peer(msgspec.Struct, frozen=True):
    """A rank, as the others know it.

    Attributes:
        run_id: Name it would give the run.
        log_every: Steps between two of its rows.
        host_name: For people.
        host: The running kernel, whatever a container on it calls itself.
        process: The process, unique on its host.
        ancestors: Its parent, that one's parent, and so on.
    """

    run_id: str
    log_every: int
    host_name: str
    host: str
    process: str
    ancestors: tuple[str, ...] = ()


class Seen(msgspec.Struct, frozen=True):
    """What a rank can measure.

    Attributes:
        gpu: UUID of the GPU it computes on; empty where that is not known.
        channels: Kind and method of each channel, by its name.
        models: Product name of each device that has one, by its channel.
    """

    gpu: str = ""
    channels: dict[str, tuple[str, str]] = {}
    models: dict[str, str] = {}


def this_process(run_id: str, log_every: int) -> Peer:
    """Describe this process to the other ranks."""
    name = platform.node()
    host = space = ""
    with contextlib.suppress(OSError):
        host = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with contextlib.suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    ancestors: list[int] = []
    with contextlib.suppress(Exception):
        import psutil

        ancestors = [parent.pid for parent in psutil.Process().parents()]
    here, *above = (f"{space}{pid}" for pid in (os.getpid(), *ancestors))
    return Peer(run_id, log_every, name, host or name, here, tuple(above))


def seen_here(readings: Sequence[Reading]) -> Seen:
    """Describe what this process can measure."""
    channels: dict[str, tuple[str, str]] = {reading.channel: (reading.kind, reading.method) for reading in readings}
    return Seen(_current_gpu(), channels, models_of(readings))


def models_of(readings: Sequence[Reading]) -> dict[str, str]:
    """Return the product names of devices, by channel, of those that have one."""
    return {reading.channel: reading.model for reading in readings if reading.model}


def _current_gpu() -> str:
    torch = sys.modules.get("torch")
    try:
        if torch is None or not torch.cuda.is_initialized():
            return ""
        uuid = str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)
    except (AttributeError, AssertionError, RuntimeError):
        return ""
    return uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"


class Claims:
    """Who counts what, found out by each rank from the same words of all; what is settled once stays.

    * A GPU is one by its UUID, on whatever host it is seen: it is counted by the rank that computes on it, else by
      the lowest that sees it.
    * An instrument of the host is counted by the lowest rank there that sees it.
    * A modelled CPU is the load of a process and its children: each rank counts its own, but not that of a rank
      whose process began it (Lightning's ``ddp`` makes ranks children of the first), nor where a rank of the host
      measures the CPU. As long as the one that began it has not said what it sees, that is left open.

    Args:
        peers: The ranks, in their order.
    """

    def __init__(self, peers: Sequence[Peer]) -> None:
        self._peers = peers
        self._owners: dict[str, int | None] = {}

    def settle(self, all_seen: Sequence[Seen]) -> None:
        """Find an owner for all that has none yet.

        Args:
            all_seen: What each rank can measure, in their order.
        """
        seers: dict[str, list[int]] = {}
        modelled: dict[str, Peer] = {}
        measured_hosts = set()
        for rank, seen in enumerate(all_seen):
            peer = self._peers[rank]
            for channel, (kind, method) in seen.channels.items():
                place = self._place(rank, channel, kind, method)
                seers.setdefault(place, []).append(rank)
                if method == "modelled":
                    modelled[place] = peer
                elif kind != "gpu":
                    measured_hosts.add(peer.host)
        trees = {(peer.host, peer.process) for peer in modelled.values()}
        silent = {
            (peer.host, peer.process) for peer, seen in zip(self._peers, all_seen, strict=True) if not seen.channels
        }
        for place, ranks in seers.items():
            if place in self._owners:
                continue
            if (one := modelled.get(place)) is not None:
                above = {(one.host, process) for process in one.ancestors}
                if one.host in measured_hosts or above & trees:
                    self._owners[place] = None
                    continue
                if above & silent:
                    continue
            at_work = [rank for rank in ranks if all_seen[rank].gpu == place]
            self._owners[place] = min(at_work or ranks)

    def of(self, rank: int, seen: Seen) -> Mapping[str, bool]:
        """Return which channels a rank counts; those that are not there are not settled yet."""
        places = {channel: self._place(rank, channel, *what) for channel, what in seen.channels.items()}
        return {channel: self._owners[place] == rank for channel, place in places.items() if place in self._owners}

    def _place(self, rank: int, channel: str, kind: str, method: str) -> str:
        if kind == "gpu":
            return channel
        peer = self._peers[rank]
        return f"{peer.host}/{channel}" + (f"/{peer.process}" if method == "modelled" else "")
