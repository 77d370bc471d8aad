"""A CPU's design power is found by its exact model, under the names CPUs give themselves."""

from __future__ import annotations

import csv
import platform
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattloop.meters.tdp import TABLE, CpuTdp, cpu_model, cpu_tdp


@pytest.mark.parametrize(
    ("model_name", "watts"),
    [
        ("Intel(R) Xeon(R) Gold 6248R CPU @ 3.00GHz", 205.0),
        ("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", 120.0),
        ("Intel(R) Xeon(R) CPU E5-2680 0 @ 2.70GHz", 130.0),
        ("Intel(R) Xeon(R) Platinum 8480+", 350.0),
        ("Intel(R) Xeon(R) CPU Max 9480", 350.0),
        ("13th Gen Intel(R) Core(TM) i9-13900K", 125.0),
        ("Intel(R) Core(TM) Ultra 7 155H", 28.0),
        ("Intel(R) Core(TM)2 Quad CPU    Q9550  @ 2.83GHz", 95.0),
        ("AMD EPYC 7742 64-Core Processor", 225.0),
        ("AMD EPYC 9654 96-Core Processor", 360.0),
        ("AMD Ryzen 9 5950X 16-Core Processor", 105.0),
        ("AMD Ryzen 7 5700U with Radeon Graphics", 15.0),
        ("AMD Ryzen Threadripper PRO 3995WX 64-Cores", 280.0),
        ("AMD FX(tm)-8350 Eight-Core Processor", 125.0),
        ("AMD Opteron(tm) Processor 6272", 115.0),
        ("AMD A10-9600P RADEON R5, 10 COMPUTE CORES 4C+6G", 15.0),
    ],
)
def test_a_cpu_is_found_under_the_name_it_gives_itself(model_name: str, watts: float) -> None:
    found = cpu_tdp(model_name)
    assert found is not None
    assert found.watts == watts


def test_the_entry_says_which_model_was_meant() -> None:
    assert cpu_tdp("12th Gen Intel(R) Core(TM) i7-12700K") == CpuTdp("Intel Core i7-12700K", 190.0)
    assert cpu_tdp("Apple M1") == CpuTdp("Apple M1", 10.0)


@pytest.mark.parametrize(
    "model_name",
    [
        "",
        "Intel(R) Xeon(R) Processor",
        "Intel(R) Xeon(R) CPU @ 2.20GHz",
        "Intel Xeon Processor (Skylake, IBRS)",
        "AMD EPYC Processor",
        "AMD EPYC-Rome Processor",
        "Common KVM processor",
        "QEMU Virtual CPU version 2.5+",
        "ARMv8 Processor rev 0 (v8l)",
        "x86_64",
        "arm",
    ],
)
def test_a_name_without_a_model_matches_nothing(model_name: str) -> None:
    assert cpu_tdp(model_name) is None


@pytest.mark.parametrize(
    "model_name",
    [
        "Intel(R) Xeon(R) Gold 6248Z CPU @ 3.00GHz",
        "Intel(R) Xeon(R) Gold 624 CPU @ 3.00GHz",
        "AMD EPYC 7742X 64-Core Processor",
        "AMD EPYC 774 64-Core Processor",
        "Apple M",
        "7742",
    ],
)
def test_a_similar_name_is_another_cpu(model_name: str) -> None:
    assert cpu_tdp(model_name) is None


def test_a_model_sold_with_two_powers_is_not_guessed() -> None:
    assert cpu_tdp("Intel(R) Core(TM)2 Quad CPU Q6600 @ 2.40GHz") is None
    assert cpu_tdp("AMD Phenom(tm) II X6 1055T Processor") is None
    assert cpu_tdp("Intel(R) Atom(TM) CPU E665CT @ 1.30GHz") is None


@given(st.text())
def test_any_text_is_answered(model_name: str) -> None:
    found = cpu_tdp(model_name)
    assert found is None or found.watts > 0.0


def test_every_entry_of_the_table_finds_itself_or_nothing() -> None:
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = [(row["name"], float(row["watts"])) for row in csv.DictReader(file)]
    found = [cpu_tdp(name) for name, _ in rows]
    unmatched = [name for (name, _), entry in zip(rows, found, strict=True) if entry is None]
    assert len(rows) == 4654
    assert unmatched == [name for cpu in ("E625CT", "E645CT", "E665CT") for name in [f"Intel Atom {cpu}"] * 2]
    assert all(entry is None or entry.watts == watts for (_, watts), entry in zip(rows, found, strict=True))
    assert all(0.0 < watts <= 1000.0 for _, watts in rows)


def test_the_model_is_the_first_processors(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "processor\t: 0\nmodel\t\t: 49\nmodel name\t: AMD EPYC 7742 64-Core Processor\n\n"
        "processor\t: 1\nmodel name\t: another\n",
        encoding="utf-8",
    )
    assert cpu_model(cpuinfo) == "AMD EPYC 7742 64-Core Processor"


@pytest.mark.parametrize("text", [None, "", "processor\t: 0\nCPU part\t: 0xd0c\n", "model name\t: \nflags\t: fpu\n"])
def test_without_a_model_name_python_is_asked(tmp_path: Path, text: str | None) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    if text is not None:
        cpuinfo.write_text(text, encoding="utf-8")
    assert cpu_model(cpuinfo) == platform.processor()
