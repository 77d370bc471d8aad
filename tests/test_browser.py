"""What a person sees: TensorBoard over the demo's own logs, in a real browser.

``WATTLOOP_SCREENSHOTS`` names a folder that keeps the pictures; the demo then trains at full length for them.
"""

import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.chromium import chromium

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
image = pytest.importorskip("PIL.Image")
pytest.importorskip("tensorboard")

pytestmark = pytest.mark.browser

DEMO = Path(__file__).parents[1] / "examples" / "demo.py"
SCREENSHOTS = os.environ.get("WATTLOOP_SCREENSHOTS")
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the demo ran, and left its ``demo-runs``."""
    folder = tmp_path_factory.mktemp("demo")
    length = [] if SCREENSHOTS else ["--quick"]
    demo = subprocess.run([sys.executable, str(DEMO), *length], cwd=folder, capture_output=True, text=True)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    return folder


@pytest.fixture(scope="module")
def tensorboard_url(workdir: Path) -> Iterator[str]:
    """Serve the demo's runs on a free port of the loopback device."""
    log = workdir / "tensorboard.log"
    command = ["-m", "tensorboard.main", "--logdir", "demo-runs", "--host", "127.0.0.1", "--port", "0"]
    with log.open("w") as output:
        server = subprocess.Popen([sys.executable, *command], cwd=workdir, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline_s = time.monotonic() + PATIENCE_S
        while not (url := re.search(r"http://127\.0\.0\.1:\d+/", log.read_text())):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline_s, log.read_text()
            time.sleep(0.02)
        yield url[0]
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    """Start Debian's Chromium without a screen."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: "sync_api.Browser") -> Iterator["sync_api.Page"]:
    """Open a page that waits patiently for what it's asked to find."""
    page = browser.new_page(viewport={"width": 1280, "height": 1050})
    page.set_default_timeout(PATIENCE_S * 1e3)
    expect.set_options(timeout=PATIENCE_S * 1e3)
    yield page
    page.close()


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """Return the folder that takes the pictures."""
    folder = Path(SCREENSHOTS or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def wait_until_drawn(chart: "sync_api.Locator") -> None:
    """Wait until a chart shows lines, which TensorBoard draws in colour on a grey grid."""
    deadline_s = time.monotonic() + PATIENCE_S
    while coloured_pixels(chart) < 200:
        assert time.monotonic() < deadline_s, "the chart stayed empty"
        chart.page.wait_for_timeout(50)


def coloured_pixels(element: "sync_api.Locator") -> int:
    picture = image.open(io.BytesIO(element.screenshot())).convert("RGB")
    return sum(count for count, rgb in picture.getcolors(2**24) if max(rgb) - min(rgb) > 32)


def test_emissions_are_drawn_beside_the_loss_for_every_framework(
    page: "sync_api.Page", tensorboard_url: str, screenshots: Path
) -> None:
    page.goto(f"{tensorboard_url}?tagFilter=(^train%2Floss|emissions%2Fkg_co2e)%24&smoothing=0#timeseries")
    page.get_by_label("Ignore outliers in chart scaling").uncheck()
    page.get_by_label("Toggle settings side pane").click()
    cards = page.locator("scalar-card")
    own = cards.filter(has_text=re.compile(r"^\s*emissions\s*/kg_co2e"))
    trainer = cards.filter(has_text=re.compile(r"^\s*train/emissions\s*/kg_co2e"))
    for run in ("keras", "lightning/tensorboard", "loop"):
        expect(own).to_contain_text(run)
    expect(trainer).to_contain_text("transformers/tensorboard")
    wait_until_drawn(own.locator("line-chart"))
    wait_until_drawn(trainer.locator("line-chart"))
    page.screenshot(path=screenshots / "tensorboard-emissions.png")


def test_margin_charts_show_what_is_spent_against_the_forecast(
    page: "sync_api.Page", tensorboard_url: str, screenshots: Path
) -> None:
    page.goto(f"{tensorboard_url}#custom_scalars&_smoothingWeight=0")
    expect(page.get_by_text("wattloop", exact=True)).to_be_visible()
    page.get_by_text("Ignore outliers in chart scaling").click()
    charts = page.locator("tf-custom-scalar-margin-chart-card").filter(has_text="kg CO2e: spent and forecast")
    # One chart holds Lightning, Keras and the loop, the other the Trainer, which files our keys under "train/".
    expect(charts).to_have_count(2)
    for chart in charts.all():
        wait_until_drawn(chart.locator("#chartdiv"))
    bands = [chart.locator("path.area").count() for chart in charts.all()]
    assert sorted(bands) == [2, 6], "every run has two: what is spent, and the forecast with its interval"
    page.screenshot(path=screenshots / "tensorboard-forecast.png")
