"""Footprint: joules of the devices x PUE x carbon intensity of the moment -> kg CO2e, snapshot by snapshot."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from wattloop.grid.intensity import CarbonIntensity, ConstantIntensity, Intensity, is_possible, plain
from wattloop.grid.nowait import NoWait
from wattloop.meters.base import Reading
from wattloop.sampler import Settlement, Snapshot
from wattloop.units import G_PER_KG, J_PER_KWH

log = logging.getLogger("wattloop")

LOOK_AHEAD_S = 7 * 86400.0
"""Farthest that a forecast of carbon intensity is asked for, in seconds."""
WAIT = "wait"
"""The phase of a run that waits for cleaner electricity."""


class Totals(msgspec.Struct, frozen=True):
    """What was spent over some span of time; spans add up.

    Attributes:
        gpu_j: Energy of the GPUs, in joules.
        cpu_j: Energy of the rest of the host that is counted (CPU packages and memory), in joules.
        modelled_j: The part of both that was not measured, in joules.
        uncertainty_j: What is not known of the energy, in joules, without the two ends of the span.
        kg_co2e: Emissions in kg CO2e, PUE included.
        duration_s: Length of the span, in seconds.
        gpu_s: For how long GPUs were reserved, busy or not, in seconds, added up over all of them.
        waited_s: The part of the time that the run waited for cleaner electricity, in seconds.
    """

    gpu_j: float = 0.0
    cpu_j: float = 0.0
    modelled_j: float = 0.0
    uncertainty_j: float = 0.0
    kg_co2e: float = 0.0
    duration_s: float = 0.0
    gpu_s: float = 0.0
    waited_s: float = 0.0

    @property
    def energy_j(self) -> float:
        """Energy of all devices, in joules."""
        return self.gpu_j + self.cpu_j

    @property
    def kwh(self) -> float:
        """Energy of all devices, in kWh."""
        return self.energy_j / J_PER_KWH

    @property
    def measured_fraction(self) -> float:
        """Share of the energy that was measured rather than modelled (0-1; 0 when there is none)."""
        energy_j = self.energy_j
        return min(max(0.0, 1.0 - self.modelled_j / energy_j), 1.0) if energy_j > 0 else 0.0

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.gpu_j + other.gpu_j,
            self.cpu_j + other.cpu_j,
            self.modelled_j + other.modelled_j,
            self.uncertainty_j + other.uncertainty_j,
            self.kg_co2e + other.kg_co2e,
            self.duration_s + other.duration_s,
            self.gpu_s + other.gpu_s,
            self.waited_s + other.waited_s,
        )

    def __sub__(self, other: Totals) -> Totals:
        return self + Totals(
            -other.gpu_j,
            -other.cpu_j,
            -other.modelled_j,
            -other.uncertainty_j,
            -other.kg_co2e,
            -other.duration_s,
            -other.gpu_s,
            -other.waited_s,
        )


class Footprint:
    """Prices every snapshot's energy at the intensity of its moment, and adds up what a session has spent.

    Only the sampler's thread calls `take`; what it writes may be read from any thread. `bridge` is for the others: what
    it writes stands as long as the snapshots show less.

    Args:
        intensity: Where the carbon intensity of a moment comes from; nobody waits for it.
        pue: Power usage effectiveness of the site (>= 1).
        power_window_s: Shortest time over which power is averaged, in seconds; over less, a counter's refresh shows.
        fallback: Used where the source has no value; without it, the source must have one to begin with.
        now: Wall-clock time, aware.

    Attributes:
        phase: Name under which energy is counted now; the training thread sets it.
        began_s: When training was let go on, monotonic, in seconds; what is drawn from then on counts.
        claims: Which channels are counted here rather than by another rank, None for all; as long as it says nothing of
            a channel, its energy waits to be counted.
        start_edges_j: What each instrument may not have shown at the first snapshot, in joules, by channel.
        power_w: Mean power of late, in watts.
        intensity: The carbon intensity last used.
        grid: Where it comes from.
    """

    def __init__(
        self,
        intensity: CarbonIntensity,
        pue: float = 1.0,
        power_window_s: float = 0.5,
        fallback: Intensity | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.grid = NoWait(intensity, fallback)
        self._constant = isinstance(intensity, ConstantIntensity)  # asked once
        self._pue = pue
        self._now = now
        self._power_window_s = power_window_s
        self._power_since: tuple[float, float] | None = None
        self._last: dict[str, Reading] = {}
        self._start_s: float | None = None
        self._last_s: float | None = None
        self._answered_s: float | None = None
        self.began_s = math.inf
        self._unseen: dict[str, tuple[float, float]] = {}
        self._gpu_counted_s: dict[str, float] = {}
        self.start_edges_j: dict[str, float] = {}
        self._warned = False
        self._taken = self._bridged = Totals()
        self._phases_j: dict[str, float] = {}
        self._channels_j: dict[str, float] = {}
        self._phases_s: dict[str, float] = {}
        self._peak_w = 0.0
        self._marked: tuple[Totals, dict[str, float], dict[str, float]] = (Totals(), {}, {})
        self.phase = "startup"
        self.claims: Mapping[str, bool] | None = None
        self._claims_taken: Mapping[str, bool] | None = None
        self.power_w = 0.0
        self.intensity: Intensity = fallback if fallback is not None else intensity.at(now())
        self._ask_intensity()

    @property
    def totals(self) -> Totals:
        """What was spent since the first snapshot."""
        taken, bridged = self._taken, self._bridged
        return taken if taken.energy_j >= bridged.energy_j else bridged

    @property
    def phases_j(self) -> dict[str, float]:
        """The same energy by phase, in joules."""
        totals, phases_j = self.totals, dict(self._phases_j)
        ahead_j = totals.energy_j - sum(phases_j.values())
        return {**phases_j, self.phase: phases_j.get(self.phase, 0.0) + ahead_j} if ahead_j else phases_j

    @property
    def channels_j(self) -> dict[str, float]:
        """The same energy by channel, in joules: every GPU, CPU package and memory on its own."""
        channels_j, energy_j = dict(self._channels_j), self.totals.energy_j
        taken_j = sum(channels_j.values())
        # What a bridge adds is spread as what was measured before.
        scale = energy_j / taken_j if taken_j > 0 else 1.0
        return {channel: scale * channel_j for channel, channel_j in channels_j.items()}

    @property
    def phases_s(self) -> dict[str, float]:
        """Time between the first snapshot and the last by phase, in seconds."""
        return dict(self._phases_s)

    def power_in(self, phase: str) -> float:
        """Return the mean power in a phase, in watts; 0 as long as there was none."""
        duration_s = self._phases_s.get(phase, 0.0)
        return self._phases_j.get(phase, 0.0) / duration_s if duration_s > 0.0 else 0.0

    @property
    def channels(self) -> tuple[Reading, ...]:
        """The last reading of each channel."""
        return tuple(self._last.values())

    @property
    def edge_j(self) -> float:
        """What the instruments may not have shown at the two ends of the session so far, in joules."""
        return sum(reading.edge_j + self.start_edges_j.get(channel, 0.0) for channel, reading in [*self._last.items()])

    @property
    def uncertainty_j(self) -> float:
        """Half-width of the interval that holds the session's true energy, in joules: gathered, and at both ends."""
        return max(0.0, self.totals.uncertainty_j) + self.edge_j

    @property
    def kg_per_joule(self) -> float:
        """Emissions of a joule drawn now, in kg CO2e, PUE included."""
        return self._pue * self.intensity.g_co2e_per_kwh / G_PER_KG / J_PER_KWH

    def ahead(self, duration_s: float) -> list[tuple[float, float]]:
        """Return what a joule will emit, as far as the source looks ahead: seconds from now, and kg CO2e from then on.

        Args:
            duration_s: How far to look, in seconds.
        """
        now = self._now()
        try:
            series = self.grid.forecast(now, now + timedelta(seconds=min(duration_s, LOOK_AHEAD_S)))
            points = [((time - now).total_seconds(), one.g_co2e_per_kwh) for time, one in series or ()]
        except Exception as error:
            log.debug("no carbon intensity of the time to come: %r", error)
            return []
        if len(points) < 2 or not all(is_possible(g_co2e_per_kwh) for _, g_co2e_per_kwh in points):
            return []
        return [(at_s, self._pue * float(g_co2e_per_kwh) / G_PER_KG / J_PER_KWH) for at_s, g_co2e_per_kwh in points]

    def take(self, snapshot: Snapshot) -> None:
        """Add what was spent since the snapshot before; a channel counts from when it is first seen."""
        if not self._constant:
            self._ask_intensity()
        gpu_j = cpu_j = modelled_j = uncertainty_j = gpu_s = 0.0
        middle_s = snapshot.time_s + snapshot.took_s / 2
        weighted_s = 0.0
        claims = self.claims
        for reading in snapshot.readings:
            mine = True if claims is None else claims.get(reading.channel)
            if mine is False:
                for known in (self._last, self._unseen, self.start_edges_j, self._gpu_counted_s):
                    known.pop(reading.channel, None)
                continue
            read_s = middle_s if math.isnan(reading.time_s) else reading.time_s
            before = self._last.get(reading.channel)
            if before is None:
                self.start_edges_j[reading.channel] = reading.edge_j
                self._unseen[reading.channel] = (read_s - self.began_s, read_s)
                self._gpu_counted_s[reading.channel] = min(read_s, self.began_s)
            elif mine is None:
                continue
            else:
                energy_j = reading.energy_j - before.energy_j
                if reading.channel in self._unseen:
                    unseen_j, doubt_j = self._before_first_seen(reading, energy_j, read_s)
                    energy_j += unseen_j
                    modelled_j += unseen_j
                    uncertainty_j += doubt_j
                if reading.kind == "gpu":
                    gpu_j += energy_j
                    gpu_s += read_s - self._gpu_counted_s[reading.channel]
                    self._gpu_counted_s[reading.channel] = read_s
                else:
                    cpu_j += energy_j
                weighted_s += energy_j * read_s
                self._add_to(self._channels_j, reading.channel, energy_j)
                modelled_j += reading.modelled_j - before.modelled_j
                uncertainty_j += reading.uncertainty_j - before.uncertainty_j
            self._last[reading.channel] = reading
        if self._start_s is None:
            self._start_s = snapshot.time_s
            self._answered_s = self.began_s if self.began_s < snapshot.time_s else None
        # A driver may take long to tell of many channels: on the whole, the energy is that of this moment.
        answered_s = weighted_s / (gpu_j + cpu_j) if gpu_j + cpu_j > 0 else middle_s
        duration_s = 0.0 if self._answered_s is None else answered_s - self._answered_s
        self._last_s, self._answered_s = snapshot.time_s, answered_s
        energy_j = gpu_j + cpu_j
        kg_co2e = energy_j * self.kg_per_joule
        waited_s = duration_s if self.phase == WAIT else 0.0
        self._taken += Totals(gpu_j, cpu_j, modelled_j, uncertainty_j, kg_co2e, duration_s, gpu_s, waited_s)
        self._add_to(self._phases_j, self.phase, energy_j)
        self._add_to(self._phases_s, self.phase, duration_s)
        if claims != self._claims_taken:
            # What had waited to be counted was not drawn just now.
            self._claims_taken, self._power_since = claims, None
        self._follow_power(answered_s)

    @staticmethod
    def _add_to(sums: dict[str, float], name: str, more: float) -> None:
        sums[name] = sums.get(name, 0.0) + more

    def _before_first_seen(self, reading: Reading, energy_j: float, now_s: float) -> tuple[float, float]:
        """Return what an instrument that answered late did not see, by its mean power since, and the doubt in it."""
        unseen_s, since_s = self._unseen.pop(reading.channel)
        if unseen_s <= 0:
            return 0.0, 0.0
        power_w = energy_j / (now_s - since_s) if math.isnan(reading.power_w) else reading.power_w
        most_w = reading.most_w if reading.most_w < math.inf else 2 * power_w
        return power_w * unseen_s, max(power_w, most_w - power_w) * unseen_s

    def settle(self, settlement: Settlement) -> Totals:
        """Take in what was learnt of the first snapshot: what it should have said was drawn before the session.

        Returns:
            What was added to the totals.
        """
        amended = Totals()
        if settlement.time_s != self._start_s:
            return amended
        for one in settlement.corrections:
            mine = True if self.claims is None else self.claims.get(one.channel)
            if one.channel not in self.start_edges_j or mine is False:
                continue
            self.start_edges_j[one.channel] = one.edge_j
            if mine is None:
                first = self._last[one.channel]
                self._last[one.channel] = msgspec.structs.replace(first, energy_j=first.energy_j + one.energy_j)
            else:
                amended += Totals(gpu_j=-one.energy_j, kg_co2e=-one.energy_j * self.kg_per_joule)
                self._add_to(self._channels_j, one.channel, -one.energy_j)
        self._taken += amended
        startup_j = self._phases_j.get("startup", 0.0)
        in_startup_j = max(amended.energy_j, -startup_j)
        self._phases_j["startup"] = startup_j + in_startup_j
        self._add_to(self._phases_j, self.phase, amended.energy_j - in_startup_j)
        return amended

    def settle_end(self, settlement: Settlement) -> None:
        """Take in what was learnt of the last snapshot, after which there is none."""
        if settlement.time_s != self._last_s:
            return
        for one in settlement.corrections:
            reading = self._last.get(one.channel)
            if reading is not None:
                corrected_j = reading.energy_j + one.energy_j
                self._last[one.channel] = msgspec.structs.replace(reading, energy_j=corrected_j, edge_j=one.edge_j)
                self._taken += Totals(gpu_j=one.energy_j, kg_co2e=one.energy_j * self.kg_per_joule)
                self._add_to(self._phases_j, self.phase, one.energy_j)
                self._add_to(self._channels_j, one.channel, one.energy_j)

    def bridge(self, now_s: float) -> float | None:
        """Let the mean power of late stand in for the instruments since the last snapshot, which do not answer.

        Args:
            now_s: Monotonic time up to which it is to do so, in seconds.

        Returns:
            That power, in watts; None where they have never answered.
        """
        taken, answered_s = self._taken, self._answered_s
        if answered_s is None:
            return None
        gap_s = max(0.0, now_s - answered_s)
        mean_w = self.power_w or (taken.energy_j / taken.duration_s if taken.duration_s else 0.0)
        gap_j, gpu_share = mean_w * gap_s, taken.gpu_j / taken.energy_j if taken.energy_j else 1.0
        doubt_j = max(mean_w, self._peak_w - mean_w) * gap_s
        parts_j = (gpu_share * gap_j, (1 - gpu_share) * gap_j, gap_j, doubt_j)
        gpus = taken.gpu_s / taken.duration_s if taken.duration_s else 0.0
        waited_s = gap_s if self.phase == WAIT else 0.0
        bridged = taken + Totals(*parts_j, gap_j * self.kg_per_joule, gap_s, gpus * gap_s, waited_s)
        if bridged.energy_j >= self._bridged.energy_j:
            self._bridged = bridged
        return mean_w

    @property
    def time_s(self) -> float:
        """Time of the last snapshot, monotonic, in seconds."""
        return self._last_s or 0.0

    @property
    def edges_j(self) -> dict[str, float]:
        """What each instrument may not have shown at the last snapshot, in joules."""
        return {channel: reading.edge_j for channel, reading in [*self._last.items()]}

    def close(self) -> None:
        """Ask for no more intensities; what is known stands."""
        self.grid.close()

    def land(self) -> None:
        """Let the last snapshot stand alone again: it was asked for, and the instruments answered."""
        self._bridged = Totals()

    def mark(self) -> None:
        """Remember this moment as the last at which training was seen to be alive."""
        self._marked = (self.totals, self.phases_j, self.channels_j)

    def rewind(self) -> None:
        """Forget what was spent since the last `mark`; only after the last `take`."""
        self._taken, self._phases_j, self._channels_j = self._marked
        self._bridged = Totals()

    def _follow_power(self, now_s: float) -> None:
        if self._power_since is None:
            self._power_since = (now_s, self._taken.energy_j)
        since_s, since_j = self._power_since
        if now_s - since_s >= self._power_window_s:
            self.power_w = (self._taken.energy_j - since_j) / (now_s - since_s)
            self._peak_w = max(self._peak_w, self.power_w)
            self._power_since = (now_s, self._taken.energy_j)

    def _ask_intensity(self) -> None:
        try:
            self.intensity = plain(self.grid.at(self._now()) or self.intensity)
        except Exception as error:
            if not self._warned:
                self._warned = True
                log.warning("carbon intensity is not to be had (%r); the last one known stays in use", error)
