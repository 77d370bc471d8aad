"""`wattloop estimate` and `wattloop hardware` as their users meet them: in a process of their own."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest

from published import PATTERSON, Published
from test_cli import on_a_terminal, refused, told

RUN = ("estimate", "--gpu", "a100", "--count", "8", "--hours", "24", "--pue", "1.1")


def estimated(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told("estimate", *arguments, "--json"))
    return found


def lines(*arguments: str, **variables: str) -> list[str]:
    return [line.rstrip() for line in told(*arguments, **variables).splitlines()]


def flowed(*arguments: str) -> str:
    return re.sub(r"\s+", " ", told(*arguments))


# -- estimate ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", PATTERSON, ids=lambda run: run.name)
def test_pattersons_table_4_comes_out_as_json(run: Published) -> None:
    power = ("--watts", str(run.watts), "--count", str(run.count), "--days", str(run.days), "--pue", str(run.pue))
    done = estimated(*power, "--intensity", str(run.gross_g), "--net-intensity", str(run.net_g))
    assert done["kwh"] / 1e3 == pytest.approx(run.mwh, rel=0.01)
    assert done["kg_co2e"] / 1e3 == pytest.approx(run.gross_t, rel=0.02)
    assert done["kg_co2e_net"] / 1e3 == pytest.approx(run.net_t, rel=0.02)


def test_scripts_get_the_inputs_as_they_were_used() -> None:
    done = estimated(*RUN[1:], "--region", "france", "--net-share", ".25", "--embodied")
    assert list(done)[:4] == ["kwh", "kg_co2e", "kg_co2e_net", "kg_co2e_embodied"]
    assert done["kwh"] == pytest.approx(84.48)
    assert done["kg_co2e"] == pytest.approx(84.48 * 44.179e-3)
    assert done["kg_co2e_net"] == pytest.approx(0.75 * done["kg_co2e"])
    assert done["kg_co2e_embodied"] == pytest.approx(164 * 8 * 24 / (4 * 8760))
    used = {"gpu": "A100 SXM4", "watts": 400, "count": 8, "hours": 24, "gpu_hours": 192, "pue": 1.1, "region": "FR"}
    assert {name: done[name] for name in used} == used
    assert (done["net_share"], done["embodied"]["lifetime_years"], done["utilization"]) == (0.25, 4, None)


def test_what_was_not_asked_for_is_null() -> None:
    done = estimated("--watts", "300", "--gpu-hours", "10")
    assert (done["kg_co2e_net"], done["kg_co2e_embodied"], done["count"], done["region"]) == (None, None, None, "WORLD")


def test_every_result_stands_beside_its_formula() -> None:
    shown = lines(*RUN, "--region", "gcp:europe-west9", "--net-share", "0.5", "--embodied", COLUMNS="140")
    rows = [line for line in shown if line.startswith(("energy", "gross", "net", "embodied"))]
    assert [line.split(maxsplit=1)[1] for line in rows] == [
        "84.5 kWh  8 x 400 W x 24 h x PUE 1.1 / 1000",
        "2.87 kg CO2e  84.48 kWh x 0.034 kg/kWh",
        "1.44 kg CO2e  84.48 kWh x 0.034 kg/kWh x (1 - 0.5)",
        "899 g CO2e  164 kg x 192 device-h / (4 years x 8,760 h), in neither; NVIDIA's figure for a GPU of an HGX H100",
    ]


def test_the_formula_of_gpu_hours_and_of_a_net_intensity() -> None:
    arguments = ("--watts", "310.5", "--gpu-hours", "1000000", "--intensity", "545", "--net-intensity", "54.5")
    shown = "\n".join(lines("estimate", *arguments))
    assert "310 MWh" in shown
    assert "310.5 W x 1,000,000 device-h x PUE 1 / 1000" in shown
    assert "310,500 kWh x 0.545 kg/kWh" in shown
    assert "16.9 t CO2e  310,500 kWh x 0.0545 kg/kWh" in shown


def test_it_says_whose_power_it_took() -> None:
    assert "400 W per device: TDP, a rough upper bound, without the host (NVIDIA A100 data sheet)" in flowed(*RUN)
    half = flowed(*RUN, "--utilization", ".5")
    assert "200 W per device: 0.5 x 400 W TDP, without the host" in half
    measured = flowed("estimate", "--gpu", "tpu-v3", "--hours", "1")
    assert "283 W per device, the mean measured while training, with its share of host" in measured
    assert "arXiv 2104.10350, table 4" in measured
    assert "450 W per device: 1 x 450 W TDP" in flowed(
        "estimate", "--gpu", "tpu-v3", "--hours", "1", "--utilization", "1"
    )
    assert "275 W per device, as given" in flowed("estimate", "--watts", "275", "--hours", "1")


def test_it_says_which_intensity_it_took() -> None:
    assert "no --region is given, so this is the world average" in flowed(*RUN)
    assert "world average" not in flowed(*RUN, "--region", "FR")
    assert "429 g CO2e/kWh, as given" in flowed(*RUN, "--intensity", "429")
    assert "PUE 1, the devices alone" in flowed("estimate", "--watts", "1", "--hours", "1")


def test_the_same_run_in_the_cleanest_the_dirtiest_and_the_places_asked_for() -> None:
    shown = lines(*RUN, "--region", "US-CA", "--compare", "FR, se3,gcp:europe-west9")
    begin = next(k for k, line in enumerate(shown) if line.split() == ["place", "g/kWh", "CO2e", "of", "this", "basis"])
    places = shown[begin + 1 : begin + 7]
    assert [line.split()[:2] for line in places[:3]] == [
        ["this", "US-CA"],
        ["cleanest", "US-VT"],
        ["dirtiest", "US-WV"],
    ]
    assert [line.split()[0] for line in places[3:]] == ["FR", "SE3", "gcp:europe-west9"]
    assert places[3].split()[-5:] == ["3.73", "kg", "24.7", "%", "life-cycle"]
    assert shown[begin + 7].startswith("cleanest and dirtiest of the US states, gross; across bases they")


def test_equivalents_are_those_that_say_something() -> None:
    small = flowed("estimate", "--watts", "300", "--hours", "1")
    assert "17.3 phone charges" in small
    assert "flights San" not in small
    gpt3 = flowed(
        "estimate", "--gpu", "v100", "--count", "10000", "--days", "14.8", "--pue", "1.1", "--intensity", "429"
    )
    assert "66.6 years of a US home's energy, or 461 return flights San Francisco-New York" in gpt3
    assert "phone" not in gpt3
    assert "US EPA" in gpt3


def test_the_largest_run_there_can_be_is_still_told_in_numbers() -> None:
    shown = told("estimate", "--watts", "30000", "--gpu-hours", "1e12", "--region", "TM", COLUMNS="100")
    assert "30,000,000,000 MWh" in shown
    assert not re.search(r"\b(?:inf|nan)\b|e\+", shown)
    almost_clean = told("estimate", "--watts", "300", "--hours", "1", "--intensity", "5e-324", COLUMNS="100")
    assert "> 1,000,000 %" in almost_clean
    assert max(map(len, almost_clean.splitlines())) <= 100


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_an_estimate_fits_its_terminal_and_names_places_in_full(columns: int) -> None:
    arguments = (*RUN, "--region", "gcp:europe-west9", "--compare", "SE3", "--net-share", ".5", "--embodied")
    shown = lines(*arguments, COLUMNS=str(columns))
    assert max(map(len, shown)) <= columns
    assert any(line.startswith("cleanest  gcp:northamerica-northeast1") for line in shown)


def test_an_estimate_has_colours_on_a_terminal_and_none_in_a_pipe_or_on_a_dumb_one() -> None:
    assert "\x1b[32m" in on_a_terminal(*RUN)
    assert "\x1b" not in on_a_terminal(*RUN, TERM="dumb")
    assert "\x1b" not in told(*RUN)


def test_an_estimate_can_be_shown_in_ascii() -> None:
    arguments = (*RUN, "--region", "CA-QC", "--compare", "CI,azure:brazilsouth,aws:sa-east-1")
    assert told(*arguments, PYTHONIOENCODING="ascii").isascii()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "wattloop: the power of a device is not known; give --gpu NAME or --watts W per device\n"),
        (["--gpu", "a100"], "wattloop: the time is not known; give --hours, --days or --gpu-hours\n"),
        (["--gpu", "a100", "--watts", "3", "--hours", "1"], "wattloop: --gpu and --watts are both given; "),
        (["--watts", "3", "--hours", "1", "--days", "1"], "wattloop: --hours and --days are both given; "),
        (["--watts", "3", "--gpu-hours", "1", "--count", "2"], "wattloop: --gpu-hours and --count are both given; "),
        (["--watts", "3", "--hours", "1", "--utilization", "1"], "--watts and --utilization are both given; "),
        (["--watts", "3", "--hours", "1", "--intensity", "9", "--region", "FR"], "--region and --intensity are both"),
        (
            ["--watts", "3", "--hours", "1", "--net-share", "1", "--net-intensity", "3"],
            "--net-intensity and --net-share",
        ),
        (["--watts", "nan", "--hours", "1"], "wattloop: --watts nan is not accepted; give a finite number above 0\n"),
        (["--watts", "3", "--hours", "-1"], "wattloop: --hours -1.0 is not accepted; give a finite number above 0\n"),
        (["--watts", "3", "--hours", "inf"], "wattloop: --hours inf is not accepted; "),
        (["--watts", "3", "--hours", "1", "--pue", "0.9"], "wattloop: --pue 0.9 is not accepted; give a number from 1"),
        (["--watts", "3", "--hours", "1", "--count", "0"], "wattloop: --count 0 is not accepted; "),
        (["--watts", "3", "--hours", "1", "--count", "1.5"], "Invalid value"),
        (
            ["--gpu", "rtx 6000", "--hours", "1"],
            "wattloop: --gpu 'rtx 6000' may be more than one device; write 'Quadro",
        ),
        (["--gpu", "H1000", "--hours", "1"], "wattloop: --gpu 'H1000' is not known; did you mean 'H100 SXM5'"),
        (["--gpu", "tpu v6e", "--hours", "1"], "Google publishes no TDP of TPU v6e. Give --watts per device\n"),
        (["--watts", "3", "--hours", "1", "--region", "Frnace"], "wattloop: --region 'Frnace' is not known; did you"),
        (["--watts", "3", "--hours", "1", "--compare", "FR,Frnace"], "wattloop: --compare 'Frnace' is not known; did"),
        (["--watts", "3", "--hours", "1", "--compare", ","], "wattloop: --compare ',' is not accepted; give places"),
        (["--watts", "3", "--hours", "1e300"], "wattloop: 1e+300 device-hours are not accepted; give at most 1e+12"),
    ],
)
def test_a_users_mistake_is_answered_with_the_option_and_code_2(arguments: Sequence[str], message: str) -> None:
    assert message in refused("estimate", *arguments)


# -- hardware ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("way", "cite"), [("--latex", "~\\cite{wattloop}"), ("--markdown", " [1]")])
def test_papers_get_a_statement(way: str, cite: str) -> None:
    text = told("estimate", "--gpu", "A100", "--count", "8", "--hours", "36", "--region", "FR", way)
    assert text.startswith("Training takes 36 h on 8 x A100 SXM4 (288 device-hours) in France.")
    assert f"115 kWh, estimated, not measured, with wattloop{cite}" in text


def test_it_is_written_in_one_way_at_a_time() -> None:
    message = refused("estimate", "--gpu", "A100", "--hours", "1", "--json", "--latex")
    assert message == "wattloop: --json and --latex are both given; it is written in one way at a time\n"


def test_all_hardware_is_listed_each_in_a_line() -> None:
    shown = lines("hardware")
    assert shown[0].split() == ["name", "vendor", "TDP", "W", "mean", "W", "FP32", "TF", "16-bit", "TF"]
    assert len(shown) == 1 + len(json.loads(told("hardware", "--json")))
    assert any(line.split() == ["A100", "SXM4", "NVIDIA", "400", "19.5", "312"] for line in shown)
    assert any(line.split() == ["TPU", "v3", "Google", "450", "283", "123"] for line in shown)


def test_one_device_is_told_with_its_sources() -> None:
    assert lines("hardware", "V100-SXM2") == [
        "NVIDIA V100 SXM2, data centre",
        "300 W TDP",
        "330 W mean while training, with its share of host, network and fans "
        "(Patterson et al. 2021, arXiv 2104.10350, table 4: GPT-3)",
        "15.7 TFLOPS in FP32, 52.3 GFLOPS/W",
        "125 TFLOPS in FP16 or BF16, dense",
        "NVIDIA V100 data sheet",
        "also: V100-SXM2-16GB, V100-SXM2-32GB, V100 SXM, V100",
    ]


def test_hardware_fits_a_terminal_of_60_columns() -> None:
    shown = on_a_terminal("hardware", "rtx pro", COLUMNS="60")
    assert max(len(line) for line in shown.splitlines()) <= 60


def test_hardware_that_is_not_there_is_answered_with_near_names() -> None:
    assert refused("hardware", "H1000").startswith("wattloop: no hardware has 'H1000' in its name; did you mean H100")
    assert refused("hardware", "abacus") == "wattloop: no hardware has 'abacus' in its name\n"


def test_help_names_the_commands_and_every_option() -> None:
    assert {"estimate", "hardware"} <= set(told("--help").split())
    shown = told("estimate", "--help", COLUMNS="100")
    options = "gpu watts count hours days gpu-hours utilization pue region intensity net-intensity net-share embodied"
    assert all(f"--{option} " in shown for option in [*options.split(), "compare", "json"])
