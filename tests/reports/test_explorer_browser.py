"""The explorer in a real browser: what it shows is held against figures worked out from the journal's own lines.

``WATTLOOP_SCREENSHOTS`` names a folder that keeps the pictures.
"""

import io
import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from statistics import mean, stdev

import pytest

from fakes.chromium import chromium
from fakes.day import DAY
from fakes.records import BEGIN, made, write_journal
from wattloop.embodied import Embodied
from wattloop.grid.regions import resolve
from wattloop.grid.series import IntensitySeries
from wattloop.hardware import resolve as device
from wattloop.reports.explorer import write
from wattloop.units import format_co2e, format_energy

sync_api = pytest.importorskip("playwright.sync_api")
image = pytest.importorskip("PIL.Image")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
expect = sync_api.expect

pytestmark = pytest.mark.browser

J_PER_KWH = 3.6e6
PUE, FIRST, SECOND = 1.2, "vit-l-8gpu", "vit-l-bf16"
SCREENSHOTS = os.environ.get("WATTLOOP_SCREENSHOTS")
PATIENCE_S = 30.0
INTERACTIVE_S = 2.0


def of_day(time: datetime) -> float:
    return float(DAY[time.hour])


def grid(time: datetime) -> float:
    """Return the intensity of a made grid, new every five minutes: each day above 250 g/kWh just while a run waits."""
    minute = 60 * time.hour + time.minute // 5 * 5

    def bump(middle: float, half: float) -> float:
        return math.exp(-(((minute - middle) / half) ** 2))

    evening = 35 * bump(1012.5, 180) + 75 * bump(1012.5, 35.9)
    return 160 + 60 * bump(480, 90) - 70 * bump(750, 130) + evening


def series() -> IntensitySeries:
    """Return three days of that grid, each a little dirtier than the one before."""
    hours = [BEGIN.replace(minute=0) + timedelta(hours=hour) for hour in range(72)]
    means = {hour: mean(grid(hour + timedelta(minutes=5 * part)) for part in range(12)) for hour in hours}
    return IntensitySeries({hour: g + hour.day - BEGIN.day for hour, g in means.items()}, source="three days of a grid")


class Truth:
    """Figures of a run under other circumstances, straight from the lines of its journal."""

    def __init__(self, path: Path) -> None:
        records = [json.loads(line) for line in path.read_text().splitlines()]
        self.end = records[-1]["totals"]
        self.kwh, self.kg = self.end["gpu_j"] / J_PER_KWH, self.end["kg_co2e"]
        self.epochs = [record for record in records if record["record"] == "epoch"]
        self.each_kwh = [epoch["spent"]["gpu_j"] / J_PER_KWH for epoch in self.epochs]
        self.each_kg = [epoch["spent"]["kg_co2e"] for epoch in self.epochs]
        self.ticks = [record["totals"] for record in records if record["record"] in ("start", "tick", "end")[1:]]

    def started(self, begin: datetime, series: IntensitySeries) -> float:
        """Price every line of the journal by the series, as if the run had begun then."""
        kg, before = 0.0, {"gpu_j": 0.0, "duration_s": 0.0}
        for tick in self.ticks:
            middle = begin + timedelta(seconds=(tick["duration_s"] + before["duration_s"]) / 2)
            kg += (tick["gpu_j"] - before["gpu_j"]) / J_PER_KWH * PUE * series.at(middle).g_co2e_per_kwh / 1000
            before = tick
        return kg


@pytest.fixture(scope="module")
def journals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the journals of two runs of 100 epochs on 8 GPUs, one of them with a pause, at an intensity of its own."""
    folder = tmp_path_factory.mktemp("logs")
    source = "Electricity Maps v3, DE, life-cycle, average"
    first = write_journal(
        folder,
        made(),
        FIRST,
        pue=PUE,
        intensity=grid,
        source=source,
        net_share=0.3,
        embodied=Embodied(),
        models=("NVIDIA H100 80GB HBM3",),
    )
    second = write_journal(
        folder,
        made(seed=2, gpu_w=310, steps=120, wait_s=0),
        SECOND,
        region="FR",
        pue=1.1,
        intensity=lambda time: 44.2,
        source="France 2024: Ember via Our World in Data, CC BY 4.0 (life-cycle, production-based, average)",
        models=("A GPU that nobody knows",),
    )
    return first, second


@pytest.fixture(scope="module")
def explorer(journals: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the explorer of both, with a series."""
    out = tmp_path_factory.mktemp("page") / "explorer.html"
    assert write(journals, out, series=series()) == ()
    return out


