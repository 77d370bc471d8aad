"""Standing: what a run is made of, and all that may be asked of it at any time."""

from __future__ import annotations

from typing import Unpack

from wattloop.beside import beside
from wattloop.footprint import Footprint, Totals
from wattloop.forecast import Forecast, forecast
from wattloop.forecaster import Forecaster
from wattloop.grid.intensity import Intensity
from wattloop.job import Job
from wattloop.ledger import Ledger
from wattloop.meters.base import Reading
from wattloop.options import RunOptions, validated
from wattloop.progress import Progress
from wattloop.ranks import SingleRank
from wattloop.rows import row
from wattloop.session import Session
from wattloop.units import J_PER_KWH, format_co2e, format_duration, format_energy, format_share


class Standing:
    """Where a run stands; nothing here changes it, and no thread has to wait for it.

    Args:
        **options: See `RunOptions`.

    Attributes:
        options: As given.
        settings: The same, checked.

    Raises:
        TypeError: An option is unknown.
        ValueError: An option's value is not accepted.
    """

    def __init__(self, **options: Unpack[RunOptions]) -> None:
        self.options = options
        self.settings = validated(options)
        self._ledger = Ledger()
        self._reset()

    def _reset(self) -> None:
        """Set all that lives from one start to the next, and cannot be pickled."""
        self._job = Job(SingleRank())
        self._session: Session | None = None
        self._forecaster = Forecaster()
        self._progress = Progress()
        self._last_epoch = Totals()

    @property
    def running(self) -> bool:
        """True between `start` and `finish`, in the process that started."""
        return self._session is not None and self._session.running

    @property
    def _footprint(self) -> Footprint | None:
        return self._session.footprint if self._session is not None else None

    @property
    def steps_done(self) -> int:
        """Steps done."""
        return self._progress.steps_done

    @property
    def should_log(self) -> bool:
        """A row is due at this step."""
        return self._progress.log_due

    @property
    def id(self) -> str:
        """Name of the run in its record; empty before the first start."""
        return self._ledger.run_id

    @property
    def journal(self) -> str | None:
        """Path of the run's record; None where none is kept."""
        return self._ledger.journal

    @property
    def epochs_done(self) -> int:
        """Epochs ended."""
        return self._ledger.epochs

    @property
    def totals(self) -> Totals:
        """What was spent so far, earlier parts of a resumed run included."""
        return self._ledger.totals

    @property
    def lost(self) -> Totals:
        """The part of the totals spent on work that was lost, since training went on from an older checkpoint."""
        return self._ledger.lost

    @property
    def kg_co2e_net(self) -> float | None:
        """Emissions so far less what was matched by clean energy, in kg CO2e; None without `net_share`."""
        return beside(self.totals, self.settings).kg_co2e_net

    @property
    def kg_co2e_embodied(self) -> float | None:
        """The run's part so far of what making its devices emitted, in kg CO2e; None without `embodied` or devices."""
        return beside(self.totals, self.settings).kg_co2e_embodied

    @property
    def phases_j(self) -> dict[str, float]:
        """Energy by phase so far, in joules."""
        return self._ledger.phases_j

    @property
    def channels_j(self) -> dict[str, float]:
        """Energy by channel so far, in joules: every GPU by its UUID, every CPU package and memory."""
        return self._ledger.channels_j

    @property
    def readings(self) -> tuple[Reading, ...]:
        """What each instrument said last; empty before the first start, and as long as none has answered."""
        return self._footprint.channels if self._footprint is not None else ()

    @property
    def intensity(self) -> Intensity | None:
        """The carbon intensity last used; None before the first start."""
        return self._footprint.intensity if self._footprint is not None else None

    @property
    def power_w(self) -> float:
        """Mean power of late, in watts; 0 as long as that is not known."""
        return self._footprint.power_w if self._footprint is not None else 0.0

    @property
    def uncertainty_kwh(self) -> float:
        """Half-width of the interval that holds the true energy so far, in kWh."""
        return self._ledger.uncertainty_j / J_PER_KWH

    @property
    def total_steps(self) -> float | None:
        """Steps of the whole run; None as long as nobody knows."""
        return self._progress.total_steps

    def forecast(self) -> Forecast | None:
        """Return what the whole run will have spent at its end; None as long as that cannot be known.

        The interval is for what the run will report at its end. An error of scale in the meters is in that figure too,
        so it is stated apart (`uncertainty_kwh`); what they have not shown yet widens the forecast.
        """
        totals, total_s = self.totals, self.settings.total_time_s
        time_left_s = None if total_s is None else max(0.0, total_s - totals.duration_s)
        remaining, footprint = self._forecaster.remaining(self._progress.length(time_left_s)), self._footprint
        if remaining is None or footprint is None:
            return None
        others = self._ledger.others
        session_j = footprint.totals.energy_j + others.totals.energy_j
        unseen = (footprint.edge_j + others.edge_j) / session_j if session_j > 0 else 0.0
        ahead = footprint.ahead(remaining.duration_s.value)
        return forecast(
            totals.energy_j, totals.kg_co2e, totals.duration_s, remaining, footprint.kg_per_joule, ahead, unseen
        )

    def metrics(self) -> dict[str, float]:
        """Return the row to log, from the sampler's last reading; see `wattloop.rows.row` for its keys."""
        totals = self.totals
        # Right after its end, an epoch is still the one to show.
        ended = self.steps_done <= self._progress.epoch_first_step
        epoch = self._last_epoch if ended else totals - self._ledger.border.settled
        others_w = self._ledger.others.power_w
        return row(totals, epoch, self._footprint, self.forecast(), self.settings.budget, others_w)

    def summary(self) -> str:
        """Return what was spent, in one line."""
        totals = self.totals
        waited = f", {format_duration(totals.waited_s)} of them waiting" if totals.waited_s else ""
        lost = f", {self.lost.kwh / totals.kwh:.1%} of it lost work" if self.lost.kwh > 0 else ""
        return (
            f"{format_energy(totals.kwh)} ± {format_energy(self.uncertainty_kwh)}"
            f" ({format_share(totals.measured_fraction)} measured{lost}), {format_co2e(totals.kg_co2e)}"
            f"{beside(totals, self.settings)}; {self.steps_done} steps in {format_duration(totals.duration_s)}{waited}"
        )
