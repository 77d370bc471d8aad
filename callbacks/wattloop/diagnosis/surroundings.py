"""Surroundings: what a process runs in and beside, as far as it bears on measuring."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import msgspec

CONTAINER_FILES = {".dockerenv": "Docker", "run/.containerenv": "Podman", ".singularity.d": "Apptainer"}
CONTAINER_VARIABLES = {
    "KUBERNETES_SERVICE_HOST": "Kubernetes",
    "APPTAINER_CONTAINER": "Apptainer",
    "SINGULARITY_CONTAINER": "Singularity",
}
CONTAINER_GROUPS = re.compile(r"docker|kubepods|containerd|libpod|lxc", re.IGNORECASE)
FRAMEWORKS = "torch lightning pytorch-lightning keras tensorflow jax transformers accelerate tensorboard".split()
SAME = {"pytorch-lightning": "lightning"}
"""Packages that keep to the bounds of another, under whose name alone they are written down."""
EXTRAS = "lightning keras transformers tensorboard grid report cli".split()
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[^\]]*\])?\s*\(?([^;)]*)\)?(?:;.*extra\s*==\s*['\"]([\w-]+)['\"])?")
_LEAST = re.compile(r">=\s*([\d.]+)")


class Surroundings(msgspec.Struct, frozen=True):
    """What a process runs in.

    Attributes:
        container: What kind of container; empty for none that can be told.
        virtual: The CPU says that it is a virtual machine's.
        vendor: Who made the CPU: ``"GenuineIntel"``, ``"AuthenticAMD"``; empty where it does not say.
        nvidia_module: Version of NVIDIA's kernel module; empty where none is loaded, or none is shown here.
        nvidia_devices: The NVIDIA device files that are there.
    """

    container: str = ""
    virtual: bool = False
    vendor: str = ""
    nvidia_module: str = ""
    nvidia_devices: tuple[str, ...] = ()


class Package(msgspec.Struct, frozen=True):
    """An installed package.

    Attributes:
        name: Its name.
        version: Its version.
        least: The oldest version that is supported; empty where that is not told.
        supported: Whether it is; None where that is not told.
    """

    name: str
    version: str
    least: str = ""
    supported: bool | None = None


def surroundings(environ: Mapping[str, str], root: Path = Path("/")) -> Surroundings:
    """Look around.

    Args:
        environ: The process's environment.
        root: Folder of the file system.
    """
    cpuinfo = _text(root / "proc/cpuinfo")
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    vendor = re.search(r"^vendor_id\s*:\s*(\S+)", cpuinfo, re.MULTILINE)
    module = re.search(r"Module\s+(?:for \S+\s+)?(\d[\d.]+)", _text(root / "proc/driver/nvidia/version"))
    devices = sorted(path.name for path in (root / "dev").glob("nvidia*") if not path.is_dir())
    return Surroundings(
        container=_container(environ, root),
        virtual=flags is not None and "hypervisor" in flags[1].split(),
        vendor=vendor[1] if vendor else "",
        nvidia_module=module[1] if module else "",
        nvidia_devices=tuple(devices),
    )


def _container(environ: Mapping[str, str], root: Path) -> str:
    for variable, kind in CONTAINER_VARIABLES.items():
        if environ.get(variable):
            return kind
    for file, kind in CONTAINER_FILES.items():
        if (root / file).exists():
            return kind
    group = CONTAINER_GROUPS.search(_text(root / "proc/1/cgroup"))
    return group[0] if group else ""


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def frameworks() -> tuple[Package, ...]:
    """Return the frameworks that are installed, and whether their versions are supported, without importing them."""
    bounds = _bounds()
    found = []
    for name in FRAMEWORKS:
        version = installed(name)
        if version:
            least = bounds.get(SAME.get(name, name), "")
            found.append(Package(name, version, least, _release(version) >= _release(least) if least else None))
    return tuple(found)


def extras() -> dict[str, tuple[str, ...]] | None:
    """Return what each extra of ours still wants; None where how we were installed is not known."""
    try:
        needs = metadata.requires("wattloop") or []
    except metadata.PackageNotFoundError:
        return None
    wanting: dict[str, tuple[str, ...]] = dict.fromkeys(EXTRAS, ())
    for name, bounds, extra in filter(None, map(_parsed, needs)):
        if extra in wanting and name != "wattloop":
            least, version = _LEAST.search(bounds), installed(name)
            if not version or (least and _release(version) < _release(least[1])):
                wanting[extra] += (f"{name}{bounds.strip()}",)
    return wanting


def _bounds() -> dict[str, str]:
    try:
        needs = metadata.requires("wattloop") or []
    except metadata.PackageNotFoundError:
        return {}
    found = {}
    for name, bounds, _ in filter(None, map(_parsed, needs)):
        least = _LEAST.search(bounds)
        if least:
            found[name] = least[1]
    return found


def _parsed(requirement: str) -> tuple[str, str, str] | None:
    match = _REQUIREMENT.match(requirement)
    return (match[1].lower(), match[2], match[3] or "") if match else None


def _release(version: str) -> tuple[int, ...]:
    release = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in release[0].split(".")] if release else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def installed(name: str) -> str:
    """Return the version of a package; empty where it is not installed."""
    try:
        return metadata.version(name) or ""
    except metadata.PackageNotFoundError:
        return ""


def python() -> str:
    """Return the version of Python."""
    return platform.python_version()