@pytest.fixture(scope="module")
def alone(journals: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the explorer of the first alone."""
    out = tmp_path_factory.mktemp("page") / "alone.html"
    write(journals[:1], out)
    return out


@pytest.fixture(scope="module")
def truth(journals: tuple[Path, Path]) -> Truth:
    return Truth(journals[0])


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: "sync_api.Browser") -> Iterator[Callable[..., "sync_api.Page"]]:
    """Open files; in the end, none of them has asked for anything but itself, nor thrown anything."""
    said: list[str] = []
    pages = []
    expect.set_options(timeout=PATIENCE_S * 1e3)

    def open_page(path: Path, width: int = 1280, height: int = 900, dark: bool = False) -> "sync_api.Page":
        scheme = "dark" if dark else "light"
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page.set_default_timeout(PATIENCE_S * 1e3)
        page.on("request", lambda request: said.append(request.url) if request.url != path.as_uri() else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda message: said.append(message.text))
        page.on("dialog", lambda dialog: said.append(f"dialog {dialog.message}"))
        page.goto(path.as_uri())
        if page.locator("#title").count():
            page.wait_for_selector("html[data-ready]", state="attached")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert said == []


def keep(page: "sync_api.Page", name: str, **options: object) -> None:
    """Keep a picture, if somebody wants to look at it."""
    if SCREENSHOTS:
        Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
        page.mouse.move(0, 0)
        page.evaluate("scrollTo(0, 0)")
        picture = image.open(io.BytesIO(page.screenshot(**options))).convert("RGB")
        few_colours(picture).save(Path(SCREENSHOTS) / f"{name}.png", optimize=True)


def few_colours(picture: "image.Image") -> "image.Image":
    """Keep the 256 commonest colours of a picture as they are, and its edges nearly so: a third of the size."""
    raw = picture.tobytes()
    pixels = [*zip(raw[::3], raw[1::3], raw[2::3], strict=True)]
    colours = Counter(pixels)
    kept = [colour for colour, _ in colours.most_common(256)]
    nearest = {colour: min(range(len(kept)), key=lambda at: math.dist(kept[at], colour)) for colour in colours}
    few = image.new("P", picture.size)
    few.putpalette([part for colour in kept for part in colour])
    few.putdata([nearest[pixel] for pixel in pixels])
    return few


def co2e(kg: float) -> str:
    return format_co2e(kg).replace("CO2e", "CO₂e")


def headline_kg(page: "sync_api.Page") -> tuple[float, float]:
    """Return the emissions that the page names first, and their half-width, in kg."""
    text = page.locator("#number").inner_text()
    value, half, unit = re.fullmatch(r"([\d.,]+)\s+± ([\d.,]+) (\w+) CO₂e", text).groups()
    scale = {"mg": 1e-6, "g": 1e-3, "kg": 1.0, "t": 1e3}[unit]
    return float(value.replace(",", "")) * scale, float(half.replace(",", "")) * scale


def exact(page: "sync_api.Page", scenario: str = "{}") -> dict:
    """Return what the page's own formulas say of the first run."""
    nothing = "{g: null, start: null, pue: null, ratio: 1, epochs: null, last: null}"
    call = f"wattloop.model.footprint(wattloop.runs[0], {{...{nothing}, ...{scenario}}}, wattloop.series)"
    return page.evaluate(
        f"(() => {{ const {{ kwh, kg, s, uncertainty }} = {call}; return {{kwh, kg, s, uncertainty}}; }})()"
    )


def test_the_page_is_small_and_interactive_at_once(
    browser: "sync_api.Browser", alone: Path, record_property: Callable[[str, object], None]
) -> None:
    assert alone.stat().st_size < 6e6
    ready_s = []
    for _ in range(5):
        page = browser.new_page()
        page.goto(alone.as_uri())
        page.wait_for_selector("html[data-ready]", state="attached", timeout=PATIENCE_S * 1e3)
        ready_s.append(page.evaluate("performance.getEntriesByName('wattloop:ready')[0].startTime") / 1e3)
        page.close()
    record_property("interactive_s_median_of_5", sorted(ready_s)[2])
    # The best of five: what else the machine is doing is not the page's.
    assert min(ready_s) < INTERACTIVE_S


def test_the_first_number_is_the_records_with_its_uncertainty(
    visit: Callable[..., "sync_api.Page"], explorer: Path, truth: Truth
) -> None:
    page = visit(explorer)
    kg, half = headline_kg(page)
    assert kg == pytest.approx(truth.kg, abs=half / 10)
    assert half == pytest.approx(0.004 * truth.kg, rel=0.05)
    assert exact(page)["kwh"] == pytest.approx(truth.kwh, rel=1e-7)
    assert exact(page)["kg"] == pytest.approx(truth.kg, rel=1e-7)
    expect(page.locator("#banner-text")).to_contain_text("As recorded")
    keep(page, "explorer", clip={"x": 0, "y": 0, "width": 1280, "height": 1500}, full_page=True)


def test_a_place_is_previewed_on_the_map_and_fixed_by_a_click(
    visit: Callable[..., "sync_api.Page"], explorer: Path, truth: Truth
) -> None:
    page = visit(explorer)
    expected = truth.kwh * PUE * resolve("AU").g_co2e_per_kwh / 1000
    before = page.locator("#number").inner_text()
    at = australia(page)
    page.mouse.move(*at)
    expect(page.locator("figure [data-preview=place]")).to_contain_text(f"Australia: {co2e(expected)}")
    assert page.locator("#number").inner_text() == before, "a preview changes nothing yet"
    page.mouse.click(*at)
    expect(page.locator("#chart-places path[stroke='var(--ink)']")).to_have_count(1)
    clip = page.locator("section:has(#chart-places)").evaluate(
        "e => { const { x, y, width, height } = e.getBoundingClientRect(); return {x, y: y + scrollY, width, height}; }"
    )
    keep(page, "explorer-map", clip=clip, full_page=True)
    expect(page.locator("#banner-text")).to_contain_text(f"in Australia. {co2e(expected)} instead of {co2e(truth.kg)}")
    assert headline_kg(page)[0] == pytest.approx(expected, rel=2e-3)
    assert page.locator("input[name=place]:checked").get_attribute("value") == "AU"
    expect(page.locator("#eq-g")).to_have_text(f"{resolve('AU').g_co2e_per_kwh:.3g} g/kWh")


def australia(page: "sync_api.Page") -> tuple[float, float]:
    """Return a point of the map that lies in Australia."""
    page.locator("#chart-places").scroll_into_view_if_needed()
    box = page.locator("#chart-places svg").bounding_box()
    return box["x"] + 0.845 * box["width"], box["y"] + 0.72 * box["height"]


def test_a_place_is_chosen_from_the_list(visit: Callable[..., "sync_api.Page"], explorer: Path, truth: Truth) -> None:
    page = visit(explorer)
    for code in ("PL", "US-TX", "aws:eu-west-3"):
        region = resolve(code)
        expected = truth.kwh * PUE * region.g_co2e_per_kwh / 1000
        row = page.locator(f"label.place:has(input[value='{code}'])")
        row.hover()
        expect(page.locator("#place-preview")).to_contain_text(f"{region.name}: {co2e(expected)}")
        row.click()
        expect(page.locator("#banner-text")).to_contain_text(f"in {region.name}. {co2e(expected)} instead of")
    page.locator("#find").fill("nor way")
    expect(page.locator("label.place:visible")).to_have_count(
        sum("nor" in f"{r}".lower() and "way" in f"{r}".lower() for r in names(page))
    )


def names(page: "sync_api.Page") -> list[str]:
    return page.locator("label.place").evaluate_all(
        "rows => rows.map(row => row.firstChild.value + ' ' + row.textContent)"
    )


def test_pue_hardware_and_epochs_change_the_numbers_as_their_formulas_say(
    visit: Callable[..., "sync_api.Page"], explorer: Path, truth: Truth
) -> None:
    page = visit(explorer)
    page.locator("#pue").fill("1.5")
    expect(page.locator("#banner-text")).to_contain_text(f"PUE 1.5. {co2e(truth.kg / PUE * 1.5)} instead of")
    assert page.locator("#pue-range").input_value() == "1.5"
    page.locator("#pue").fill("1.525")
    expect(page.locator("#banner-text")).to_contain_text(f"PUE 1.52. {co2e(truth.kg / PUE * 1.525)} instead of")
    page.locator("#pue").fill("0.5")
    expect(page.locator("#banner-text")).to_contain_text("PUE 1.52")  # less than 1 is none
    page.locator("#pue").fill(str(PUE))
    expect(page.locator("#banner-text")).to_contain_text("As recorded")

    ratio = device("V100 SXM2").fp32_gflops_per_w / device("A100 SXM4").fp32_gflops_per_w
    page.locator("#from").select_option(label=device("V100 SXM2").name)
    page.locator("#to").select_option(label=device("A100 SXM4").name)
    expect(page.locator("#second")).to_contain_text("kWh")
    expect(page.locator("#banner-text")).to_contain_text(f"{co2e(truth.kg * ratio)} instead of")
    page.locator("#ratio").fill("0.5")
    expect(page.locator("#banner-text")).to_contain_text(f"energy × 0.5. {co2e(truth.kg / 2)} instead of")
    page.locator("#ratio").fill("1")

    page.locator("#epochs").fill("150")
    more = truth.kg + 50 * mean(truth.each_kg)
    expect(page.locator("#banner-text")).to_contain_text(f"150 epochs. {co2e(more)} instead of")
    expect(page.locator("#eq-epochs")).to_have_text(f"50 × {format_energy(mean(truth.each_kwh))})")
    page.locator("#basis").select_option("last")
    page.locator("#last").fill("10")
    more = truth.kg + 50 * mean(truth.each_kg[-10:])
    expect(page.locator("#banner-text")).to_contain_text(f"{co2e(more)} instead of")
    page.locator("#epochs").fill("40")
    fewer = truth.epochs[39]["totals"]["kg_co2e"]
    expect(page.locator("#banner-text")).to_contain_text(f"40 epochs. {co2e(fewer)} instead of")

    page.locator("#whatif .reset").click()
    expect(page.locator("#banner-text")).to_contain_text("As recorded")
    assert headline_kg(page)[0] == pytest.approx(truth.kg, rel=1e-3)
    assert (page.locator("#epochs").input_value(), page.locator("#ratio").input_value()) == ("100", "1")


def test_the_record_names_what_a_run_ran_on(
    visit: Callable[..., "sync_api.Page"], explorer: Path, truth: Truth
) -> None:
    page = visit(explorer)
    ran_on = page.locator("#from option:checked")
    expect(page.locator("#facts")).to_contain_text("8 x NVIDIA H100 80GB HBM3")
    expect(ran_on).to_have_text(device("NVIDIA H100 80GB HBM3").name)
    expect(page.locator("#banner-text")).to_contain_text("As recorded")
    page.locator("#to").select_option(label=device("V100 SXM2").name)
    ratio = device("H100").fp32_gflops_per_w / device("V100 SXM2").fp32_gflops_per_w
    expect(page.locator("#banner-text")).to_contain_text(f"{co2e(truth.kg * ratio)} instead of")
    page.locator("#ratio").fill("0.5")
    expect(page.locator("#to option:checked")).to_have_text("choose")
    page.locator("#from").select_option(label=device("V100 SXM2").name)
    page.locator("#whatif .reset").click()
    expect(ran_on).to_have_text(device("NVIDIA H100 80GB HBM3").name)
    page.locator("#main").select_option(label=SECOND)
    expect(page.locator("#facts")).to_contain_text("8 x A GPU that nobody knows")
    expect(ran_on).to_have_text("choose")


def test_every_run_is_put_on_other_hardware_by_its_own(visit: Callable[..., "sync_api.Page"], tmp_path: Path) -> None:
    models = {"old": "Tesla V100-SXM2-32GB", "new": "NVIDIA H100 80GB HBM3", "odd": "A GPU that nobody knows"}
    for day, (name, model) in enumerate(models.items()):
        write_journal(tmp_path, made(epochs=2), name, models=(model,), begin=BEGIN + timedelta(days=day))
    kg = Truth(tmp_path / "wattloop-old.jsonl").kg
    out = tmp_path / "hardware.html"
    write([tmp_path], out)
    page = visit(out)
    note, told = page.locator("#ratio-note"), page.locator("#banner-text")

    def if_so(name: str) -> "sync_api.Locator":
        return page.locator("#runs tbody tr", has=page.get_by_text(name, exact=True)).locator("[data-if=kg]")

    page.locator("#main").select_option(label="new")
    page.locator("#to").select_option(label=device("V100 SXM2").name)
    ratio = device("H100").fp32_gflops_per_w / device("V100 SXM2").fp32_gflops_per_w
    expect(told).to_contain_text(f"on V100 SXM2, energy × {ratio:.3g}. {co2e(kg * ratio)} instead of {co2e(kg)}")
    for name, expected in (("new", kg * ratio), ("old", kg), ("odd", kg)):
        expect(if_so(name)).to_have_text(co2e(expected))
    expect(note).to_contain_text("Not scaled, as theirs is not known: odd.")
    page.locator("#ratio").fill("0.5")
    for name in models:
        expect(if_so(name)).to_have_text(co2e(kg / 2))
    expect(note).to_contain_text("applied to all runs")
    page.locator("#main").select_option(label="odd")
    page.locator("#to").select_option(label=device("V100 SXM2").name)
    expect(told).to_contain_text("As recorded")
    expect(note).to_have_text("Choose what odd ran on, too.")
    page.locator("#from").select_option(label=device("A100 SXM4").name)
    ratio = device("A100 SXM4").fp32_gflops_per_w / device("V100 SXM2").fp32_gflops_per_w
    expect(if_so("odd")).to_have_text(co2e(kg * ratio))
    expect(if_so("old")).to_have_text(co2e(kg))


def test_what_is_not_accepted_is_refused_in_sight(visit: Callable[..., "sync_api.Page"], alone: Path) -> None:
    page = visit(alone)
    page.locator("#basis").select_option("last")
    for name, wrong, right, accepted in (
        ("ratio", "0.005", "0.5", "0.01 to 100"),
        ("epochs", "200000", "120", "0 to 100000"),
        ("last", "0", "7", "1 to 1000"),
        ("pue", "0.5", "1.5", "1 to 10"),
    ):
        field, refused, before = page.locator(f"#{name}"), page.locator(f"#{name}-refused"), headline_kg(page)
        field.fill(wrong)
        expect(refused).to_have_text(f"Not used: a number from {accepted} is expected.")
        expect(field).to_have_attribute("aria-invalid", "true")
        assert headline_kg(page) == before
        field.fill(right)
        expect(refused).to_be_hidden()
        expect(field).to_have_attribute("aria-invalid", "false")
        assert headline_kg(page) != before
    page.locator("#ratio").fill("1000")
    page.locator("#find").fill("nor way")
    expect(page.locator("label.place[hidden]")).not_to_have_count(0)
    page.locator("#whatif .reset").click()
    expect(page.locator("#ratio-refused")).to_be_hidden()
    expect(page.locator("#find")).to_have_value("")
    expect(page.locator("label.place[hidden], .group[hidden]")).to_have_count(0)


def test_what_else_than_the_place_differs_is_told_beside_it(
    visit: Callable[..., "sync_api.Page"], explorer: Path, tmp_path: Path
) -> None:
    page = visit(explorer)
    note = page.locator("#place-note")
    for code, said in (("PL", ""), ("US-TX", "is at direct intensity"), ("CA-QC", "is at mixed intensity"), ("", "")):
        page.locator(f"label.place:has(input[value='{code}'])").click()
        expect(note).to_contain_text(said) if said else expect(note).to_be_empty()
    page.locator("label.place:has(input[value='US-TX'])").click()
    expect(note).to_contain_text("This run was priced at life-cycle intensity, Texas is at direct")

    write_journal(tmp_path, made(epochs=2), "average")
    write_journal(tmp_path, made(epochs=2), "marginal", kind="marginal", begin=BEGIN + timedelta(days=1))
    out = tmp_path / "kinds.html"
    write([tmp_path], out)
    page = visit(out)
    note = page.locator("#place-note")
    expect(note).to_contain_text("marginal was priced at marginal intensity, places are by a year's average")
    page.locator("#main").select_option(label="marginal")
    expect(note).to_contain_text("This run was priced at marginal intensity")
    page.locator("#main").select_option(label="average")
    page.locator("#runs tr", has_text="marginal").locator("input.show").uncheck()
    expect(note).to_be_empty()


def test_formulas_are_exact_together(visit: Callable[..., "sync_api.Page"], explorer: Path, truth: Truth) -> None:
    page = visit(explorer)
    found = exact(page, "{g: 700, pue: 1.4, ratio: 0.25, epochs: 130}")
    kwh = 0.25 * (truth.kwh + 30 * mean(truth.each_kwh))
    assert found["kwh"] == pytest.approx(kwh, rel=1e-7)
    assert found["kg"] == pytest.approx(kwh * 1.4 * 0.7, rel=1e-7)
    spread = math.sqrt(sum((x - mean(truth.each_kwh)) ** 2 for x in truth.each_kwh) / 99)
    half = 0.004 * kwh + 1.6448536 * 0.25 * spread * math.sqrt(30 + 30**2 / 100)
    assert found["uncertainty"]["kwh"] == pytest.approx(half, rel=1e-6)
    fewer = exact(page, "{epochs: 7, ratio: 2}")
    assert fewer["kwh"] == pytest.approx(2 * truth.epochs[6]["totals"]["gpu_j"] / J_PER_KWH, rel=1e-6)
    assert fewer["kg"] == pytest.approx(2 * truth.epochs[6]["totals"]["kg_co2e"], rel=1e-6)


def test_a_run_that_was_killed_goes_on_from_its_last_whole_epoch(
    visit: Callable[..., "sync_api.Page"], tmp_path: Path
) -> None:
    path = write_journal(tmp_path, made(epochs=20, steps=120), "killed", until_s=290.0)
    truth, (first,) = Truth(path), Truth(path).epochs
    kg, kwh = first["totals"]["kg_co2e"], first["totals"]["gpu_j"] / J_PER_KWH
    out = tmp_path / "killed.html"
    write([path], out)
    page = visit(out)
    expect(page.locator("#epochs")).to_have_value("")
    expect(page.locator("#epochs-note")).to_contain_text("Recorded: 1, and what came after, which counts only while")
    for count, said, then in ((2, "2 epochs", 2 * kg), (1, "1 epoch", kg), (0, "0 epochs", 0.0)):
        page.locator("#epochs").fill(str(count))
        expect(page.locator("#banner-text")).to_contain_text(f" {said}. {co2e(then)} instead of {co2e(truth.kg)}")
    page.locator("#epochs").fill("3")
    expect(page.locator("#eq-energy")).to_have_text(f"({format_energy(kwh)}")
    expect(page.locator("#eq-epochs")).to_have_text(f"2 × {format_energy(kwh)})")
    expect(page.locator("#eq-note")).to_contain_text("until the end of epoch 1: what came after is not counted")
    found = exact(page, "{epochs: 3}")
    assert (found["kg"], found["s"]) == (pytest.approx(3 * kg), pytest.approx(3 * first["totals"]["duration_s"]))
    page.locator("input[name=along][value=time]").check(force=True)
    page.locator("input[name=sum][value=sum]").check(force=True)
    expect(page.locator("#spent-text")).to_contain_text(f"killed: {co2e(3 * kg)} at ")
    page.locator("#epochs").fill("")
    expect(page.locator("#banner-text")).to_contain_text("As recorded")


def test_epochs_that_are_one_row_are_told_apart_by_their_share_of_it(
    visit: Callable[..., "sync_api.Page"], tmp_path: Path
) -> None:
    path = write_journal(tmp_path, made(epochs=1500, steps=4, wait_s=0), intensity=lambda time: 100.0)
    truth = Truth(path)
    out = tmp_path / "rows.html"
    write([path], out)
    page = visit(out)
    assert page.evaluate("new Set(wattloop.runs[0].epochs.count).size") == 1, "each row holds two epochs"
    before, amid, after = (exact(page, f"{{epochs: {count}}}") for count in (752, 753, 754))
    for key, each in (("kg", truth.each_kg), ("kwh", truth.each_kwh)):
        assert amid[key] - before[key] == pytest.approx((each[752] + each[753]) / 2, rel=0.05)
        assert after[key] - amid[key] == pytest.approx((each[752] + each[753]) / 2, rel=0.05)
    page.locator("#epochs").fill("1")
    assert headline_kg(page)[0] == pytest.approx(truth.epochs[1]["totals"]["kg_co2e"] / 2, rel=0.2)
    expect(page.locator("#banner-text")).to_contain_text(" 1 epoch. ")
    expect(page.locator("#eq-note")).to_contain_text("Epochs 1 to 2 are one row here, of which a share is taken.")

    more = exact(page, "{epochs: 1600}")
    assert more["kwh"] == pytest.approx(truth.kwh + 100 * mean(truth.each_kwh), rel=1e-6)
    half_width = 0.004 * more["kwh"] + 1.6448536 * stdev(truth.each_kwh) * math.sqrt(100 + 100**2 / 1500)
    assert more["uncertainty"]["kwh"] == pytest.approx(half_width, rel=0.05)
    last = [*truth.each_kwh[-4:], mean(truth.each_kwh[-6:-4])]
    assert exact(page, "{epochs: 1600, last: 5}")["kwh"] == pytest.approx(truth.kwh + 100 * mean(last), rel=1e-5)


def test_however_many_epochs_are_asked_for_few_rows_are_made_of_them(
    visit: Callable[..., "sync_api.Page"], alone: Path, truth: Truth
) -> None:
    page = visit(alone)
    page.locator("#epochs").fill("100000")
    kwh = truth.kwh + 99_900 * mean(truth.each_kwh)
    expect(page.locator("#eq-epochs")).to_contain_text("99900 × ")
    rows = page.evaluate("wattloop.model.footprint(wattloop.runs[0], wattloop.state.scenario, null).epochs")
    assert len(rows) <= 300
    assert (rows[-1]["number"], rows[-1]["sum_kwh"]) == (100_000, pytest.approx(kwh, rel=1e-6))
    page.locator("[data-table=spent] summary").click()
    row = page.locator("[data-table=spent] tbody tr").last
    expect(row).to_contain_text("100000 (not run)")
    expect(row).to_contain_text(format_energy(mean(truth.each_kwh)))
    expect(row).to_contain_text(format_energy(kwh))


def test_a_time_that_makes_no_sense_stops_no_page(
    visit: Callable[..., "sync_api.Page"], explorer: Path, tmp_path: Path
) -> None:
    path = write_journal(tmp_path, made(epochs=3, steps=20, wait_s=0))
    *lines, end = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines) + re.sub(r'"duration_s":[\d.]+', '"duration_s":1e13', end))
    out = tmp_path / "damaged.html"
    write([path], out, series=series())
    page = visit(out)
    assert headline_kg(page)[0] == pytest.approx(Truth(path).kg, rel=0.1)
    long = "{...wattloop.runs[0], bins: {end_s: [1e13], kwh: [1], g: [100], phase: ['train'], session: [0]}}"
    starts = f"wattloop.model.starts({long}, wattloop.state.scenario, wattloop.series)"
    assert page.evaluate(f"{starts}.every(Number.isNaN)")
    gap = "{...wattloop.series, hours: [null, ...wattloop.series.hours]}"
    assert page.evaluate(f"Number.isNaN(wattloop.model.meanOf({gap})(wattloop.series.begin + 7200, 1e14))")


