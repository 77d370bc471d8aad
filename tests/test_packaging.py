"""What pip gets: the files in the package, and bounds that are tested."""

import re
import tomllib
from importlib.metadata import requires
from importlib.resources import files
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def test_package_holds_its_data_and_its_types() -> None:
    package = files("wattloop")
    assert package.joinpath("py.typed").is_file()
    for folder in ("data", "grid/data", "meters/data"):
        assert any(path.name.endswith(".csv") for path in package.joinpath(folder).iterdir())
    explorer = package.joinpath("reports", "explorer")
    for name in ("template.html", "explorer.css", "script/model.js", "data/world.json"):
        assert explorer.joinpath(*name.split("/")).is_file()


def test_oldest_environment_pins_the_lower_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = list(project["dependencies"])
    for name in ("lightning", "keras", "transformers", "tensorboard", "grid"):
        lines += extras[name]
    bounds = {Requirement(line).name: next(iter(Requirement(line).specifier)).version for line in lines}
    pins = dict(re.findall(r"^([\w.-]+)==(.+)$", (ROOT / "tests" / "constraints-oldest.txt").read_text(), re.MULTILINE))
    assert {name: pins[name] for name in bounds} == bounds
    assert pins["pytorch-lightning"] == bounds["lightning"]


def test_core_stays_small() -> None:
    core = {Requirement(line).name for line in requires("wattloop") or () if "extra ==" not in line}
    assert core == {"msgspec", "nvidia-ml-py", "psutil"}
