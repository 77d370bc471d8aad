"""A fake of Linux's ``/sys/class/powercap``: real files in a temporary folder."""

from __future__ import annotations

from pathlib import Path


class Zone:
    """One RAPL zone: a folder with ``name``, ``energy_uj`` and ``max_energy_range_uj``.

    Args:
        path: Its folder, created here.
        name: What the kernel calls it ("package-0", "dram", ...).
        energy_uj: First value of the counter, in microjoules.
        range_uj: Value at which the counter starts again at 0, in microjoules.
    """

    def __init__(self, path: Path, name: str, energy_uj: int = 0, range_uj: int = 262_143_328_850) -> None:
        self.path = path
        self.name = name
        self.range_uj = range_uj
        self.energy_uj = energy_uj
        path.mkdir()
        (path / "name").write_text(f"{name}\n")
        (path / "max_energy_range_uj").write_text(f"{range_uj}\n")
        self._write()

    def advance(self, joules: float) -> None:
        """Let the zone draw energy, in joules; the counter wraps at its range."""
        self.energy_uj = (self.energy_uj + round(joules * 1e6)) % self.range_uj
        self._write()

    def reset(self) -> None:
        """Set the counter to zero."""
        self.energy_uj = 0
        self._write()

    def break_file(self, file: str = "energy_uj") -> None:
        """Make a file unreadable.

        A folder stands in its place: opening it fails with an ``OSError`` for every user, where a mode of 0 would
        not stop root. Where the kind of error matters, give the meter a ``read_text`` that raises it.
        """
        (self.path / file).unlink()
        (self.path / file).mkdir()

    def mend_file(self) -> None:
        """Make ``energy_uj`` readable again, at the value it has come to meanwhile."""
        (self.path / "energy_uj").rmdir()
        self._write()

    def remove_file(self, file: str) -> None:
        """Delete one of its files."""
        (self.path / file).unlink()

    def _write(self) -> None:
        file = self.path / "energy_uj"
        if not file.is_dir():
            # In one piece, as the kernel's files change: whoever reads meanwhile sees a whole number.
            new = self.path / "energy_uj.new"
            new.write_text(f"{self.energy_uj}\n")
            new.replace(file)


class Powercap:
    """A powercap tree.

    Args:
        root: Folder of the tree; created if absent.

    Example:
        >>> import tempfile
        >>> tree = Powercap(Path(tempfile.mkdtemp()) / "powercap")
        >>> package = tree.add("intel-rapl:0", "package-0")
        >>> dram = tree.add("intel-rapl:0:1", "dram")
        >>> package.advance(joules=12.5)
        >>> (package.path / "energy_uj").read_text()
        '12500000\\n'
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def add(self, folder: str, name: str, energy_uj: int = 0, range_uj: int = 262_143_328_850) -> Zone:
        """Add a zone; like sysfs, all folders lie side by side and a subzone is also reached through its parent.

        Args:
            folder: Its folder's name, such as "intel-rapl:0" or, for a subzone, "intel-rapl:0:1".
            name: The zone's name.
            energy_uj: First value of the counter, in microjoules.
            range_uj: Value at which the counter starts again at 0, in microjoules.
        """
        control_type = folder.split(":")[0]
        (self.root / control_type).mkdir(exist_ok=True)
        parent = self.root / folder.rpartition(":")[0]
        zone = Zone(self.root / folder, name, energy_uj, range_uj)
        if parent.name != control_type:
            (parent / folder).symlink_to(zone.path)
        return zone

    @classmethod
    def intel_server(cls, root: Path, sockets: int = 2) -> tuple[Powercap, dict[str, Zone]]:
        """Build a server's tree: per socket a package with core, uncore and dram.

        Returns:
            The tree, and its zones by name; subzones are called "dram-0", "core-0" and so on.
        """
        tree = cls(root)
        zones = {}
        for socket in range(sockets):
            zones[f"package-{socket}"] = tree.add(f"intel-rapl:{socket}", f"package-{socket}")
            for number, name in enumerate(("core", "uncore", "dram")):
                zones[f"{name}-{socket}"] = tree.add(f"intel-rapl:{socket}:{number}", name)
        return tree, zones

    @classmethod
    def laptop(cls, root: Path) -> tuple[Powercap, dict[str, Zone]]:
        """Build a laptop's tree: package, core, uncore, psys, and the package again by memory-mapped registers."""
        tree = cls(root)
        return tree, {
            "package-0": tree.add("intel-rapl:0", "package-0"),
            "core": tree.add("intel-rapl:0:0", "core"),
            "uncore": tree.add("intel-rapl:0:1", "uncore"),
            "psys": tree.add("intel-rapl:1", "psys"),
            "mmio": tree.add("intel-rapl-mmio:0", "package-0"),
        }

    @classmethod
    def amd(cls, root: Path) -> tuple[Powercap, dict[str, Zone]]:
        """Build the tree of an AMD Zen machine, which the same driver serves: package with core."""
        tree = cls(root)
        return tree, {
            "package-0": tree.add("intel-rapl:0", "package-0", range_uj=65_532_610_987),
            "core": tree.add("intel-rapl:0:0", "core", range_uj=65_532_610_987),
        }
