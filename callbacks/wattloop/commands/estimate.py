"""``wattloop estimate``."""

from __future__ import annotations

from typing import Annotated

import typer

from wattloop.commands.common import AsJson, one_way, user_errors, write_json, write_text

OPTIONS = (
    "gpu watts count hours days gpu_hours utilization pue region intensity net_intensity net_share embodied compare"
).split()


def estimate(
    gpu: Annotated[
        str | None, typer.Option(help="Device by name: A100, 'TPU v3'; `wattloop hardware` lists them.")
    ] = None,
    watts: Annotated[float | None, typer.Option(help="Mean power per device instead.")] = None,
    count: Annotated[int | None, typer.Option(help="Number of devices. Default: 1.", show_default=False)] = None,
    hours: Annotated[float | None, typer.Option(help="How long the run takes.")] = None,
    days: Annotated[float | None, typer.Option(help="The same in days.")] = None,
    gpu_hours: Annotated[
        float | None, typer.Option(help="Hours of all devices together, instead of --count and --hours.")
    ] = None,
    utilization: Annotated[
        float | None,
        typer.Option(
            help="Share of TDP drawn, 0 to 1. Default: the mean power measured where one is published, else all of TDP."
        ),
    ] = None,
    pue: Annotated[float, typer.Option(help="Power usage effectiveness of the site.")] = 1.0,
    region: Annotated[
        str | None,
        typer.Option(help="Place of `wattloop regions`. Default: the world average.", show_default=False),
    ] = None,
    intensity: Annotated[float | None, typer.Option(help="Carbon intensity instead, in g CO2e/kWh.")] = None,
    net_intensity: Annotated[
        float | None, typer.Option(help="Intensity after hourly-matched clean energy, in g CO2e/kWh.")
    ] = None,
    net_share: Annotated[
        float | None, typer.Option(help="Share of the energy that clean energy matches instead, 0 to 1.")
    ] = None,
    embodied: Annotated[
        bool, typer.Option("--embodied", help="Tell the part of making the devices too: 164 kg each, 4 years.")
    ] = False,
    compare: Annotated[
        str | None, typer.Option(help="More places to tell the same run for.", metavar="REGION,...")
    ] = None,
    json: AsJson = False,
    latex: Annotated[
        bool, typer.Option("--latex", help="Write a statement for a paper, with what it cites, as LaTeX.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Write that statement as Markdown.")] = False,
) -> None:
    """Estimate the energy and CO2e of a run from its hardware, time and place, without measuring it."""
    from wattloop.embodied import Embodied
    from wattloop.estimating import estimate as of

    one_way({"--json": json, "--latex": latex, "--markdown": markdown})
    with user_errors(OPTIONS):
        estimated = of(
            gpu=gpu,
            watts=watts,
            count=count,
            hours=hours,
            days=days,
            gpu_hours=gpu_hours,
            utilization=utilization,
            pue=pue,
            region=region,
            intensity=intensity,
            net_intensity=net_intensity,
            net_share=net_share,
            embodied=Embodied() if embodied else None,
            compare=() if compare is None else _places(compare),
        )
    if json:
        write_json(estimated)
    elif latex or markdown:
        from wattloop.reports.estimated import latex_statement, markdown_statement

        write_text((latex_statement if latex else markdown_statement)(estimated))
    else:
        from wattloop.commands.estimated import show

        show(estimated, world_by_default=region is None and intensity is None)


def _places(compare: str) -> list[str]:
    places = [place.strip() for place in compare.split(",") if place.strip()]
    if not places:
        raise ValueError(f"compare={compare!r} is not accepted; give places, e.g. FR,SE3,gcp:us-west1")
    return places