def test_another_start_is_priced_hour_by_hour(
    visit: Callable[..., "sync_api.Page"], explorer: Path, truth: Truth
) -> None:
    page = visit(explorer)
    hour = BEGIN.replace(minute=0) + timedelta(hours=20)
    expected = truth.started(hour, series())
    page.locator("#start-time").fill(f"{hour:%Y-%m-%dT%H:%M}")
    page.locator("#start-time").blur()
    expect(page.locator("#banner-text")).to_contain_text(f"started at {hour:%Y-%m-%d %H:%M} UTC")
    # A line of the journal may lie across an hour, and is priced by its middle.
    assert headline_kg(page)[0] == pytest.approx(expected, rel=2e-3)
    starts = page.evaluate(
        """wattloop.model.starts(wattloop.runs[0], {...wattloop.state.scenario}, wattloop.series)
        .map(kg => isNaN(kg) ? null : kg)"""
    )
    assert starts[20] == pytest.approx(expected, rel=2e-3)
    assert starts[20] == pytest.approx(exact(page, f"{{start: {hour.timestamp()}}}")["kg"], rel=1e-9)
    known = [kg for kg in starts if kg is not None]
    assert len(known) == 72 - 5, "a run of five and a quarter hours can't start in the last five"
    assert known == pytest.approx(
        [truth.started(BEGIN.replace(minute=0) + timedelta(hours=h), series()) for h in range(67)], rel=2e-3
    )
    page.locator("input[name=place][value=FR]").check()
    expect(page.locator("#start-value")).to_have_text("as recorded")
    chart = page.locator("#chart-starts svg")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator("[data-preview=start]")).to_contain_text("as recorded")
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator("#banner-text")).to_contain_text("started at")
    expect(page.locator("input[name=place]:checked")).to_have_attribute("value", "")


