"""CPUs and their memory through RAPL, as Linux shows it in its powercap tree.

The files are described in the kernel's ``Documentation/power/powercap/powercap.rst``, the counters behind them in the
Intel Software Developer's Manual, volume 3B, section "RAPL Interfaces". AMD's appear in the same tree.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from wattloop.meters.base import Kind, MeterUnavailable, Reading

log = logging.getLogger("wattloop")

REFRESH_S = 1e-3
"""Refresh period of the counters, in seconds (Intel SDM, MSR_PKG_ENERGY_STATUS)."""
MAX_POWER_W = 1000.0
"""No zone draws more: a counter that moves faster was reset, and one left alone for longer may have wrapped unseen."""
LONGEST_INTERVAL_S = 10.0


class _Zone:
    """One counter: cumulative joules, across wraps, resets and failed reads.

    ``_settled_j`` is the energy up to the last good read. While reads fail, the last mean power stands in; when they
    work again, the counter tells what the gap really held.
    """

    def __init__(
        self, folder: Path, channel: str, kind: Kind, clock: Callable[[], float], read_text: Callable[[Path], str]
    ) -> None:
        self.channel = channel
        self._kind = kind
        self._clock = clock
        self._read_text = read_text
        self._file = folder / "energy_uj"
        self._value_j = self._counter_j()
        self._time_s = clock()
        try:
            self.range_j = int(read_text(folder / "max_energy_range_uj")) / 1e6
        except (OSError, ValueError):
            self.range_j = 0.0
        self._settled_j = self._shown_j = self._modelled_j = self._uncertainty_j = self._power_w = 0.0
        self._warned = False

    def _counter_j(self) -> float:
        return int(self._read_text(self._file)) / 1e6

    def read(self) -> Reading:
        gap_j = 0.0
        try:
            value_j = self._counter_j()
        except (OSError, ValueError) as error:
            gap_j = self._power_w * (self._clock() - self._time_s)
            self._warn(str(error))
        else:
            self._take(value_j, self._clock())
        self._shown_j = max(self._shown_j, self._settled_j + gap_j)
        unsettled_j = self._shown_j - self._settled_j
        return Reading(
            channel=self.channel,
            kind=self._kind,
            energy_j=self._shown_j,
            method="counter",
            uncertainty_j=self._uncertainty_j + unsettled_j,
            modelled_j=self._modelled_j + unsettled_j,
            edge_j=REFRESH_S * self._power_w,
        )

    def _take(self, value_j: float, now_s: float) -> None:
        dt_s = now_s - self._time_s
        gained_j = value_j - self._value_j
        wraps_seen = self.range_j == 0.0 or MAX_POWER_W * dt_s < self.range_j
        if self.range_j:
            gained_j %= self.range_j
        if wraps_seen and 0.0 <= gained_j <= MAX_POWER_W * (dt_s + REFRESH_S):
            if dt_s > 10 * REFRESH_S:
                self._power_w = gained_j / dt_s
        else:
            self._warn(f"its counter went from {self._value_j:.0f} J to {value_j:.0f} J in {dt_s:.2f} s")
            gained_j = self._power_w * dt_s
            self._modelled_j += gained_j
            self._uncertainty_j += gained_j
        self._settled_j += gained_j
        self._value_j, self._time_s = value_j, now_s

    def _warn(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning("%s: %s; its last mean power, %.0f W, fills the gap", self.channel, why, self._power_w)


class RaplMeter:
    """Energy of the host's CPU packages and their memory, or of the whole platform where there are no packages.

    Args:
        root: Folder of the powercap tree.
        clock: Monotonic time in seconds.
        read_text: Reads one file.

    Attributes:
        interval_s: Half the time in which the fastest counter can wrap, at most 10 s.
        refusal: Why some of the counters are not read; None where all are.

    Raises:
        MeterUnavailable: There is no counter here, or none that this user may read.
    """

    def __init__(
        self,
        root: Path | str = "/sys/class/powercap",
        clock: Callable[[], float] = time.monotonic,
        read_text: Callable[[Path], str] = Path.read_text,
    ) -> None:
        wanted = list(_wanted(_names(Path(root), read_text)))
        if not wanted:
            raise MeterUnavailable(f"no CPU energy is measured: {root} holds no RAPL counter (few virtual machines do)")
        self._zones: dict[str, _Zone] = {}
        self.refusal: MeterUnavailable | None = None
        refusals: dict[str, Exception] = {}
        for folder, channel, kind in wanted:
            try:
                self._zones.setdefault(channel, _Zone(folder, channel, kind, clock, read_text))
            except (OSError, ValueError) as error:
                refusals[channel] = error
        if not self._zones:
            raise _refused(root, refusals.values())
        if refusals:
            self.refusal = _refused(root, refusals.values(), f"{', '.join(refusals)} not")
            log.warning(str(self.refusal))
        ranges_j = [zone.range_j for zone in self._zones.values() if zone.range_j]
        self.interval_s = min([LONGEST_INTERVAL_S, *(range_j / MAX_POWER_W / 2 for range_j in ranges_j)])

    def read(self) -> tuple[Reading, ...]:
        """Return one reading per package, memory or platform."""
        return tuple(zone.read() for zone in self._zones.values())

    def close(self) -> None:
        """Let go of all channels; no file was kept open."""
        self._zones = {}


def _names(root: Path, read_text: Callable[[Path], str]) -> dict[Path, str]:
    """Return the tree's zones and the kernel's names for them, in the order of their folders."""
    names = {}
    try:
        folders = sorted(root.iterdir())
    except OSError:
        return {}
    for folder in folders:
        try:
            names[folder] = read_text(folder / "name").strip()
        except (OSError, ValueError):
            continue
    return names


def _wanted(names: dict[Path, str]) -> Iterator[tuple[Path, str, Kind]]:
    """Pick the zones that hold each joule once: packages (with their cores and graphics) and memory, or the platform.

    "psys" holds the packages again, and so does "intel-rapl-mmio", which reads the same registers another way.
    """
    packages = {folder: name for folder, name in names.items() if name.startswith("package")}
    if any(not _is_mmio(folder) for folder in packages):
        packages = {folder: name for folder, name in packages.items() if not _is_mmio(folder)}
    for folder, name in packages.items():
        yield folder, name.replace("package-", "cpu:", 1), "cpu"
    for folder, name in names.items():
        package = packages.get(folder.parent / folder.name.rpartition(":")[0], "")
        if name == "dram" and package:
            yield folder, package.replace("package-", "dram:", 1), "dram"
        elif name == "psys" and not packages:
            yield folder, "psys:0", "psys"


def _is_mmio(folder: Path) -> bool:
    return folder.name.startswith("intel-rapl-mmio")


def _refused(root: Path | str, errors: Iterable[Exception], what: str = "no CPU energy is") -> MeterUnavailable:
    why = "; ".join(dict.fromkeys(str(error) for error in errors))
    refused = next((error for error in errors if isinstance(error, PermissionError)), None)
    if refused is None:
        return MeterUnavailable(f"{what} measured: {why}")
    remedy = f"until the next boot, sudo chmod a+r {root}/*/energy_uj helps"
    return MeterUnavailable(f"{what} measured: only root may read {refused.filename or root}", remedy)
