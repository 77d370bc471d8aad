"""Job: what all ranks of a run spend together, agreed on from time to time in one small collective."""

from __future__ import annotations

import logging
import math

import msgspec

from wattloop.budget import Budget
from wattloop.claims import Claims, Peer, Seen, seen_here, this_process
from wattloop.footprint import Footprint, Totals
from wattloop.ledger import Ledger
from wattloop.ranks import Ranks
from wattloop.share import Share, share_of
from wattloop.units import J_PER_KWH

log = logging.getLogger("wattloop")

START_PATIENCE_S = 60.0
"""How long a rank waits at the start for those that may never measure: `track` may have been put on one rank alone."""
END_PATIENCE_S = 10.0
"""How long a rank waits where others may have failed: at the end of its run, and of epochs of uneven length."""


class Job:
    """The ranks of one run, from its start to its end; a single rank's has nothing to agree on.

    All ranks make theirs at the same time, and call `exchange` and `reach` at the same steps.

    Args:
        ranks: The processes that train together.
        run_id: Name this rank would give the run.
        log_every: Steps between two of its rows.
        patience_s: How long to wait for the others at the start, in seconds.

    Attributes:
        ranks: As given.
        alone: This rank measures for itself, because it is the only one, or the others did not come.
        run_id: The run's name, the same on all ranks.
        hosts: Names of the hosts.
        same_rows: All ranks log at the same steps.
        agreed: The sum over all ranks, as of the last exchange.
        others: The same without this rank.
        step: Steps that go with `agreed`.
    """

    _started = 0

    def __init__(
        self, ranks: Ranks, run_id: str = "", log_every: int = 0, patience_s: float = START_PATIENCE_S
    ) -> None:
        self.ranks = ranks
        self.alone = True
        self.run_id = run_id
        self.hosts: tuple[str, ...] = ()
        self.same_rows = True
        self.agreed = self.others = Share()
        self.step = 0.0
        self._peers: list[Peer] = []
        self._channels_j: dict[str, float] = {}  # that make up this rank's part of `agreed`
        self._claims: Claims | None = None
        self._ended = self._uneven = False
        self._epochs = 0
        if ranks.world_size > 1:
            Job._started += 1
            self._name = f"run {Job._started}"
            self._begin(this_process(run_id, log_every), patience_s)

    def _begin(self, this: Peer, patience_s: float) -> None:
        try:
            if not self.ranks.meet(f"{self._name}/start", patience_s):
                log.warning(
                    "not all %d ranks came to measure, so rank %d counts alone, and its budget cannot stop the job;"
                    " let every rank of the job begin the run",
                    self.ranks.world_size,
                    self.ranks.rank,
                )
                return
            peers = [msgspec.convert(peer, Peer) for peer in self.ranks.gather(msgspec.to_builtins(this))]
        except Exception as error:
            self._part(error)
            return
        self._peers, self._claims = peers, Claims(peers)
        self.alone = False
        self.run_id = peers[0].run_id
        self.hosts = tuple(dict.fromkeys(peer.host_name for peer in peers))
        self.same_rows = len({peer.log_every for peer in peers}) == 1

    def _part(self, error: Exception) -> None:
        """Go on without the others: what they spend from now on is not known, and no budget can stop them."""
        self._claims = None
        log.warning("rank %d has lost the others, and counts alone from here: %r", self.ranks.rank, error)

    @property
    def pause(self) -> float:
        """What the first rank wants of all, see `Share`, as of the last exchange; nothing where they have parted."""
        return self.agreed.pause if self.together else 0.0

    @property
    def together(self) -> bool:
        """There are other ranks, and they are heard of."""
        return self._claims is not None

    def exchange(
        self, session: Footprint, ledger: Ledger, step: int, stop: bool, budget: Budget | None, pause: float = 0.0
    ) -> bool:
        """Sum over all ranks, and decide with them whether training is to stop.

        Args:
            session: What this rank measures; it is told which channels to count.
            ledger: The run's, with this session open; it is told what the others have spent.
            step: Steps done at its last reading.
            stop: This rank wants to stop.
            budget: What the run may spend.
            pause: Whether all are to wait, see `Share`; what the first rank says counts, and `agreed` tells it to all.

        Returns:
            The decision, the same on all ranks.
        """
        if self._claims is None:
            _count_unclaimed(session)
            return False
        before, _ = ledger.before
        first = self.ranks.rank == 0
        news = session.claims is not None and any(one.channel not in session.claims for one in session.channels)
        own = share_of(session, step, before if first else Totals(), stop, news, pause if first else 0.0)
        self._channels_j = session.channels_j
        try:
            agreed = Share(*self.ranks.sum(msgspec.structs.astuple(own)))
            if agreed.news:
                ledger.others_models = self._settle_claims(self._claims, session)
        except Exception as error:
            self._part(error)
            _count_unclaimed(session)
            return False
        self.agreed, self.others = agreed, agreed - own
        ledger.agree(self.others, agreed.before)
        energy_j = agreed.totals.energy_j
        self.step = agreed.step_joules / energy_j if energy_j > 0 else float(step)
        # From the sums alone: what this rank knows besides, the others do not.
        kwh, kg_co2e = (agreed.before_j + energy_j) / J_PER_KWH, agreed.before_kg_co2e + agreed.kg_co2e
        spent = budget is not None and budget.on_exceed == "stop" and budget.used_fraction(kwh, kg_co2e) >= 1.0
        return spent or agreed.stop > 0

    def _settle_claims(self, claims: Claims, session: Footprint) -> dict[str, str]:
        """Agree on who counts what; return the product names of all devices, whoever does."""
        seen = seen_here(session.channels)
        all_seen = [msgspec.convert(one, Seen) for one in self.ranks.gather(msgspec.to_builtins(seen))]
        claims.settle(all_seen)
        session.claims = {**(session.claims or {}), **claims.of(self.ranks.rank, seen)}
        return {channel: model for one in all_seen for channel, model in one.models.items()}

    def reach(self, length: int | None) -> float | None:
        """Return how many steps of the epoch that begins all ranks will do; None where none has ever done fewer.

        Args:
            length: How many this rank will do; None where it does not know, and the others' is taken to be its own.
        """
        if self._claims is None:
            return None
        try:
            least, most = self.ranks.least([math.inf, math.inf] if length is None else [length, -length])
        except Exception as error:
            self._part(error)
            return None
        most = -most
        if -math.inf < most != least and not self._uneven:
            self._uneven = True
            if self.ranks.rank == 0:
                log.warning("ranks do %.0f to %.0f steps in an epoch: they agree in those that all do", least, most)
        return least if self._uneven else None

    def at_epoch_end(self) -> bool:
        """Return whether all ranks have come to the end of an epoch, to exchange there; waits where that is unsure."""
        if not self._uneven:
            return self._claims is not None
        self._epochs += 1
        return self._met(f"epoch {self._epochs}")

    def at_end(self) -> bool:
        """Return whether all ranks have come to the end of the run in good order, to exchange there; waits for them."""
        if self._ended:
            return False
        self._ended = True
        return self._met("end")

    def _met(self, place: str) -> bool:
        try:
            return self._claims is not None and self.ranks.meet(f"{self._name}/{place}", END_PATIENCE_S)
        except Exception as error:
            log.debug("no meeting at the %s: %r", place, error)
            return False

    def lead(self, place: str, *, over: bool) -> bool:
        """Keep the other ranks at a place, or let them go on, see `Ranks`; of the first rank."""
        try:
            return self._claims is not None and self.ranks.lead(f"{self._name}/{place}", over)
        except Exception as error:
            self._part(error)
            return False

    def follow(self, place: str, *, leave: bool = False) -> int | None:
        """Return how often the first rank gave a sign, None once all are to go on, see `Ranks`; of the other ranks."""
        try:
            return self.ranks.follow(f"{self._name}/{place}", leave) if self._claims is not None else None
        except Exception as error:
            self._part(error)
            return None

    def others_by_channel(self, session: Footprint) -> dict[str, float]:
        """Return what the other ranks have spent, by channel, in joules; all must ask, after the last exchange.

        Instruments of a host are named after it, but for those of the first rank's host.

        Args:
            session: What this rank measures.
        """
        if self._claims is None:
            return {}
        gpus = {reading.channel for reading in session.channels if reading.kind == "gpu"}
        mine = {self._named(channel, channel in gpus): energy_j for channel, energy_j in self._channels_j.items()}
        try:
            ranks = self.ranks.gather(mine)
        except Exception as error:
            self._part(error)
            return {}
        sums_j: dict[str, float] = {}
        for rank, channels_j in enumerate(ranks):
            for channel, energy_j in channels_j.items() if rank != self.ranks.rank else ():
                sums_j[channel] = sums_j.get(channel, 0.0) + energy_j
        # The sampler may have read between a share and its channels.
        all_j = sum(sums_j.values())
        scale = self.others.totals.energy_j / all_j if all_j > 0 else 0.0
        return {channel: scale * energy_j for channel, energy_j in sums_j.items()}

    def _named(self, channel: str, is_gpu: bool) -> str:
        mine, first = self._peers[self.ranks.rank], self._peers[0]
        return channel if is_gpu or mine.host == first.host else f"{mine.host_name}/{channel}"

    def fail(self, session: Footprint | None) -> None:
        """Let no rank wait for this one, nor what it measures for anybody to claim it.

        Args:
            session: What this rank measures; None for nothing.
        """
        if self._claims is None or self._ended:
            return
        self._ended = True
        if session is not None:
            _count_unclaimed(session)
        try:
            for place in ("end", f"epoch {self._epochs + 1}"):
                self.ranks.refuse(f"{self._name}/{place}")
        except Exception as error:
            log.debug("the other ranks could not be told: %r", error)


def _count_unclaimed(session: Footprint) -> None:
    """Count what waits to be claimed, as there is nobody left to agree with; the one record is that of rank 0."""
    claims = session.claims
    if claims is not None and any(one.channel not in claims for one in session.channels):
        session.claims = {**{one.channel: True for one in session.channels}, **claims}
