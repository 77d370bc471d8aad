"""What papers are given: the figures that they ask for, and no text of a record that LaTeX or Markdown would obey."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.ways import report
from test_journal import END, START, TICK, written
from wattloop.embodied import Embodied
from wattloop.estimating import estimate
from wattloop.footprint import Totals
from wattloop.grid.intensity import Intensity
from wattloop.grid.regions import regions
from wattloop.journal import Pause, Record, Resume
from wattloop.reports import estimated
from wattloop.reports.citations import of_source
from wattloop.reports.collection import Report
from wattloop.reports.facts import hardware
from wattloop.reports.runs import summarize
from wattloop.reports.statement import latex_statement, markdown_statement
from wattloop.reports.summary import RunSummary
from wattloop.reports.text import LONGEST, latex, markdown

SOURCE = "France 2024: Ember via Our World in Data, CC BY 4.0 (life-cycle, production-based, average)"
SPENT = Totals(
    gpu_j=2 * 3.6e6, cpu_j=0.5 * 3.6e6, modelled_j=0.5 * 3.6e6, kg_co2e=0.11, duration_s=36000.0, gpu_s=144000.0
)
BEGUN = datetime(2026, 1, 31, 22, tzinfo=UTC)
BEGIN = msgspec.structs.replace(START, time=BEGUN, g_co2e_per_kwh=40.0, intensity_source=SOURCE, pue=1.1)
CHANNELS = {"GPU-aa": "counter", "cpu:0": "modelled"}
PRICED = msgspec.structs.replace(TICK, time=BEGUN, channels=CHANNELS, intensity=Intensity(40.0, SOURCE), totals=SPENT)
DONE = msgspec.structs.replace(
    END, time=BEGUN + timedelta(hours=11), status="finished", totals=SPENT, uncertainty_kwh=0.031
)


def told(folder: Path, *records: Record) -> Report:
    run, _ = summarize(written(folder, *records), host=START.host)
    assert run is not None
    return report(run)


def test_a_statement_holds_what_papers_ask_for(tmp_path: Path) -> None:
    text = latex_statement(told(tmp_path, BEGIN, PRICED, DONE)).splitlines()[0]
    assert text == (
        r"Training took 10.0 h (40 GPU-hours) on 4 GPUs in France, from January 2026 to February 2026. The devices "
        r"drew 2.500 $\pm$ 0.031 kWh (GPUs 80\%, the rest CPUs and memory), 80\% of it measured by "
        r"wattloop~\cite{wattloop}, from the GPUs' energy counters (NVML) and a model of the CPU (load times TDP). At "
        r"a carbon intensity of 40 g CO$_2$e/kWh (France 2024: Ember via Our World in Data, CC BY 4.0 (life-cycle, "
        r"production-based, average)~\cite{ember_owid}) and a PUE of 1.1, this is 110 g CO$_2$e (gross, operational)."
    )


GPT3 = {"watts": 330.0, "count": 10_000, "days": 14.8, "pue": 1.1, "intensity": 429.0}
V100 = {"gpu": "V100", "gpu_hours": 1000.0, "region": "SE3", "net_share": 0.25, "embodied": Embodied()}
T4 = {"gpu": "T4", "hours": 1.0, "utilization": 0.5}
IDLE = {"gpu": "T4", "hours": 1.0, "utilization": 0.00512}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            GPT3,
            "Training takes 355 h on 10,000 devices (3,552,000 device-hours). At 330 W per device and a PUE of 1.1, "
            r"this is 1,289 MWh, estimated, not measured, with wattloop~\cite{wattloop} by the formulas of Patterson "
            r"et al.~\cite{patterson2021carbon}. At a carbon intensity of 429 g CO$_2$e/kWh, it emits 553 t CO$_2$e "
            "(gross, operational).",
        ),
        (V100, "Training takes 1,000 device-hours on V100 SXM2 in Sweden bidding zone 3"),
        (
            V100,
            "At 330 W per device, the mean measured while training (Patterson et al. 2021, arXiv 2104.10350, table 4",
        ),
        (V100, "net of clean energy matched hour by hour. Making the devices adds "),
        (
            T4,
            r"At 35 W per device, 50\% of their thermal design power (NVIDIA T4 data sheet), and a PUE of 1, this is",
        ),
        (IDLE, r"At 0.358 W per device, 0.512\% of their thermal design power"),
        (T4, "The place is not known, so this is the world's average carbon intensity."),
    ],
)
def test_a_run_that_was_not_measured_has_a_statement_that_says_so(given: dict[str, Any], said: str) -> None:
    done = estimate(**given)
    text = estimated.latex_statement(done)
    assert said in text
    cited = {key for keys in re.findall(r"\\cite\{([^}]*)\}", text) for key in keys.split(",")}
    assert cited == {*re.findall(r"^@misc\{(\w+),$", text, re.M)}
    # Every reference of the other markup is listed, and every one listed is referred to.
    body, _, references = estimated.markdown_statement(done).partition("\n\n")
    assert {*re.findall(r"\[(\d+)\]", body)} == {*re.findall(r"^(\d+)\. ", references, re.M)}


def test_as_markdown_it_says_the_same_with_references(tmp_path: Path) -> None:
    lines = markdown_statement(told(tmp_path, BEGIN, PRICED, DONE)).splitlines()
    assert "2.500 ± 0.031 kWh" in lines[0]
    assert "measured by wattloop [1], from the GPUs' energy counters (NVML)" in lines[0]
    assert "average) [2]) and a PUE of 1.1, this is 110 g CO2e (gross, operational)." in lines[0]
    assert lines[2].startswith("1. The wattloop developers. wattloop: energy and CO2e")
    assert lines[3].startswith("2. Ember and Our World in Data. ")


H100, L40S = "NVIDIA H100 80GB HBM3", "NVIDIA L40S_0"


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ({"a": H100, "b": H100}, "2 x NVIDIA H100 80GB HBM3 in France"),
        ({"a": H100, "b": H100, "c": L40S}, r"2 x NVIDIA H100 80GB HBM3 and 1 x NVIDIA L40S\_0 in France"),
    ],
)
def test_hardware_is_named_as_its_driver_does(tmp_path: Path, models: dict[str, str], said: str) -> None:
    priced = msgspec.structs.replace(PRICED, models=models)
    assert f"GPU-hours) on {said}" in latex_statement(told(tmp_path, BEGIN, priced, DONE))


def test_hardware_of_several_runs_is_named_together(tmp_path: Path) -> None:
    priced = (msgspec.structs.replace(PRICED, models=dict.fromkeys(names, H100)) for names in ("a", "abcd"))
    named = [told(tmp_path / str(number), BEGIN, tick, DONE).runs[0] for number, tick in enumerate(priced)]
    assert hardware(named) == "1 to 4 x NVIDIA H100 80GB HBM3"
    unnamed = told(tmp_path / "old", BEGIN, PRICED, DONE).runs[0]
    assert hardware([*named, unnamed]) == "1 to 4 x NVIDIA H100 80GB HBM3 and 4 GPUs"
    on_a_cpu = msgspec.structs.replace(unnamed, gpus=0.0, channels=())
    assert hardware([*named, on_a_cpu]) == "1 to 4 x NVIDIA H100 80GB HBM3"


def test_that_no_gpu_was_measured_is_not_to_say_that_there_was_none(tmp_path: Path) -> None:
    spent = msgspec.structs.replace(SPENT, gpu_j=0.0, gpu_s=0.0)
    tick = msgspec.structs.replace(PRICED, totals=spent, channels={"cpu:0": "counter"})
    done = msgspec.structs.replace(DONE, totals=spent)
    alone = told(tmp_path / "alone", BEGIN, tick, done)
    assert hardware(alone.runs) == ""
    said = "Training took 10.0 h on hardware without a measured GPU in France, from January 2026"
    assert latex_statement(alone).startswith(said)
    begin = msgspec.structs.replace(BEGIN, hosts=("node1", "node2"))
    together = told(tmp_path / "together", begin, tick, done)
    assert "on 2 hosts without a measured GPU in France" in markdown_statement(together)
    assert "on an MI300X in France" in markdown_statement(alone, "an MI300X")
    bare = told(tmp_path / "bare", BEGIN, done)
    assert "on hardware that is not on record in France" in markdown_statement(bare)


def test_hosts_are_counted_run_by_run(tmp_path: Path) -> None:
    def on(*sessions: tuple[str, ...]) -> RunSummary:
        begins = [
            msgspec.structs.replace(BEGIN, session=number, hosts=hosts) for number, hosts in enumerate(sessions, 1)
        ]
        return told(tmp_path / str(sessions), *begins, PRICED, DONE).runs[0]

    first, second, both = on(("node1",)), on(("node2",)), on(("node1", "node2"))
    assert hardware([first, second]) == "4 GPUs"
    assert hardware([both]) == hardware([both, both]) == "4 GPUs on 2 hosts"
    assert hardware([first, both]) == "4 GPUs on 1 to 2 hosts"
    # Gone on with on another host.
    assert hardware([on(("node1",), ("node2",))]) == "4 GPUs"


def test_hardware_is_named_in_the_users_words(tmp_path: Path) -> None:
    priced = msgspec.structs.replace(PRICED, models={"a": H100})
    text = latex_statement(told(tmp_path, BEGIN, priced, DONE), "4 x H100_SXM")
    assert r"GPU-hours) on 4 x H100\_SXM in France, from January" in text


def test_net_embodied_and_lost_are_said_and_cited(tmp_path: Path) -> None:
    begin = msgspec.structs.replace(BEGIN, net_share=0.4, embodied=Embodied())
    done = msgspec.structs.replace(
        DONE, kg_co2e_net=0.066, kg_co2e_embodied=0.187, lost=Totals(gpu_j=0.25 * 3.6e6), session=3
    )
    text = latex_statement(told(tmp_path, begin, PRICED, done))
    assert r"and 66 g CO$_2$e net of clean energy matched hour by hour~\cite{patterson2021carbon}." in text
    assert r"Making the devices adds 187 g CO$_2$e, shared out by time as SCI does~\cite{iso21031}." in text
    assert r"10.0\% of the energy went into work that was lost and done again." in text
    assert "GPU-hours) in 3 sessions on" in text
    assert {"wattloop", "ember_owid", "patterson2021carbon", "iso21031"} == {*re.findall(r"^@\w+\{(\w+),", text, re.M)}


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        (("marginal", "marginal"), "The carbon intensity is marginal, not average."),
        (("average", "marginal"), "50% of the energy is priced at marginal carbon intensity, the rest at average"),
    ],
)
def test_marginal_intensity_is_said(tmp_path: Path, kinds: tuple[str, str], said: str) -> None:
    half = msgspec.structs.replace(SPENT, gpu_j=1.25 * 3.6e6, cpu_j=0.0)
    first = msgspec.structs.replace(PRICED, totals=Totals(), intensity=Intensity(40.0, "one", kinds[0]))
    second = msgspec.structs.replace(PRICED, totals=half, intensity=Intensity(40.0, "two", kinds[1]))
    # A change is on record with the first reading after it.
    between = msgspec.structs.replace(PRICED, totals=half, intensity=None)
    assert said in markdown_statement(told(tmp_path, BEGIN, first, between, second, DONE))


def test_waiting_is_said(tmp_path: Path) -> None:
    waited = Resume(step=1, reason="", spent=Totals(gpu_j=0.25 * 3.6e6))
    text = latex_statement(told(tmp_path, BEGIN, PRICED, Pause(step=1, reason=""), waited, DONE))
    assert r"10.0\% of the energy was drawn while waiting for cleaner electricity." in text


def test_no_version_but_a_version_is_cited(tmp_path: Path) -> None:
    begin = msgspec.structs.replace(BEGIN, version="[x](http://x)")
    found = told(tmp_path, begin, PRICED, DONE)
    assert "http://x" not in latex_statement(found) + markdown_statement(found)
    assert "Software" in markdown_statement(found)


def test_the_world_average_is_said(tmp_path: Path) -> None:
    begin = msgspec.structs.replace(BEGIN, region="WORLD")
    text = markdown_statement(told(tmp_path, begin, PRICED, DONE))
    assert "Where the place is not known, the world's average carbon intensity is used." in text
    assert "in World" not in text


@pytest.mark.parametrize(
    ("host", "said"), [("elsewhere", "The run was still going."), ("a host", "The run was killed")]
)
def test_a_run_that_has_not_ended_is_said_not_to_have(tmp_path: Path, host: str, said: str) -> None:
    run, _ = summarize(written(tmp_path, BEGIN, PRICED), host=host, now=lambda: PRICED.time)
    assert run is not None
    assert said in latex_statement(report(run))


def test_what_was_modelled_for_a_moment_is_not_all_measured(tmp_path: Path) -> None:
    spent = msgspec.structs.replace(SPENT, modelled_j=1000.0)
    text = latex_statement(told(tmp_path, BEGIN, PRICED, msgspec.structs.replace(DONE, totals=spent)))
    assert r"99.9\% of it measured by" in text


def test_a_file_of_it_is_a_bibliography_too(tmp_path: Path) -> None:
    begin = msgspec.structs.replace(BEGIN, region="@home{x")
    text = latex_statement(told(tmp_path, begin, PRICED, DONE))
    before, _, after = text.partition("\\iffalse\n")
    assert "@" not in before
    assert after.endswith("}\n\\fi\n")
    cited = {key for keys in re.findall(r"\\cite\{([^}]*)\}", before) for key in keys.split(",")}
    entries = after.removesuffix("\\fi\n")
    assert cited == {*re.findall(r"^@misc\{(\w+),$", entries, re.M)}
    for entry in entries.split("@")[1:]:
        assert entry.count("{") == entry.count("}")
        assert re.fullmatch(r"misc\{\w+,\n(  \w+ = \{.*\},\n)+\}\n", entry)


def test_every_source_of_our_tables_is_cited() -> None:
    assert all(of_source(region.intensity().source) for region in regions())
    assert of_source("given by the user") == ()


COMMANDS = {
    r"\textbackslash{}": "\\",
    r"\textasciicircum{}": "^",
    r"\textasciitilde{}": "~",
    r"\textless{}": "<",
    r"\textgreater{}": ">",
    r"\textbar{}": "|",
    r"\char96{}": "`",
    r"\char64{}": "@",
    "{''}": '"',
    **{rf"\{char}": char for char in "{}$&#%_"},
}


def read_by_latex(text: str) -> str:
    """Read what `latex` wrote as LaTeX does, for as far as it has special characters; none may be left unexplained."""
    shown = ""
    while text:
        command = next((one for one in COMMANDS if text.startswith(one)), "")
        if command:
            shown, text = shown + COMMANDS[command], text[len(command) :]
        elif text.startswith("{}"):
            text = text[2:]
        else:
            assert text[0] not in "\\{}$&#^_~%<>|`@", text
            assert text[:2] not in ("--", ",,", "''")
            shown, text = shown + text[0], text[1:]
    return shown


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60) | st.text("-'\",`?!{}\\", max_size=12))
def test_any_text_in_ascii_is_shown_by_latex_as_it_is(text: str) -> None:
    assert read_by_latex(latex(text)) == text


@given(st.text(max_size=60))
def test_no_text_is_obeyed_by_latex(text: str) -> None:
    written_ = latex(text).replace(r"$\pm$", "±").replace(r"$\times$", "×")
    # What pdfLaTeX has no letter for is not left to stop it.
    assert all(char < "\u0180" or char in "±×" for char in written_)
    read_by_latex(written_.replace("---", "—").replace("--", "–"))


def test_letters_of_latin_script_stay_and_others_become_what_there_is() -> None:
    assert latex("Québec, Łódź, ＮＯＤＥ, 東京, ½") == "Québec, Łódź, NODE, ??, 1?2"
    assert latex("a\x1b[0mb\u202e") == "a?[0mb?"


def test_letters_that_pdflatex_lacks_become_what_there_is() -> None:
    assert latex("ĐąþŊ") == "ĐąþŊ"
    assert latex("ĦħŦŧĸ ĿŀŉſŸ") == "????? L?l??nsŸ"


@given(st.text(max_size=60) | st.text("wW.:/\\", max_size=12))
def test_no_text_is_obeyed_by_markdown(text: str) -> None:
    escaped = markdown(text)
    assert "\n" not in escaped
    plain = re.sub(r"\\([!-/:-@\[-`{-~])", " ", escaped)
    assert not {*"\\`*_{}[]<>#|~&$@!"} & {*plain}
    assert "://" not in plain
    assert "www." not in plain.lower()


def test_a_text_too_long_is_cut() -> None:
    assert len(markdown("x" * 10_000)) == LONGEST
