"""Accelerators by name, and the table they stand in."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattloop.hardware import TABLE, Hardware, hardware, read_table, resolve, search, suggestions

HEADER = TABLE.read_text(encoding="utf-8").splitlines()[0]
LABELS = [(label, each) for each in hardware() for label in (each.name, *each.aliases)]


def plain(label: str) -> str:
    return "".join(char for char in label.casefold() if char.isalnum())


def refusal(name: str) -> str:
    with pytest.raises(ValueError) as refused:
        resolve(name)
    return str(refused.value)


# -- the table ---------------------------------------------------------------------------------------------------------


def test_it_holds_what_people_train_on() -> None:
    assert len(hardware()) >= 40
    assert {each.vendor for each in hardware()} == {"NVIDIA", "AMD", "Intel", "Google"}
    for name in "P100 V100 T4 A100 H100 H200 B200 L4 L40S A6000 1080 4090 5090 MI250X MI300X".split():
        assert resolve(name).tdp_w
    for version in "v2 v3 v4 v5e v5p v6e".split():
        assert resolve(f"TPU {version}").vendor == "Google"


def test_no_name_stands_for_two() -> None:
    counts = Counter(plain(label) for label, _ in LABELS)
    assert [label for label, count in counts.items() if count > 1] == []
    assert all(label == label.strip() for label, _ in LABELS)


@pytest.mark.parametrize("each", hardware(), ids=lambda each: each.name)
def test_every_figure_is_plausible_and_has_a_source(each: Hardware) -> None:
    assert each.source
    assert each.tdp_w is None or 50 <= each.tdp_w <= 1500
    assert bool(each.measured_w) == bool(each.measured_scope) == bool(each.measured_source)
    assert each.measured_w is None or 50 <= each.measured_w <= 1000
    assert each.fp32_tflops is None or 1 <= each.fp32_tflops <= 200
    assert each.tensor16_tflops is None or each.tensor16_tflops > (each.fp32_tflops or 0)
    # from Pascal to now the most that a watt buys rose sixfold
    assert each.fp32_gflops_per_w is None or 25 <= each.fp32_gflops_per_w <= 425
    assert each.tdp_w or "publishes no" in each.note


@pytest.mark.parametrize(
    ("name", "tdp_w", "fp32_tflops"),
    [
        ("V100-SXM2-16GB", 300, 15.7),
        ("V100-PCIE-32GB", 250, 14.0),
        ("T4", 70, 8.1),
        ("A100", 400, 19.5),
        ("A100 80GB PCIe", 300, 19.5),
        ("H100", 700, 67.0),
        ("L40S", 350, 91.6),
        ("RTX 2080 Ti", 250, 13.4),
        ("RTX 3090", 350, 35.6),
        ("RTX 4090", 450, 82.6),
        ("MI300X", 750, 163.4),
    ],
)
def test_figures_are_those_of_the_data_sheets(name: str, tdp_w: float, fp32_tflops: float) -> None:
    assert (resolve(name).tdp_w, resolve(name).fp32_tflops) == (tdp_w, fp32_tflops)


def test_what_was_measured_says_what_is_in_it() -> None:
    tpu, gpu = resolve("TPU v3"), resolve("V100")
    assert tpu.measured_w == pytest.approx((310 + 289 + 288 + 245) / 4)  # Patterson et al. 2021, table 4
    assert (gpu.measured_w, gpu.measured_scope) == (330, "system")
    assert "2104.10350" in tpu.measured_source
    assert (resolve("TPU v4").measured_w, resolve("TPU v4").measured_scope) == (170, "device")


def test_efficiency_is_the_fp32_rate_of_a_watt() -> None:
    assert resolve("A100").fp32_gflops_per_w == pytest.approx(48.75)
    assert resolve("TPU v3").fp32_gflops_per_w is None  # no FP32 rate is published
    assert resolve("TPU v4").fp32_gflops_per_w is None


def test_a_table_with_a_word_for_a_number_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hardware.csv"
    path.write_text(f"{HEADER}\nX1,,NVIDIA,consumer,much,,,,,,somebody,\n", encoding="utf-8")
    with pytest.raises(msgspec.ValidationError):
        list(read_table(path))


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a100", "A100 SXM4"),
        ("NVIDIA A100-SXM4-80GB", "A100 SXM4"),
        ("NVIDIA A100-PCIE-40GB", "A100 PCIe 40GB"),
        ("NVIDIA A100 80GB PCIe", "A100 PCIe 80GB"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM5"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA A800-SXM4-80GB", "A800 SXM4"),
        ("NVIDIA A800 80GB PCIe", "A800 PCIe 80GB"),
        ("NVIDIA H800", "H800 SXM5"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("Tesla V100-SXM2-32GB", "V100 SXM2"),
        ("Tesla T4", "T4"),
        ("Quadro RTX 6000", "Quadro RTX 6000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "RTX PRO 6000 Blackwell Workstation"),
        ("NVIDIA GeForce RTX 3090", "RTX 3090"),
        ("geforce gtx 1080ti", "GTX 1080 Ti"),
        ("4090", "RTX 4090"),
        ("AMD Instinct MI300X", "MI300X"),
        ("tpu-v3", "TPU v3"),
        ("Google Cloud TPU v5e", "TPU v5e"),
        ("Trillium", "TPU v6e"),
    ],
)
def test_names_of_vendors_drivers_and_people_are_understood(name: str, found: str) -> None:
    assert resolve(name).name == found


@pytest.mark.parametrize(
    ("variant", "sibling"),
    [("A800 SXM4", "A100 SXM4"), ("A800 PCIe 80GB", "A100 PCIe 80GB"), ("H800 SXM5", "H100 SXM5")],
)
def test_variants_for_another_market_compute_as_their_siblings_do(variant: str, sibling: str) -> None:
    one, other = resolve(variant), resolve(sibling)
    assert (one.tdp_w, one.fp32_tflops, one.tensor16_tflops) == (other.tdp_w, other.fp32_tflops, other.tensor16_tflops)


@pytest.mark.parametrize(
    ("name", "candidates"),
    [
        ("A100 80GB", ["A100 SXM4", "A100 PCIe 80GB"]),
        ("RTX 6000", ["Quadro RTX 6000", "RTX 6000 Ada", "RTX PRO 6000 Blackwell Workstation"]),
        ("rtx6000", ["Quadro RTX 6000", "RTX 6000 Ada"]),
        ("titan x", ["TITAN X (Pascal)", "TITAN Xp"]),
        ("MI300", ["MI300A", "MI300X"]),
    ],
)
def test_a_name_that_may_be_several_is_refused_with_them(name: str, candidates: list[str]) -> None:
    message = refusal(name)
    assert message.startswith(f"gpu={name!r} may be more than one device; write ")
    assert all(repr(candidate) in message for candidate in candidates)


@pytest.mark.parametrize(
    ("name", "near"),
    [("H1000", "H100 SXM5"), ("RTX 4091", "RTX 4090"), ("MI300Z", "MI300X"), ("A100 PCIe 60GB", "A100")],
)
def test_a_name_that_is_none_is_refused_with_near_ones(name: str, near: str) -> None:
    message = refusal(name)
    assert f"gpu={name!r} is not known; did you mean '" in message
    assert near in message
    assert "`wattloop hardware` lists them all" in message


@pytest.mark.parametrize("name", ["", " ", "NVIDIA", "GPU", "laptop", "\0", "人工智能"])
def test_a_name_that_says_nothing_is_refused(name: str) -> None:
    assert refusal(name).startswith(f"gpu={name!r} is not known")


def test_another_model_of_the_same_family_is_not_taken_for_it() -> None:
    for name in ("NVIDIA GeForce RTX 3080 Laptop GPU", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "A100X", "RTX 4090 D"):
        refusal(name)


@given(
    st.sampled_from(LABELS),
    st.sampled_from((str.upper, str.lower, str.title)),
    st.sampled_from(("", " ", "-", "_", "  ")),
    st.sampled_from(("", "NVIDIA ", "nvidia-", "Google ", " AMD-")),
    st.sampled_from(("", " GPU", "  ")),
)
def test_case_spaces_and_the_vendors_name_do_not_matter(
    labelled: tuple[str, Hardware], case: object, space: str, before: str, after: str
) -> None:
    label, each = labelled
    assert callable(case)
    assert resolve(before + case(label.replace(" ", space)) + after) is each


@given(st.text(max_size=40))
def test_any_text_is_a_device_or_a_refusal_that_says_so(name: str) -> None:
    try:
        found = resolve(name)
    except ValueError as error:
        assert str(error).startswith("gpu=")
    else:
        assert any(plain(label) in plain(name) for label, each in LABELS if each is found)
    assert len(suggestions(name)) <= 3


@given(st.sampled_from(LABELS), st.data())
def test_a_search_finds_a_device_by_any_piece_of_its_names(labelled: tuple[str, Hardware], data: st.DataObject) -> None:
    label, each = labelled
    begin = data.draw(st.integers(0, len(label) - 1))
    piece = label[begin : data.draw(st.integers(begin + 1, len(label)))]
    if any(char.isalnum() for char in piece):
        assert each in search(piece)


def test_a_search_for_nothing_lists_all_and_one_for_a_vendor_its_own() -> None:
    assert search("") == search(" ") == hardware()
    assert {each.vendor for each in search("amd")} == {"AMD"}
    assert search("nobody's") == ()
