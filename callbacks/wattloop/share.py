"""Share: what one rank has spent, in numbers that can be summed over ranks."""

from __future__ import annotations

import msgspec

from wattloop.footprint import WAIT, Footprint, Totals

PHASES = ("startup", "train", "validation", "checkpoint", WAIT, "other")
_FIELDS = {name: f"{name}_j" for name in PHASES}


class Share(msgspec.Struct, frozen=True):
    """What some ranks have spent in this session, and what else is summed with it: the payload of the collective.

    Attributes:
        gpu_j: As in `Totals`, and so on to `gpu_s`.
        edge_j: What the instruments may not have shown yet, in joules.
        power_w: Mean power of late, in watts.
        startup_j: Energy of the phase, in joules, and so on to `other_j`, which holds all further phases.
        step_joules: Steps done at the last reading times the energy till then: what weighs a rank's progress.
        before_j: What the run had spent before this session, in joules, by rank 0 alone.
        before_kg_co2e: Likewise, in kg CO2e.
        stop: Ranks that want to stop.
        news: Ranks that see an instrument of which the others do not know.
        pause: What the first rank wants: 0 to train, 1 to wait for cleaner electricity, 2 to do so for long.
    """

    gpu_j: float = 0.0
    cpu_j: float = 0.0
    modelled_j: float = 0.0
    uncertainty_j: float = 0.0
    kg_co2e: float = 0.0
    gpu_s: float = 0.0
    edge_j: float = 0.0
    power_w: float = 0.0
    startup_j: float = 0.0
    train_j: float = 0.0
    validation_j: float = 0.0
    checkpoint_j: float = 0.0
    wait_j: float = 0.0
    other_j: float = 0.0
    step_joules: float = 0.0
    before_j: float = 0.0
    before_kg_co2e: float = 0.0
    stop: float = 0.0
    news: float = 0.0
    pause: float = 0.0

    @property
    def totals(self) -> Totals:
        """What was spent; the ranks' time is not added up, that of their GPUs is."""
        return Totals(self.gpu_j, self.cpu_j, self.modelled_j, self.uncertainty_j, self.kg_co2e, gpu_s=self.gpu_s)

    @property
    def before(self) -> Totals:
        """What the run had spent before this session, as far as it is told."""
        return Totals(gpu_j=self.before_j, kg_co2e=self.before_kg_co2e)

    @property
    def phases_j(self) -> dict[str, float]:
        """The energy by phase, in joules."""
        return {name: energy_j for name, field in _FIELDS.items() if (energy_j := float(getattr(self, field)))}

    def __sub__(self, other: Share) -> Share:
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return Share(*(mine - theirs for mine, theirs in pairs))


def share_of(session: Footprint, step: int, before: Totals, stop: bool, news: bool, pause: float = 0.0) -> Share:
    """Return what this rank brings to the sum.

    Args:
        session: What it measures.
        step: Steps done at its last reading.
        before: What the run had spent before this session; to be told by one rank alone.
        stop: It wants to stop.
        news: It sees an instrument of which the others do not know.
        pause: Whether all are to wait; told by one rank alone.
    """
    phases_j, totals = session.phases_j, session.totals
    known_j = {field: phases_j.pop(name, 0.0) for name, field in _FIELDS.items()}
    known_j["other_j"] += sum(phases_j.values())
    # The sampler's thread may have added to the totals meanwhile.
    current = _FIELDS.get(session.phase, "other_j")
    known_j[current] += totals.energy_j - sum(known_j.values())
    return Share(
        gpu_j=totals.gpu_j,
        cpu_j=totals.cpu_j,
        modelled_j=totals.modelled_j,
        uncertainty_j=totals.uncertainty_j,
        kg_co2e=totals.kg_co2e,
        gpu_s=totals.gpu_s,
        edge_j=session.edge_j,
        power_w=session.power_w,
        step_joules=step * totals.energy_j,
        before_j=before.energy_j,
        before_kg_co2e=before.kg_co2e,
        stop=float(stop),
        news=float(news),
        pause=pause,
        **known_j,
    )
