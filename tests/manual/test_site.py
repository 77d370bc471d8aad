"""The manual as it is built: nothing is fetched from anywhere, and what links to its pages finds them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from wattloop import Budget
from wattloop.cli import app
from wattloop.footprint import Totals
from wattloop.rows import row

ROOT = Path(__file__).parents[2]
FETCHED = re.compile(r"<(?:link|script|img|iframe|source)\b[^>]*?\b(?:src|href)=[\"']?(?:https?:)?//[^\"'>]+")
STYLED = re.compile(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^\"')]+")
LARGEST_BYTES = 6e6


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_a_page_fetches_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    assert [found for page in pages for found in FETCHED.findall(page.read_text())] == []
    assert [found for sheet in site.rglob("*.css") for found in STYLED.findall(sheet.read_text())] == []


def test_what_the_code_says_of_itself_is_in_its_place(site: Path) -> None:
    keys, commands = ((site / "reference" / f"{name}.html").read_text() for name in ("keys", "cli"))
    for key in row(Totals(), Totals(), None, None, Budget(kwh=1.0)):
        assert f"<code>{re.sub('_(low|high)$', '', key)}</code>" in keys
    for name in get_command(app()).commands:
        assert f'href="#wattloop-{name}"' in commands


def test_it_is_small(site: Path) -> None:
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < LARGEST_BYTES


def test_it_holds_pages_and_pictures_alone(site: Path) -> None:
    assert not [path for path in site.rglob("*") if path.suffix in (".md", ".py", ".toml")]


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_links_of_the_repository_lead_somewhere(name: str) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / name).read_text()):
        assert (ROOT / link).exists(), link
