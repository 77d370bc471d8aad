"""Which of the host's GPUs this process can use.

The rules are CUDA's own: "CUDA Environment Variables" in NVIDIA's CUDA C++ Programming Guide, "CUDA Device Enumeration"
in its MIG User Guide; where these are silent, PyTorch's reading of them (``torch.cuda._parse_visible_devices``).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence

import msgspec


class Board(msgspec.Struct, frozen=True):
    """A GPU of the host, as NVML enumerates it.

    Attributes:
        index: NVML's index.
        uuid: "GPU-..." identifier.
        name: Product name.
        pci_bus_id: Address on the PCI bus, as NVML writes it ("00000000:17:00.0").
        mig_uuids: "MIG-..." identifiers of its slices; empty where the board is not partitioned.
    """

    index: int
    uuid: str
    name: str
    pci_bus_id: str
    mig_uuids: tuple[str, ...] = ()


class VisibleGpu(msgspec.Struct, frozen=True):
    """A GPU that this process can use.

    Attributes:
        uuid: The board's "GPU-..." identifier, also where a slice of it was named.
        shared: True where the process has a MIG slice, so that others may use the rest of the board.
    """

    uuid: str
    shared: bool = False


def visible_gpus(
    environ: Mapping[str, str], boards: Sequence[Board], torch: Sequence[str] | None = None
) -> tuple[VisibleGpu, ...]:
    """Return the boards this process can use, each once, in CUDA's order.

    Args:
        environ: The process's environment; ``CUDA_VISIBLE_DEVICES`` counts.
        boards: The host's GPUs.
        torch: What `torch_uuids` returned: it decides, if it names boards of this host only.

    Example:
        >>> boards = [Board(0, "GPU-aa", "T4", "00000000:17:00.0"), Board(1, "GPU-bb", "T4", "00000000:65:00.0")]
        >>> visible_gpus({"CUDA_VISIBLE_DEVICES": "1,-1,0"}, boards)
        (VisibleGpu(uuid='GPU-bb', shared=False),)
    """
    boards = _by_bus(boards)
    known = _known(torch, boards) if torch is not None else None
    named = _named(environ.get("CUDA_VISIBLE_DEVICES"), boards)[0] if known is None else known
    return tuple(dict.fromkeys(VisibleGpu(board.uuid, bool(board.mig_uuids)) for board in named))


def order_doubt(environ: Mapping[str, str], boards: Sequence[Board]) -> str:
    """Say why `visible_gpus` may have picked the wrong boards, or nothing.

    Ordinals count in CUDA's order, which is fastest first unless ``CUDA_DEVICE_ORDER`` says otherwise, and only CUDA
    knows which is fastest. Boards of one name are left in the order of the bus.

    Args:
        environ: The process's environment.
        boards: The host's GPUs.
    """
    text = environ.get("CUDA_VISIBLE_DEVICES")
    in_doubt = (
        text is not None
        and environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID"
        and len({board.name for board in boards}) > 1
        and not text.startswith(("GPU-", "MIG-"))
        and 0 < len(_named(text, _by_bus(boards))[0]) < len(boards)
    )
    return (
        f"CUDA_VISIBLE_DEVICES={text} counts unlike GPUs in CUDA's own order, which may not be that of the PCI bus: "
        "set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name GPUs by UUID"
        if in_doubt
        else ""
    )


def ignored(environ: Mapping[str, str], boards: Sequence[Board]) -> str:
    """Say what of ``CUDA_VISIBLE_DEVICES`` names no GPU, and what that does; nothing where all of it names one.

    Args:
        environ: The process's environment.
        boards: The host's GPUs.

    Example:
        >>> ignored({"CUDA_VISIBLE_DEVICES": "0,7,1"}, [Board(0, "GPU-aa", "T4", "00000000:17:00.0")])
        "CUDA_VISIBLE_DEVICES=0,7,1: '7' names no GPU of this host, so it and all behind it are ignored"
    """
    text = environ.get("CUDA_VISIBLE_DEVICES")
    why = _named(text, _by_bus(boards))[1]
    return f"CUDA_VISIBLE_DEVICES={text}: {why}" if why else ""


def torch_uuids() -> tuple[str, ...] | None:
    """Return the UUIDs of the GPUs PyTorch sees ("GPU-..."), or None where it can't be asked.

    PyTorch is asked only if the process has imported it and initialised CUDA: asking sooner would initialise CUDA, and
    a process with CUDA can't fork.
    """
    torch = sys.modules.get("torch")
    try:
        if torch is None or not torch.cuda.is_initialized():
            return None
        found = [str(torch.cuda.get_device_properties(i).uuid) for i in range(torch.cuda.device_count())]
    except (AttributeError, AssertionError, RuntimeError):
        return None
    return tuple(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}" for uuid in found)


def _by_bus(boards: Sequence[Board]) -> list[Board]:
    return sorted(boards, key=lambda board: (board.pci_bus_id.lower(), board.index))


def _known(uuids: Sequence[str], boards: Sequence[Board]) -> list[Board] | None:
    owners = {uuid.removeprefix("MIG-"): board for board in boards for uuid in board.mig_uuids}
    owners |= {board.uuid.removeprefix("GPU-"): board for board in boards}
    found = [owners.get(uuid.removeprefix("GPU-")) for uuid in uuids]
    return None if None in found else [board for board in found if board]


def _named(text: str | None, boards: Sequence[Board]) -> tuple[list[Board], str]:
    """Return the boards that a value of ``CUDA_VISIBLE_DEVICES`` names, in its order, and what in it names none."""
    if text is None:
        return list(boards), ""
    if not text:
        return [], "it is empty, which hides every GPU"
    entries = text.split(",")
    kind = next((kind for kind in ("GPU-", "MIG-") if entries[0].startswith(kind)), "")
    named: dict[str, Board] = {}
    why = ""
    for entry in entries:
        match = _by_uuid(entry, boards) if kind else _by_ordinal(entry, boards)
        if match is None or not entry.startswith(kind):
            why = f"{entry!r} names no GPU of this host, so it and all behind it are ignored"
            break
        identity, board = match
        if identity in named:
            return [], f"{entry!r} names a GPU for the second time, which hides every GPU"
        named[identity] = board
    return list(named.values()), why


def _by_ordinal(entry: str, boards: Sequence[Board]) -> tuple[str, Board] | None:
    digits = re.match(r"\s*\+?([0-9]+)", entry)
    if digits is None or len(digits[1]) > 9 or int(digits[1]) >= len(boards):
        return None
    board = boards[int(digits[1])]
    return board.uuid, board


def _by_uuid(entry: str, boards: Sequence[Board]) -> tuple[str, Board] | None:
    """Find a board or slice by the beginning of its UUID, or a slice by "MIG-<board>/<gpu instance>/<instance>"."""
    if entry.startswith("MIG-GPU-"):
        owner = entry.removeprefix("MIG-").split("/")[0]
        found = [(entry, board) for board in boards if board.uuid == owner]
    else:
        found = [(uuid, board) for board in boards for uuid in (board.uuid, *board.mig_uuids) if uuid.startswith(entry)]
    return found[0] if len(found) == 1 else None
