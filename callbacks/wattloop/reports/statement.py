"""Statement: what a paper is to say of its runs, as LaTeX or Markdown, with what it cites.

It holds what ML CO2 Impact, Strubell et al. 2019 (arXiv 1906.02243), Patterson et al. 2021 (arXiv 2104.10350) and Dodge
et al. 2022 (arXiv 2206.05229) ask for: hardware, time, place, carbon intensity with source and year, PUE, energy and
how it was measured, gross and net emissions.
"""

from __future__ import annotations

from collections.abc import Sequence

from wattloop.reports import citations, facts
from wattloop.reports.citations import Citation
from wattloop.reports.collection import Report
from wattloop.reports.markup import Markup, as_latex, as_markdown
from wattloop.reports.summary import RunSummary, Source
from wattloop.reports.text import counted, energy, figure
from wattloop.units import format_co2e, format_duration, format_share


def latex_statement(report: Report, hardware: str = "") -> str:
    r"""Return a statement in LaTeX; the BibTeX entries of what it cites follow, where TeX skips them.

    So one file serves ``\input`` and, as BibTeX skips what is no entry, ``\bibliography``.

    Args:
        report: The runs, one at least.
        hardware: What they ran on, in the user's words.
    """
    return as_latex(lambda markup: _text(report, hardware, markup), _cited(report))


def markdown_statement(report: Report, hardware: str = "") -> str:
    """Return a statement in Markdown, with its references.

    Args:
        report: The runs, one at least.
        hardware: What they ran on, in the user's words.
    """
    return as_markdown(lambda markup: _text(report, hardware, markup), _cited(report))


def _text(report: Report, hardware: str, markup: Markup) -> str:
    sentences = [_training(report, hardware, markup), _energy(report, markup), _emissions(report, markup)]
    return " ".join([*sentences, *_remarks(report, markup)])


def _training(report: Report, hardware: str, markup: Markup) -> str:
    runs, total = report.runs, report.total
    who = "Training" if len(runs) == 1 else f"The {len(runs):,} training runs"
    gpu_hours = f" ({figure(total.gpu_s / 3600)} GPU-hours)" if total.gpu_s >= 360 else ""
    where = facts.places(runs)
    sessions = sum(run.sessions for run in runs)
    times = f" in {counted(sessions, 'session')}" if sessions > len(runs) else ""
    on = markup.text(hardware or facts.hardware(runs) or facts.unmeasured(runs))
    there = f" in {markup.text(where)}" if where else ""
    return (
        markup(f"{who} took {format_duration(total.duration_s)}{gpu_hours}{times} on ")
        + f"{on}{there}, {facts.when(runs)}."
    )


def _energy(report: Report, markup: Markup) -> str:
    total = report.total
    value, doubt, unit = energy(total.kwh, total.uncertainty_kwh)
    parts = ""
    if total.gpu_kwh > 0 and total.cpu_kwh > 0:
        share = f"{total.gpu_kwh / total.kwh:.0%}"
        parts = f" (GPUs {share}, the rest CPUs and memory)"
    share = format_share(total.measured_fraction)
    measured = f"{share} of it measured" if share != "100%" else "all measured"
    ways = facts.methods(report.runs)
    how = f", from {ways}" if ways else ""
    said = markup(f"The devices drew {value} ± {doubt} {unit}{parts}, {measured} by wattloop")
    return said + markup.cite([_wattloop(report)]) + markup(f"{how}.")


def _emissions(report: Report, markup: Markup) -> str:
    runs, total = report.runs, report.total
    pue, found = facts.pues(runs), facts.sources(runs)
    said = ""
    if total.g_co2e_per_kwh is not None:
        mean = "a mean" if len(found) > 1 or len(runs) > 1 else "a"
        at = f"At {mean} carbon intensity of {figure(total.g_co2e_per_kwh)} g CO2e/kWh"
        said = markup(at) + _sources(found, markup) + markup(f" and a PUE of {pue}, this is ")
    else:
        said = markup("This is ")
    said += markup(f"{format_co2e(total.kg_co2e)} (gross, operational)")
    if total.kg_co2e_net is not None:
        said += markup(f", and {format_co2e(total.kg_co2e_net)} net of clean energy matched hour by hour")
        said += markup.cite([citations.PATTERSON])
    said += markup(".")
    if total.kg_co2e_embodied is not None:
        said += markup(
            f" Making the devices adds {format_co2e(total.kg_co2e_embodied)}, shared out by time as SCI does"
        )
        said += markup.cite([citations.SCI]) + markup(".")
    return said


def _sources(found: Sequence[Source], markup: Markup) -> str:
    if not found:
        return ""
    named = [
        markup.text(source.name) + markup.cite(citations.of_source(source.name)) for source in found[: facts.NAMED]
    ]
    if len(found) > facts.NAMED:
        named.append(markup(counted(len(found) - facts.NAMED, "other source")))
    return f" ({'; '.join(named)})"


def _remarks(report: Report, markup: Markup) -> list[str]:
    """Return what a reader must know to judge the figures."""
    runs, total = report.runs, report.total
    remarks = []
    marginal = facts.marginal_fraction(facts.sources(runs))
    if marginal >= 1.0:
        remarks.append("The carbon intensity is marginal, not average.")
    elif marginal > 0.0:
        remarks.append(
            f"{marginal:.0%} of the energy is priced at marginal carbon intensity, the rest at average, another kind."
        )
    if total.lost_kwh > 0 and total.kwh > 0:
        remarks.append(f"{total.lost_kwh / total.kwh:.1%} of the energy went into work that was lost and done again.")
    waited_kwh = sum(run.waited_kwh for run in runs)
    if waited_kwh > 0 and total.kwh > 0:
        remarks.append(f"{waited_kwh / total.kwh:.1%} of the energy was drawn while waiting for cleaner electricity.")
    if any("WORLD" in run.regions for run in runs):
        remarks.append("Where the place is not known, the world's average carbon intensity is used.")
    running, killed = _count(runs, "running"), _count(runs, "killed")
    alone = len(runs) == 1
    if running:
        remarks.append("The run was still going." if alone else f"Still going: {counted(running, 'run')}.")
    if killed:
        what = "The run was" if alone else f"{counted(killed, 'run')} {'was' if killed == 1 else 'were'}"
        remarks.append(f"{what} killed; what was drawn after the last record is in the uncertainty.")
    return [markup(remark) for remark in remarks]


def _count(runs: Sequence[RunSummary], status: str) -> int:
    return sum(run.status == status for run in runs)


def _wattloop(report: Report) -> Citation:
    return citations.wattloop(sorted({run.version for run in report.runs}))


def _cited(report: Report) -> list[Citation]:
    works = [_wattloop(report)]
    if report.total.g_co2e_per_kwh is not None:
        works += [
            work for source in facts.sources(report.runs)[: facts.NAMED] for work in citations.of_source(source.name)
        ]
    if report.total.kg_co2e_net is not None:
        works.append(citations.PATTERSON)
    if report.total.kg_co2e_embodied is not None:
        works.append(citations.SCI)
    return list({work.key: work for work in works}.values())
