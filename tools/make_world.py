"""Make the packaged shapes of the world's countries from the package ``world-atlas`` on npm.

Run it from anywhere, then look at the difference::

    python tools/make_world.py          # writes callbacks/wattloop/reports/explorer/data/world.json
    python tools/make_world.py --check  # writes nothing, fails if the file is not what this script makes

It needs npm, and the package's own tables of regions: shapes are told by name, and answer to the codes of those. The
source and its licence stand in the SOURCES.md beside the file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "callbacks"))

from wattloop.grid.regions import resolve  # noqa: E402

PACKAGE = "world-atlas@2.0.2"
MEMBER = "package/countries-110m.json"
FILE = ROOT / "callbacks" / "wattloop" / "reports" / "explorer" / "data" / "world.json"
NAMES = {
    "Bosnia and Herz.": "BA",
    "Central African Rep.": "CF",
    "Côte d'Ivoire": "CI",
    "Dem. Rep. Congo": "CD",
    "Dominican Rep.": "DO",
    "Eq. Guinea": "GQ",
    "Falkland Is.": "FK",
    "Fr. S. Antarctic Lands": "TF",
    "Georgia": "GE",
    "Kosovo": "",
    "N. Cyprus": "",
    "Solomon Is.": "SB",
    "Somaliland": "",
    "S. Sudan": "SS",
    "W. Sahara": "EH",
    "eSwatini": "SZ",
}
"""Shapes that bear another name in the tables, or have no code of their own."""
LEFT_OUT = {"Antarctica"}


def fetch(folder: Path) -> dict[str, Any]:
    """Download the package and return the topology of the countries."""
    subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        member = archive.extractfile(MEMBER)
        assert member is not None
        topology: dict[str, Any] = json.load(member)
    return topology


def made(topology: dict[str, Any]) -> str:
    """Return the file: countries alone, each with the code of its region as id."""
    countries = []
    for shape in topology["objects"]["countries"]["geometries"]:
        name = shape["properties"]["name"]
        if name in LEFT_OUT:
            continue
        countries.append({**shape, "id": NAMES[name] if name in NAMES else code(name), "properties": {"name": name}})
    objects = {"countries": {"type": "GeometryCollection", "geometries": countries}}
    return json.dumps({**topology, "objects": objects}, ensure_ascii=False, separators=(",", ":")) + "\n"


def code(name: str) -> str:
    """Return the code of the region with a shape's name; empty, and said, where there is none."""
    try:
        return resolve(name).code
    except ValueError as error:
        print(f"{name}: no region, shown as not known ({error})", file=sys.stderr)
        return ""


def main() -> None:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail if the file differs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = made(fetch(Path(folder)))
    if arguments.check:
        if not FILE.exists() or FILE.read_text(encoding="utf-8") != text:
            sys.exit(f"{FILE} is not what this script makes")
    else:
        FILE.parent.mkdir(parents=True, exist_ok=True)
        FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
