"""Estimated: what a paper is to say of a run that nothing measured, as LaTeX or Markdown, with what it cites.

It holds what the statement of the ML CO2 Impact calculator does, and how the figures came about.
"""

from __future__ import annotations

from wattloop import __version__
from wattloop.estimating import Estimate
from wattloop.reports import citations
from wattloop.reports.citations import PATTERSON, SCI, Citation
from wattloop.reports.markup import Markup, as_latex, as_markdown
from wattloop.reports.place import place
from wattloop.reports.text import figure
from wattloop.units import format_co2e, format_energy

POWER = {
    "given": "",
    "measured": ", the mean measured while training",
    "tdp": ", {of}their thermal design power",
}


def latex_statement(done: Estimate) -> str:
    """Return a statement in LaTeX.

    Args:
        done: The estimate.
    """
    return as_latex(lambda markup: _text(done, markup), _cited(done))


def markdown_statement(done: Estimate) -> str:
    """Return a statement in Markdown.

    Args:
        done: The estimate.
    """
    return as_markdown(lambda markup: _text(done, markup), _cited(done))


def _text(done: Estimate, markup: Markup) -> str:
    return " ".join([_work(done, markup), _energy(done, markup), _emissions(done, markup)])


def _work(done: Estimate, markup: Markup) -> str:
    device = markup.text(done.gpu or ("devices" if done.count != 1 else "device"))
    where = markup.text(f" in {place(done.region).name}") if done.region not in ("", "WORLD") else ""
    if done.count is None or done.hours is None:
        return f"{markup(f'Training takes {figure(done.gpu_hours)} device-hours on ')}{device}{where}."
    hours = f"Training takes {figure(done.hours)} h on {done.count:,}"
    every = f" ({figure(done.gpu_hours)} device-hours)" if done.count > 1 else ""
    return f"{markup(hours)}{' x ' if done.gpu else ' '}{device}{markup(every)}{where}."


def _energy(done: Estimate, markup: Markup) -> str:
    share = f"{figure(100 * done.utilization)}% of " if done.utilization is not None else ""
    power = f"At {figure(done.watts)} W per device" + POWER[done.watts_from].format(of=share)
    source = f" ({markup.text(done.watts_source)})," if done.watts_from != "given" else ""
    used = f" and a PUE of {done.pue:g}, this is {format_energy(done.kwh)}, estimated, not measured, with wattloop"
    by = markup.cite([_wattloop()]) + " by the formulas of Patterson et al." + markup.cite([PATTERSON])
    return f"{markup(power)}{source}{markup(used)}{by}."


def _emissions(done: Estimate, markup: Markup) -> str:
    source = ""
    if done.region:
        source = f" ({markup.text(done.intensity_source)}{markup.cite(citations.of_source(done.intensity_source))})"
    said = markup(f"At a carbon intensity of {figure(done.g_co2e_per_kwh)} g CO2e/kWh") + source
    said += markup(f", it emits {format_co2e(done.kg_co2e)} (gross, operational)")
    if done.kg_co2e_net is not None:
        said += markup(f", and {format_co2e(done.kg_co2e_net)} net of clean energy matched hour by hour")
    said += "."
    if done.kg_co2e_embodied is not None:
        said += markup(f" Making the devices adds {format_co2e(done.kg_co2e_embodied)}, shared out by time as SCI does")
        said += markup.cite([SCI]) + "."
    if done.region == "WORLD":
        said += markup(" The place is not known, so this is the world's average carbon intensity.")
    return said


def _wattloop() -> Citation:
    return citations.wattloop([__version__])


def _cited(done: Estimate) -> list[Citation]:
    works = [_wattloop(), PATTERSON]
    if done.region:
        works += citations.of_source(done.intensity_source)
    if done.kg_co2e_embodied is not None:
        works.append(SCI)
    return works
