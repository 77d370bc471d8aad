"""Charts: what the explorer draws, as Vega-Lite made by altair; the page feeds them data and says how to draw.

Colours are names of the page's own CSS variables, so that light, dark and print need no second chart. Titles and
legends are the page's text, which a screen reader reads.
"""

from __future__ import annotations

from typing import Any

from wattloop.reports.explorer.world import shapes

THRESHOLDS = (50, 150, 300, 450, 600, 750)
"""Borders between the map's colours, in g CO2e/kWh."""
AXIS_PX = 46
"""Room left of every chart, so that those over time stand exactly above each other."""

RIBBON_PX = 9


def charts() -> dict[str, dict[str, Any]]:
    """Return the specification of every chart, by the name of its place in the page."""
    import altair as alt

    def lines(x: alt.X) -> alt.LayerChart:
        """Lines of what is spent, one a run and way of counting; beside a what-if, what was recorded in dashes."""
        y = alt.Y("y:Q", title=None, scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=5, format=",~r"))
        kinds = alt.Scale(domain=["recorded", "now", "more"], range=[[2, 3], [1, 0], [6, 4]])
        dash = alt.StrokeDash("kind:N", legend=None, scale=kinds)
        faint = alt.when("datum.kind === 'recorded'").then(alt.value(0.6)).otherwise(alt.value(1.0))
        line = (
            alt.Chart(alt.NamedData("lines"))
            .mark_line(strokeWidth=2, interpolate=alt.expr("stepped ? 'step-after' : 'linear'"), strokeJoin="round")
            .encode(
                x=x, y=y, color=alt.Color("colour:N", scale=None), detail="series:N", strokeDash=dash, opacity=faint
            )
        )
        tips = [
            alt.Tooltip("run:N", title="Run"),
            alt.Tooltip("at:N", title="At"),
            alt.Tooltip("text:N", title="Value"),
        ]
        points = (
            alt.Chart(alt.NamedData("points"))
            .mark_circle(size=alt.expr("dots"), opacity=1)
            .encode(x=x, y=y, color=alt.Color("colour:N", scale=None), tooltip=tips)
        )
        targets = alt.Chart(alt.NamedData("points")).mark_circle(size=220, opacity=0).encode(x=x, y=y, tooltip=tips)
        return alt.layer(line, points, targets).add_params(
            alt.param(name="stepped", value=False), alt.param(name="dots", value=0), *_span()
        )

    def _span() -> list[alt.Parameter]:
        return [alt.param(name="x_min", value=0), alt.param(name="x_max", value=1)]

    def along(field: str = "x:Q", **axis: Any) -> alt.X:
        scale = alt.Scale(domainMin=alt.expr("x_min"), domainMax=alt.expr("x_max"), nice=False)
        return alt.X(field, title=None, scale=scale, axis=alt.Axis(grid=False, tickCount=6, **axis))

    of_main = alt.when("datum.main").then(alt.value(1.0)).otherwise(alt.value(0.55))

    def power() -> alt.LayerChart:
        """Power over time, under a ribbon of the main run's phases."""
        below = alt.Scale(zero=True, range=[alt.expr("height"), RIBBON_PX + 10])
        y = alt.Y("y:Q", title=None, scale=below, axis=alt.Axis(tickCount=4, format=",~r"))
        ribbon = (
            alt.Chart(alt.NamedData("phases"))
            .mark_rect()
            .encode(
                x=along(labels=False),
                x2="x2:Q",
                y=alt.value(0),
                y2=alt.value(RIBBON_PX),
                color=alt.Color("colour:N", scale=None),
                tooltip=[
                    alt.Tooltip("phase:N", title="Phase"),
                    alt.Tooltip("at:N", title="From"),
                    alt.Tooltip("text:N", title="Mean power"),
                ],
            )
        )
        line = (
            alt.Chart(alt.NamedData("lines"))
            .mark_line(strokeWidth=1.2, interpolate="step-after")
            .encode(
                x=along(labels=False), y=y, color=alt.Color("colour:N", scale=None), detail="series:N", opacity=of_main
            )
        )
        return alt.layer(ribbon, line).add_params(*_span())

    def intensity() -> alt.Chart:
        y = alt.Y("y:Q", title=None, scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=3))
        return (
            alt.Chart(alt.NamedData("lines"))
            .mark_line(strokeWidth=1.6, interpolate="step-after")
            .encode(x=along(), y=y, color=alt.Color("colour:N", scale=None), detail="series:N", opacity=of_main)
            .add_params(*_span())
        )

    def forecast() -> alt.LayerChart:
        """Forecasts with their intervals as they were revised, what was spent by then, and what it came to."""
        y = alt.Y("value:Q", title=None, scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=5, format=",~r"))
        x = along(format="d", tickMinStep=1)
        base = alt.Chart(alt.NamedData("forecasts"))
        tips = [
            alt.Tooltip("at:N", title="At"),
            alt.Tooltip("text:N", title="Forecast"),
            alt.Tooltip("between:N", title="90 % interval"),
            alt.Tooltip("spent_text:N", title="Spent by then"),
        ]
        band = base.mark_area(opacity=0.22, color="var(--forecast)", line=False).encode(
            x=x, y=alt.Y("low:Q", title=None), y2="high:Q"
        )
        line = base.mark_line(color="var(--forecast)", strokeWidth=2).encode(x=x, y=y)
        dots = base.mark_circle(color="var(--forecast)", size=alt.expr("dots"), opacity=1).encode(x=x, y=y)
        spent = base.mark_line(color="var(--spent)", strokeWidth=2).encode(x=x, y="spent:Q")
        final = (
            alt.Chart(alt.NamedData("final"))
            .mark_rule(color="var(--ink)", strokeDash=[2, 3], strokeWidth=1.2)
            .encode(y="value:Q")
        )
        targets = base.mark_circle(size=260, opacity=0).encode(x=x, y=y, tooltip=tips)
        return alt.layer(band, spent, final, line, dots, targets).add_params(alt.param(name="dots", value=0), *_span())

    def places() -> alt.LayerChart:
        """The world in seven steps of intensity; the place that is chosen, and the one that is pointed at, outlined."""
        fill = alt.Color(
            "properties.g:Q",
            scale=alt.Scale(
                type="threshold",
                domain=[*THRESHOLDS],
                range=[f"var(--map-{step})" for step in range(len(THRESHOLDS) + 1)],
            ),
            legend=None,
        )
        chosen, pointed = "datum.id !== '' && datum.id === picked", "datum.id !== '' && datum.id === hovered"
        return (
            alt.Chart(alt.InlineData(values=shapes(), format=alt.TopoDataFormat(type="topojson", feature="countries")))
            .mark_geoshape(cursor="pointer", invalid=None)
            .encode(
                color=alt.when("isValid(datum.properties.g)").then(fill).otherwise(alt.value("var(--map-none)")),
                stroke=alt.when(f"{chosen} || {pointed}")
                .then(alt.value("var(--ink)"))
                .otherwise(alt.value("var(--paper)")),
                strokeWidth=alt.when(chosen)
                .then(alt.value(2.4))
                .when(pointed)
                .then(alt.value(1.4))
                .otherwise(alt.value(0.4)),
                tooltip=[
                    alt.Tooltip("properties.name:N", title="Place"),
                    alt.Tooltip("properties.label:N", title="Intensity"),
                ],
            )
            .project(type="equalEarth")
            .properties(height="container")
            .add_params(alt.param(name="picked", value=""), alt.param(name="hovered", value=""))
        )

    def starts() -> alt.LayerChart:
        """Emissions of the same run, started at any hour of the series."""
        label = "utcFormat(datum.value, daily ? '%H:%M' : utchours(datum.value) ? '%H:%M' : '%d %b')"
        x = alt.X(
            "time:T",
            title=None,
            scale=alt.Scale(type="utc", nice=False),
            axis=alt.Axis(grid=False, tickCount=6, labelExpr=label),
        )
        y = alt.Y("y:Q", title=None, scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=4, format=",~r"))
        line = (
            alt.Chart(alt.NamedData("starts"))
            .mark_line(color="var(--term-start)", strokeWidth=1.4, interpolate="step-after")
            .encode(x=x, y=y)
        )
        rules = (
            alt.Chart(alt.NamedData("marks"))
            .mark_rule(color="var(--ink)", strokeWidth=1.4)
            .encode(
                x="time:T",
                strokeDash=alt.StrokeDash(
                    "kind:N", legend=None, scale=alt.Scale(domain=["picked", "hovered"], range=[[1, 0], [2, 3]])
                ),
            )
        )
        return alt.layer(line, rules).add_params(alt.param(name="daily", value=False))

    heights = {"epochs": 260, "time": 260, "power": 170, "intensity": 90, "forecast": 220, "starts": 150}
    made = {
        "epochs": lines(along(format="d", tickMinStep=1)),
        "time": lines(along()),
        "power": power(),
        "intensity": intensity(),
        "forecast": forecast(),
        "places": places(),
        "starts": starts(),
    }
    names = {
        "epochs": ("lines", "points"),
        "time": ("lines", "points"),
        "power": ("phases", "lines"),
        "intensity": ("lines",),
        "forecast": ("forecasts", "final"),
        "places": (),
        "starts": ("starts", "marks"),
    }
    specs = {}
    for name, chart in made.items():
        chart = chart.properties(width="container", autosize=alt.AutoSizeParams(type="fit", contains="padding"))
        if name in heights:
            chart = chart.properties(height=heights[name])
        spec = chart.to_dict()
        empty: dict[str, Any] = {one: [] for one in names[name]}
        specs[name] = {**spec, "config": CONFIG, "datasets": {**spec.get("datasets", {}), **empty}}
    return specs


_QUIET: dict[str, Any] = {"domain": False, "ticks": False, "labelPadding": 8}
CONFIG: dict[str, Any] = {
    "font": "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif",
    "background": None,
    "aria": False,
    "padding": {"left": 0, "right": 12, "top": 6, "bottom": 0},
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)",
        "labelFontSize": 12,
        "gridColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelOverlap": True,
    },
    "axisX": {"domainColor": "var(--line)", "ticks": False, "labelPadding": 8, "labelSeparation": 10},
    "axisY": {**_QUIET, "minExtent": AXIS_PX, "maxExtent": AXIS_PX},
}
