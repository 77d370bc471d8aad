"""Compiles the C files beside it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path


@cache
def compiled(source: Path, name: str, *flags: str) -> Path:
    """Compile a shared library once per content of its source; safe in parallel test processes.

    Args:
        source: The C file.
        name: Name of the library's file, alone in its folder.
        flags: For the compiler, behind the source.

    Returns:
        Path of the library.
    """
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    library = Path(tempfile.gettempdir()) / f"{source.stem.replace('_', '-')}-{os.getuid()}-{digest}" / name
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        unfinished = library.with_name(f"{os.getpid()}.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(unfinished), str(source), *flags], check=True)
        unfinished.rename(library)
    return library
