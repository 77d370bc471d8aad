"""Facts: what papers and model cards ask of a run, in words: hardware, place, how it was measured, and priced."""

from __future__ import annotations

from calendar import month_name
from collections.abc import Iterable, Sequence

from wattloop.reports.place import place
from wattloop.reports.summary import RunSummary, Source

NAMED = 3
"""Places and sources that are named one by one."""
METHODS = {
    ("gpu", "counter"): "the GPUs' energy counters (NVML)",
    ("gpu", "integrated"): "GPU power readings integrated over time (NVML)",
    ("gpu", "modelled"): "a model of the GPUs",
    ("host", "counter"): "the CPUs' energy counters (RAPL)",
    ("host", "modelled"): "a model of the CPU (load times TDP)",
}


def hardware(runs: Sequence[RunSummary]) -> str:
    """Tell on which GPUs runs ran, as far as is on record; empty where none was measured.

    Args:
        runs: The runs.
    """
    unnamed = [run for run in runs if not run.gpu_models]
    names = dict.fromkeys(name for run in runs for name in run.gpu_models)
    gpus = [f"{_between([run.gpu_models[name] for run in runs if name in run.gpu_models])} x {name}" for name in names]
    if not gpus or any(run.gpus for run in unnamed):
        gpus.append(_unnamed(unnamed))
    named = listed(gpus, len(gpus))
    return " on ".join(filter(None, (named, _hosts(runs)))) if named else ""


def unmeasured(runs: Sequence[RunSummary]) -> str:
    """Tell of hardware without a GPU on record: there may have been one that we cannot measure.

    Args:
        runs: The runs.
    """
    if not any(run.channels for run in runs):
        return "hardware that is not on record"
    return f"{_hosts(runs) or 'hardware'} without a measured GPU"


def _hosts(runs: Sequence[RunSummary]) -> str:
    """Tell how many hosts a run had at a time; empty where none had more than one."""
    counts = [run.hosts_together for run in runs]
    return f"{_between(counts)} hosts" if max(counts, default=1) > 1 else ""


def _unnamed(runs: Sequence[RunSummary]) -> str:
    """Tell how many GPUs runs had whose product names are not on record."""
    counts = [_whole(run.gpus) for run in runs]
    if not any(counts):
        # Where they are not told by time, their identifiers tell.
        counts = [max((sum(channel.kind == "gpu" for channel in run.channels) for run in runs), default=0)]
    if not any(counts):
        return ""
    return f"{_between(counts)} GPU" + ("" if {*counts} == {1} else "s")


def _between(counts: Sequence[float]) -> str:
    low, high = min(counts), max(counts)
    return f"{high:g}" if low == high else f"{low:g} to {high:g}"


def when(runs: Sequence[RunSummary]) -> str:
    """Tell in which months runs were, in universal time."""
    begun = min((run.started or run.ended for run in runs), default=None)
    if begun is None:
        return ""
    months = dict.fromkeys(f"{month_name[time.month]} {time.year}" for time in (begun, max(run.ended for run in runs)))
    return f"from {' to '.join(months)}" if len(months) > 1 else f"in {next(iter(months))}"


def _whole(gpus: float) -> float:
    """Return a number of GPUs as a whole one, which it is but for the ends of a run, or with one decimal."""
    return round(gpus) if abs(gpus - round(gpus)) < 0.05 * max(gpus, 1.0) else round(gpus, 1)


def places(runs: Iterable[RunSummary]) -> str:
    """Name where runs were; empty where no record says so."""
    codes = dict.fromkeys(code for run in runs for code in run.regions)
    return listed([place(code).name for code in codes if code != "WORLD"])


def methods(runs: Iterable[RunSummary]) -> str:
    """Tell how energy was measured; empty where no record says so."""
    found = {("gpu" if channel.kind == "gpu" else "host", channel.method) for run in runs for channel in run.channels}
    return listed([METHODS[way] for way in METHODS if way in found], len(METHODS))


def sources(runs: Iterable[RunSummary]) -> list[Source]:
    """Return on whose word all energy was priced, the source of most of it first."""
    sums: dict[tuple[str, str], float] = {}
    for run in runs:
        for source in run.sources:
            key = (source.name, source.kind)
            sums[key] = sums.get(key, 0.0) + source.kwh
    found = [Source(name, "marginal" if kind == "marginal" else "average", kwh) for (name, kind), kwh in sums.items()]
    return sorted(found, key=lambda source: -source.kwh)


def marginal_fraction(found: Sequence[Source]) -> float:
    """Return the share of energy that was priced at marginal intensity (0-1)."""
    all_kwh = sum(source.kwh for source in found)
    if all_kwh <= 0:
        return 1.0 if found and all(source.kind == "marginal" for source in found) else 0.0
    return sum(source.kwh for source in found if source.kind == "marginal") / all_kwh


def pues(runs: Iterable[RunSummary]) -> str:
    """Tell the PUE of runs, or what it was between; empty where no record says so."""
    found = sorted({pue for run in runs for pue in run.pues})
    if not found:
        return ""
    return f"{found[0]:g}" if found[0] == found[-1] else f"{found[0]:g} to {found[-1]:g}"


def listed(names: Sequence[str], most: int = NAMED) -> str:
    """Write names as a list in a sentence, the first few of them.

    Args:
        names: The names.
        most: How many to name.

    Example:
        >>> listed(["a", "b", "c"]), listed(["a", "b", "c", "d", "e"])
        ('a, b and c', 'a, b, c and 2 others')
    """
    if len(names) > most + 1:
        names = [*names[:most], f"{len(names) - most} others"]
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