def test_a_run_of_more_than_a_day_is_priced_by_its_own_mean_day(
    visit: Callable[..., "sync_api.Page"], tmp_path: Path
) -> None:
    path = write_journal(tmp_path, made(epochs=30, steps=100, step_s=30, wait_s=0), intensity=of_day, tick_s=60.0)
    out = tmp_path / "days.html"
    write([path], out)
    page = visit(out)
    day = page.evaluate("wattloop.series")
    assert day["daily"] and day["hours"] == pytest.approx(DAY, rel=0.05)
    page.locator("#start").fill("3")
    expect(page.locator("#banner-text")).to_contain_text("started at 03:00 UTC")
    midnight = BEGIN.replace(hour=0, minute=0)
    days = IntensitySeries({midnight + timedelta(hours=hour): float(DAY[hour % 24]) for hour in range(72)})
    assert headline_kg(page)[0] == pytest.approx(Truth(path).started(midnight + timedelta(hours=3), days), rel=5e-3)
    page.locator("#start").fill("15")
    expect(page.locator("#banner-text")).to_contain_text("started at 15:00 UTC")
    assert headline_kg(page)[0] == pytest.approx(Truth(path).started(midnight + timedelta(hours=15), days), rel=5e-3)


def test_runs_are_overlaid_compared_and_chosen(
    visit: Callable[..., "sync_api.Page"], explorer: Path, journals: tuple[Path, Path]
) -> None:
    page = visit(explorer)
    other = Truth(journals[1])
    rows = page.locator("#runs tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(1)).to_contain_text(co2e(other.kg))
    expect(rows.nth(1)).to_contain_text(format_energy(other.kwh))
    lines = page.locator("#chart-epochs path[stroke^='var(--run']")
    expect(lines).to_have_count(2)
    expect(page.locator("#spent-legend")).to_contain_text(SECOND)
    page.locator("input[name=place][value=DE]").check()
    expected = other.kwh * 1.1 * resolve("DE").g_co2e_per_kwh / 1000
    expect(rows.nth(1).locator("[data-if=kg]")).to_have_text(co2e(expected))
    rows.nth(1).locator("input.show").uncheck()
    expect(page.locator("#spent-legend")).not_to_contain_text(SECOND)
    page.locator("#main").select_option(label=SECOND)
    expect(page.locator("#title")).to_have_text(SECOND)
    expect(page.locator("#banner-text")).to_contain_text("As recorded")
    assert headline_kg(page)[0] == pytest.approx(other.kg, rel=2e-3)
    expect(page.locator("#spent-legend")).to_contain_text(SECOND)


def test_every_way_to_draw_says_in_words_what_it_shows(
    visit: Callable[..., "sync_api.Page"], explorer: Path, truth: Truth
) -> None:
    page = visit(explorer)
    said = set()
    for measure in ("kg", "kwh"):
        for along in ("epochs", "time"):
            for sum_ in ("", "sum"):
                for name, value in (("measure", measure), ("along", along), ("sum", sum_)):
                    page.locator(f"input[name={name}][value='{value}']").check(force=True)
                chart = page.locator(f"#chart-{along}")
                expect(chart.locator("path[stroke^='var(--run']").first).to_be_attached()
                said.add(page.locator("#spent-axis").inner_text() + page.locator("#spent-text").inner_text())
    assert len(said) == 8
    text = page.locator("#spent-text").inner_text()
    assert f"{FIRST}: {format_energy(truth.kwh)} at" in text
    page.locator("input[name=along][value=epochs]").check(force=True)
    page.locator("[data-table=spent] summary").click()
    rows = page.locator("[data-table=spent] tbody tr")
    expect(rows).to_have_count(200)
    cells = rows.nth(41).locator("td").all_inner_texts()
    totals = truth.epochs[41]["totals"]
    assert cells[1:] == [
        format_energy(truth.each_kwh[41]),
        co2e(truth.each_kg[41]),
        format_energy(totals["gpu_j"] / J_PER_KWH),
        co2e(totals["kg_co2e"]),
    ]
    page.locator("[data-table=forecast] summary").click()
    metrics = truth.epochs[41]["metrics"]
    page.locator("input[name=measure][value=kg]").check(force=True)
    row = page.locator("[data-table=forecast] tbody tr").filter(has=page.locator("th", has_text=re.compile("^42$")))
    expect(row).to_contain_text(co2e(metrics["forecast/kg_co2e"]))
    expect(row).to_contain_text(co2e(metrics["forecast/kg_co2e_high"]))
    for table in ("power", "places", "starts"):
        page.locator(f"[data-table={table}] summary").click()
        expect(page.locator(f"[data-table={table}] tbody tr").nth(20)).to_be_attached()
    expect(page.locator("#power-legend")).to_contain_text("pause")
    expect(page.locator("#chart-power path[fill='var(--phase-wait)']")).to_have_count(1)


def test_a_chart_that_was_hidden_fits_the_window_it_comes_back_to(
    visit: Callable[..., "sync_api.Page"], explorer: Path
) -> None:
    page = visit(explorer)
    page.locator("input[name=along][value=time]").check(force=True)
    page.locator("input[name=along][value=epochs]").check(force=True)
    page.set_viewport_size({"width": 700, "height": 900})
    page.locator("input[name=along][value=time]").check(force=True)
    for name in ("time", "power", "forecast", "places"):
        page.wait_for_function(
            """name => { const chart = document.getElementById(`chart-${name}`);
            return Math.abs(chart.querySelector('svg').clientWidth - chart.clientWidth) < 3; }""",
            arg=name,
        )


def test_everything_can_be_done_by_keyboard(
    visit: Callable[..., "sync_api.Page"], explorer: Path, truth: Truth
) -> None:
    page = visit(explorer)
    seen, unseen_focus = [], []
    for _ in range(60):
        page.keyboard.press("Tab")
        at = page.evaluate(
            """() => { const e = document.activeElement; if (e === document.body) return null;
            const shown = (x) => x && getComputedStyle(x).outlineStyle !== 'none';
            const focus = [e, e.parentElement, e.closest('.switch')].some(shown);
            return [e.id || e.name || e.className || e.tagName, focus]; }"""
        )
        if at is None:
            break
        seen.append(at[0])
        unseen_focus += [] if at[1] else [at[0]]
    for name in (
        "skip",
        "main",
        "measure",
        "along",
        "sum",
        "find",
        "place",
        "start",
        "pue",
        "from",
        "to",
        "ratio",
        "epochs",
        "show",
    ):
        assert name in seen, f"{name} is not reached by Tab: {seen}"
    assert unseen_focus == []

    page.locator("body").click(position={"x": 2, "y": 2})
    page.locator("#find").focus()
    page.keyboard.type("poland")
    page.keyboard.press("Enter")
    expected = truth.kwh * PUE * resolve("PL").g_co2e_per_kwh / 1000
    expect(page.locator("#banner-text")).to_contain_text(f"in Poland. {co2e(expected)}")
    page.keyboard.press("Tab")
    while page.evaluate("document.activeElement.id") != "pue":
        page.keyboard.press("Tab")
    page.keyboard.type("2")
    expect(page.locator("#banner-text")).to_contain_text(f"in Poland, PUE 2. {co2e(expected / PUE * 2)}")
    page.locator("#banner .reset").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#banner-text")).to_contain_text("As recorded")
    page.locator("input[name=measure]:checked").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#spent-axis")).to_contain_text("Energy per epoch")


def test_nothing_is_cut_off_at_360_pixels(visit: Callable[..., "sync_api.Page"], explorer: Path) -> None:
    page = visit(explorer, width=360, height=740)
    page.locator("label.place:has(input[value='US-TX'])").click()
    page.locator("#epochs").fill("12345")
    for summary in page.locator("details.table summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    wide = page.evaluate(
        """() => [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll') && !e.closest('svg')
        && !e.closest('.skip') && !e.closest('.hidden') && e.getBoundingClientRect().right > 361)
        .map(e => e.outerHTML.slice(0, 80))"""
    )
    assert wide == []
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    keep(page, "explorer-360")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("hypothetical", [False, True])
def test_axe_finds_no_barrier(
    visit: Callable[..., "sync_api.Page"], explorer: Path, dark: bool, hypothetical: bool
) -> None:
    page = visit(explorer, dark=dark)
    if hypothetical:
        page.locator("label.place:has(input[value='PL'])").click()
        page.locator("#epochs").fill("120")
        page.locator("[data-table=spent] summary").click()
        page.mouse.move(0, 0)
    result = axe.Axe().run(page)
    assert result.response["violations"] == [], result.generate_report()


def test_dark_is_dark_charts_too_and_print_is_light(visit: Callable[..., "sync_api.Page"], explorer: Path) -> None:
    page = visit(explorer, dark=True)

    def light(selector: str, part: str) -> float:
        rgb = page.locator(selector).first.evaluate(f"e => getComputedStyle(e).{part}")
        return sum(map(int, re.findall(r"\d+", rgb)[:3])) / 765

    label = "#chart-epochs text"
    assert light("body", "backgroundColor") < 0.2 and light(label, "fill") > 0.5
    keep(page, "explorer-dark", clip={"x": 0, "y": 0, "width": 1280, "height": 1500}, full_page=True)
    page.locator("label.place:has(input[value='PL'])").click()
    page.emulate_media(media="print", color_scheme="dark")
    assert light("body", "backgroundColor") == 1 and light(label, "fill") < 0.5
    expect(page.locator("#whatif")).to_be_hidden()
    expect(page.locator("#banner-text")).to_be_visible()
    keep(page, "explorer-print", full_page=True)


def test_the_page_is_forbidden_to_ask_for_anything(browser: "sync_api.Browser", explorer: Path) -> None:
    page = browser.new_page()
    page.goto(explorer.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached")
    blocked = page.evaluate(
        """async () => { const seen = [];
        document.addEventListener('securitypolicyviolation', event => seen.push(event.effectiveDirective));
        await fetch('http://127.0.0.1:9/').catch(() => 0);
        const image = new Image(); image.src = 'http://127.0.0.1:9/x.png';
        const holder = document.createElement('div');
        holder.innerHTML = '<img src="data:," onerror="window.stolen = 1">';
        document.body.append(holder);
        await new Promise(done => setTimeout(done, 200));
        return [seen.sort(), window.stolen ?? 0]; }"""
    )
    page.close()
    assert blocked == [["connect-src", "img-src", "script-src-attr"], 0]


def test_text_of_a_record_does_nothing(visit: Callable[..., "sync_api.Page"], tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    path = write_journal(tmp_path, made(epochs=3), "evil", hosts=(evil,), region=evil, source=evil)
    text = path.read_text().replace('"run_id":"evil"', f'"run_id":{json.dumps(evil)}')
    path.write_text(text.replace('"phase":"validation"', f'"phase":{json.dumps(evil)}'))
    (tmp_path / "wattloop-other.jsonl").write_text(path.read_text().replace(json.dumps(evil), json.dumps(evil * 2), 1))
    out = tmp_path / "evil.html"
    write([tmp_path], out)
    page = visit(out)
    expect(page.locator("#title")).to_have_text(evil)
    page.locator("#main").select_option("1")
    page.locator("[data-table=power] summary").click()
    expect(page.locator("[data-table=power]")).to_contain_text(evil)
    page.locator("label.place:has(input[value='PL'])").click()
    box = page.locator("#chart-epochs svg").bounding_box()
    page.mouse.move(box["x"] + box["width"] - 13, box["y"] + 60)
    assert page.locator("img").count() == 0


CASES = {
    "no epoch": {"run": {"epochs": 3}, "until_s": 60.0},
    "one epoch": {"run": {"epochs": 1}},
    "no forecast": {"run": {"epochs": 4}, "strip": True},
    "no GPU": {"run": {"epochs": 2}, "gpus": 0},
    "marginal": {"run": {"epochs": 2}, "kind": "marginal"},
    "zero energy": {"run": {"epochs": 2, "gpu_w": 0.0}},
    "zero intensity": {"run": {"epochs": 2}, "intensity": lambda time: 0.0},
    "killed": {"run": {"epochs": 9}, "until_s": 700.0},
    "start alone": {"run": {"epochs": 2}, "lines": slice(1)},
    "start lost": {"run": {"epochs": 2}, "lines": slice(1, None)},
}


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_run_is_shown(visit: Callable[..., "sync_api.Page"], tmp_path: Path, case: str) -> None:
    options = dict(CASES[case])
    run, lines, strip = made(**options.pop("run")), options.pop("lines", slice(None)), options.pop("strip", False)
    path = write_journal(tmp_path, run, case, **options)
    text = path.read_text()
    if strip:
        text = re.sub(r'"forecast/(\w+)":[\d.e+-]+', r'"forecast/\1":null', text)
    path.write_text("".join(text.splitlines(keepends=True)[lines]))
    out = tmp_path / "case.html"
    write([path], out)
    page = visit(out)
    for name, value in (("measure", "kwh"), ("along", "time"), ("sum", "sum")):
        page.locator(f"input[name={name}][value='{value}']").check(force=True)
    page.locator("label.place:has(input[value='PL'])").click()
    expect(page.locator("#banner-text")).to_contain_text("in Poland")
    for summary in page.locator("details.table summary").all():
        summary.click()
    said = page.locator("body").inner_text()
    assert "NaN" not in said and "undefined" not in said and "Infinity" not in said and "null" not in said
    if case in ("killed", "no epoch"):
        assert "the record has no end" in said.lower() or "its record has no end" in said
    if case == "marginal":
        assert "marginal" in page.locator("#facts").inner_text()
    keep(page, f"case-{case.replace(' ', '-')}", full_page=True)


def test_only_a_whole_share_is_told_as_all(visit: Callable[..., "sync_api.Page"], tmp_path: Path) -> None:
    path = write_journal(tmp_path, made(epochs=1, steps=20))
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        if "totals" in record:
            record["totals"]["modelled_j"] = 0.0004 * record["totals"].get("gpu_j", 0.0)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    out = tmp_path / "share.html"
    write([path], out)
    expect(visit(out).locator("#facts div", has_text="Measured")).to_contain_text("99.9 %")


def test_a_page_without_a_run_names_what_is_wrong(visit: Callable[..., "sync_api.Page"], tmp_path: Path) -> None:
    out = tmp_path / "none.html"
    write([tmp_path / "missing.jsonl"], out)
    expect(visit(out).locator(".problems")).to_contain_text("No such file")


def test_pictures_for_the_manual(visit: Callable[..., "sync_api.Page"], explorer: Path) -> None:
    page = visit(explorer)
    page.locator("label.place:has(input[value='PL'])").click()
    page.locator("#epochs").fill("130")
    expect(page.locator("#banner-text")).to_contain_text("130 epochs")
    keep(page, "explorer-what-if", clip={"x": 0, "y": 0, "width": 1280, "height": 1500}, full_page=True)
    expect(page.locator("#spent-legend")).to_contain_text("as recorded")
