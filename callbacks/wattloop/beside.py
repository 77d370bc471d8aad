"""Beside: what is told beside a run's emissions, which are gross and operational: net ones, and embodied ones."""

from __future__ import annotations

import msgspec

from wattloop.footprint import Totals
from wattloop.options import Settings
from wattloop.units import format_co2e


class Beside(msgspec.Struct, frozen=True):
    """What is told beside gross, operational emissions, where the user gave what it takes.

    Attributes:
        kg_co2e_net: What is left of them after clean energy, in kg CO2e; None: no share of it was given.
        kg_co2e_embodied: The part of making the devices, in kg CO2e, which is in neither; None: not known.
        note: Why it is not, where it was asked for.
    """

    kg_co2e_net: float | None = None
    kg_co2e_embodied: float | None = None
    note: str = ""

    def __str__(self) -> str:
        clauses = []
        if self.kg_co2e_net is not None:
            clauses.append(f"net {format_co2e(self.kg_co2e_net)}")
        if self.kg_co2e_embodied is not None:
            clauses.append(f"embodied {format_co2e(self.kg_co2e_embodied)} apart")
        if self.note:
            clauses.append(self.note)
        return f" ({', '.join(clauses)})" if clauses else ""


def beside(totals: Totals, settings: Settings) -> Beside:
    """Return what is told beside the emissions of a run; its text, empty or in brackets, follows theirs.

    Args:
        totals: What the run has spent, over all its sessions.
        settings: The run's.
    """
    embodied_kg, note = None, ""
    if settings.embodied is not None:
        embodied_kg = settings.embodied.kg_co2e(totals.duration_s, totals.gpu_s)
        note = "embodied not known: no GPU was counted, give devices=" if embodied_kg is None else ""
    # 0 is what stands for not given.
    net_kg = totals.kg_co2e * (1.0 - settings.net_share) if settings.net_share else None
    return Beside(net_kg, embodied_kg, note)
