"""The package as a whole: what importing it costs, what it offers, and that it keeps to itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import wattloop
from fakes.nvml import environment
from wattloop.grid.regions import regions

ROOT = str(Path(wattloop.__file__).parents[1])
FRAMEWORKS = ("torch", "keras", "tensorflow", "jax", "lightning", "pytorch_lightning", "transformers", "accelerate")
HEAVY = (*FRAMEWORKS, "numpy", "pandas", "tensorboard", "altair", "typer", "rich")
NETWORK = ("socket", "ssl", "http.client", "urllib.request", "requests", "httpx", "asyncio")
INSTRUMENTS = ("psutil", "pynvml")


def child(code: str, config: str = "devices=1") -> Any:
    """Run code in a fresh interpreter with the fake driver; return what it printed, read as JSON."""
    variables: Mapping[str, str] = environment(config, {"PYTHONPATH": ROOT})
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def imported(code: str) -> set[str]:
    return set(child(f"{code}\nimport json, sys; print(json.dumps(list(sys.modules)))"))


def test_importing_it_imports_nothing_to_speak_of() -> None:
    before = imported("from __future__ import annotations\nimport json, typing")
    assert imported("import wattloop") - before == {"wattloop"}


@pytest.mark.parametrize("name", wattloop.__all__)
def test_its_names_need_no_framework_no_network_and_no_instrument(name: str) -> None:
    modules = imported(f"from wattloop import {name}")
    assert not modules & {*HEAVY, *NETWORK, *INSTRUMENTS}


def test_making_a_run_needs_none_either() -> None:
    code = (
        "import wattloop; wattloop.Run(region='FR', budget=wattloop.Budget(kwh=1.0), total_epochs=3); wattloop.track()"
    )
    assert not imported(code) & {*HEAVY, *NETWORK, *INSTRUMENTS}


def test_tracking_a_run_imports_no_framework() -> None:
    code = "import wattloop\nwith wattloop.track(region='FR') as run:\n    list(run.steps(range(3)))"
    modules = imported(code)
    assert not modules & {*HEAVY, *NETWORK}
    assert "pynvml" in modules


TRACKED = """
import json, os, sys, tempfile, time
seen = []
sys.addaudithook(lambda event, args: seen.append(event))
import wattloop
with tempfile.TemporaryDirectory() as folder:
    options = dict(log_dir=folder, total_epochs=2, powercap_root=folder, **OPTIONS)
    with wattloop.track(print, **options) as run:
        for epoch in run.epochs(range(2)):
            for batch in run.steps(range(5)):
                while not run._footprint.channels:  # the meters open in a thread of their own
                    time.sleep(0.01)
    record = [name for name in os.listdir(folder) if name.endswith(".jsonl")]
channels = [reading.kind for reading in run._footprint.channels]
kinds = {event.partition(".")[0] for event in seen}
print()
print(json.dumps({"events": sorted(set(seen)), "record": len(record), "channels": channels, "steps": run.steps_done}))
"""


@pytest.mark.parametrize(
    ("config", "channels"), [("devices=2", ["gpu", "gpu"]), ("error.init=9", ["cpu"])], ids=["two GPUs", "a model"]
)
@pytest.mark.parametrize("options", ["{'region': 'US-CA'}", "{}"], ids=["a region", "no region"])
def test_a_tracked_run_opens_no_socket_and_starts_no_process(config: str, channels: list[str], options: str) -> None:
    seen = child(TRACKED.replace("OPTIONS", options), config)
    assert (seen["record"], seen["channels"], seen["steps"]) == (1, channels, 10)
    assert "open" in seen["events"]  # the hook hears what goes on
    out = ("socket.", "urllib.", "http.", "ftplib.", "smtplib.", "subprocess.", "os.exec", "os.system", "os.fork")
    assert [event for event in seen["events"] if event.startswith(out)] == []


def test_its_names_are_what_it_says() -> None:
    assert wattloop.__all__ == sorted(wattloop.__all__)
    for name in wattloop.__all__:
        assert getattr(wattloop, name).__name__ == name
        assert getattr(wattloop, name).__doc__
        assert name in dir(wattloop)
    with pytest.raises(AttributeError, match="module 'wattloop' has no attribute 'Tracker'"):
        wattloop.Tracker  # noqa: B018


def test_its_version_is_a_release() -> None:
    assert all(part.isdigit() for part in wattloop.__version__.split("."))


def test_its_tables_lie_where_it_looks_for_them() -> None:
    package = files("wattloop")
    places = ("countries", "us_states", "canadian_provinces", "chinese_provinces", "nordic_zones", "cloud_regions")
    for table in (*(f"grid/data/{place}.csv" for place in places), "meters/data/cpu_tdp.csv", "data/hardware.csv"):
        assert package.joinpath(table).is_file()
    assert package.joinpath("py.typed").is_file()
    assert len({region.code for region in regions()}) > 200
