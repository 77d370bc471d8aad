"""Model cards: Hugging Face reads the block, and not a byte of the rest has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.nvml import FakeNvml
from reports.trained import finished
from wattloop.reports.collection import Report, collect, find

pytest.importorskip("huggingface_hub")

import yaml
from huggingface_hub import ModelCard

from wattloop.reports.model_card import KEY, block, with_block, write
from wattloop.reports.summary import Channel

BLOCK: dict[str, str | float] = {"emissions": 12.5, "source": "wattloop 0.1.0; a: b # c", "hardware_used": "2 GPUs"}
AS_YAML = "co2_eq_emissions:\n  emissions: 12.5\n  source: 'wattloop 0.1.0; a: b # c'\n  hardware_used: 2 GPUs"


@pytest.fixture
def trained(fake_nvml: FakeNvml, tmp_path: Path) -> Report:
    folder = tmp_path / "logs"
    folder.mkdir()
    finished(folder, pue=1.5)
    finished(folder, region="US-CA")
    return collect(*find([folder]))


def test_several_runs_are_added_up_in_grams(trained: Report, tmp_path: Path) -> None:
    write(tmp_path / "README.md", trained)
    found = ModelCard.load(tmp_path / "README.md").data.to_dict()
    assert [*found] == [KEY]
    told = found[KEY]
    assert told["emissions"] == pytest.approx(1000 * sum(run.kg_co2e for run in trained.runs), rel=1e-5)
    assert told["geographical_location"] == "France and California, United States"
    assert told["hardware_used"] == "1 x NVIDIA H100 80GB HBM3"
    assert "training_type" not in told
    assert told["source"].startswith("wattloop 0.1.0; 100% of the energy measured; ")
    assert "France 2024: Ember" in told["source"]
    assert "PUE 1 to 1.5" in told["source"]


def test_what_the_user_says_goes_before_the_record_and_that_before_what_the_card_says(
    trained: Report, tmp_path: Path
) -> None:
    card = tmp_path / "README.md"
    card.write_text(
        "---\nco2_eq_emissions:\n  emissions: 1\n  training_type: pre-training\n  hardware_used: 1 A100\n---\n"
    )
    write(card, trained)
    told = ModelCard.load(card).data[KEY]
    assert (told["training_type"], told["hardware_used"]) == ("pre-training", "1 x NVIDIA H100 80GB HBM3")
    assert told["emissions"] != 1
    write(card, trained, hardware="1 H100", training_type="fine-tuning")
    told = ModelCard.load(card).data[KEY]
    assert (told["training_type"], told["hardware_used"]) == ("fine-tuning", "1 H100")


def test_what_the_card_says_of_hardware_stays_where_the_record_does_not_name_it(
    trained: Report, tmp_path: Path
) -> None:
    unnamed = msgspec.structs.replace(
        trained, runs=[msgspec.structs.replace(run, gpu_models={}) for run in trained.runs]
    )
    card = tmp_path / "README.md"
    card.write_text("---\nco2_eq_emissions:\n  hardware_used: 1 A100\n---\n")
    write(card, unnamed)
    assert ModelCard.load(card).data[KEY]["hardware_used"] == "1 A100"
    assert block(unnamed)["hardware_used"] == "1 GPU"


def test_writing_twice_is_writing_once(trained: Report, tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_bytes(b"---\nlicense: mit  # ours\n---\nHello\n")
    write(card, trained)
    once = card.read_bytes()
    write(card, trained)
    assert card.read_bytes() == once
    assert once.startswith(b"---\nlicense: mit  # ours\nco2_eq_emissions:\n")
    assert once.endswith(b"\n---\nHello\n")


def test_a_card_keeps_its_mode_and_the_link_that_leads_to_it(trained: Report, tmp_path: Path) -> None:
    card, link = tmp_path / "card.md", tmp_path / "README.md"
    card.write_text("body\n")
    card.chmod(0o640)
    link.symlink_to(card)
    write(link, trained)
    assert link.is_symlink()
    assert card.stat().st_mode & 0o777 == 0o640
    assert card.read_text().endswith("---\nbody\n")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


CARDS = {
    "appended": ("---\nlicense: mit\n---\nbody", f"---\nlicense: mit\n{AS_YAML}\n---\nbody"),
    "no metadata": ("# Title\n", f"---\n{AS_YAML}\n---\n# Title\n"),
    "nothing": ("", f"---\n{AS_YAML}\n---\n"),
    "a number": ("---\nco2_eq_emissions: 3 # g\nb: 1\n---\n", f"---\n{AS_YAML}\nb: 1\n---\n"),
    "a block": (
        "---\n# head\na: 1   # one\nco2_eq_emissions:\n  emissions: 3\n  source: >\n    x\n    y\n\n"
        "# b\nb:\n- 1\n---\nbody\n",
        f"---\n# head\na: 1   # one\n{AS_YAML}\n\n# b\nb:\n- 1\n---\nbody\n",
    ),
    "a block with a list": (
        "---\nco2_eq_emissions:\n  emissions: 3\n  cards:\n  - a\n  - b # last\n# b\nb: 1\n---\n",
        f"---\n{AS_YAML}\n# b\nb: 1\n---\n",
    ),
    "a flow": ("---\nco2_eq_emissions: {emissions: 3,\n  source: x}\nb: 1\n---\n", f"---\n{AS_YAML}\nb: 1\n---\n"),
    "empty": ("---\nco2_eq_emissions:\nb: 1\n---\n", f"---\n{AS_YAML}\nb: 1\n---\n"),
    "at the end": ("---\nb: 1\nco2_eq_emissions: 3\n# end\n---\n", f"---\nb: 1\n{AS_YAML}\n# end\n---\n"),
    "indented": (
        "---\n  a: 1\n---\n",
        "---\n  a: 1\n" + "\n".join(f"  {line}" for line in AS_YAML.split("\n")) + "\n---\n",
    ),
    "comments alone": ("---\n# nothing yet\n---\n", f"---\n# nothing yet\n{AS_YAML}\n---\n"),
    "carriage returns": (
        "---\r\na: 1 # one\r\nco2_eq_emissions: 3\r\n---\r\nbody\r\n",
        "---\r\na: 1 # one\r\n" + AS_YAML.replace("\n", "\r\n") + "\r\n---\r\nbody\r\n",
    ),
    "a mark of its bytes' order": ("\ufeff---\na: 1\n---\n", f"\ufeff---\na: 1\n{AS_YAML}\n---\n"),
    "rules in its body": ("---\na: 1\n---\nx\n---\nb: 2\n---\n", f"---\na: 1\n{AS_YAML}\n---\nx\n---\nb: 2\n---\n"),
}


@pytest.mark.parametrize("name", CARDS)
def test_all_else_stays_byte_by_byte(name: str) -> None:
    before, after = CARDS[name]
    assert with_block(before, BLOCK) == after
    assert ModelCard(after.removeprefix("\ufeff")).data[KEY] == BLOCK
    assert with_block(after, BLOCK) == after


def test_what_is_not_written_line_by_line_is_kept_by_its_meaning() -> None:
    for card in (
        "---\n{license: mit, tags: [a]}\n---\nbody\n",
        "---\nco2_eq_emissions: &e\n  x: 1\nb: *e\n---\nbody\n",
    ):
        changed = ModelCard(with_block(card, BLOCK))
        before = ModelCard(card).data.to_dict()
        assert changed.text == "body\n"
        assert changed.data.to_dict() == {**before, KEY: BLOCK}


@pytest.mark.parametrize(
    "metadata",
    ["a: [1", "- a\n- b", "a: b: c", "just text", "yes: on", "1: a", "tags: 5", "ignore_metadata_errors: no"],
)
def test_a_card_that_cannot_be_read_is_left_as_it_is(trained: Report, tmp_path: Path, metadata: str) -> None:
    card = tmp_path / "README.md"
    content = f"---\n{metadata}\n---\nbody\n"
    card.write_text(content)
    with pytest.raises(ValueError, match="README.md: its metadata cannot be read: "):
        write(card, trained)
    assert card.read_text() == content


def test_a_card_that_is_no_text_is_left_as_it_is(trained: Report, tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="not text in UTF-8"):
        write(card, trained)
    assert card.read_bytes() == b"\xff\xfe"


def test_a_run_of_which_no_gpu_was_measured_names_no_hardware(trained: Report) -> None:
    channels = (Channel("cpu:0", "counter", 1.0),)
    runs = [msgspec.structs.replace(run, gpus=0.0, gpu_models={}, channels=channels) for run in trained.runs]
    told = msgspec.structs.replace(trained, runs=runs)
    assert "hardware_used" not in block(told)
    assert block(told, hardware="8 x MI300X")["hardware_used"] == "8 x MI300X"


def test_a_run_without_a_place_says_none(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    finished(tmp_path, intensity=100.0, region=None)
    told = block(collect(*find([tmp_path])))
    assert "geographical_location" not in told
    assert "given by the user" in str(told["source"])


TEXTS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def named(length: int) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.text("abc", min_size=length, max_size=length), VALUES, max_size=3)


@given(
    before=named(6),
    known=VALUES,
    after=named(7),
    flow=st.sampled_from([None, False, True]),
    width=st.sampled_from([20, 80]),
    body=st.text(st.characters(codec="utf-8")),
)
def test_whatever_a_card_holds_all_else_stays(
    before: dict[str, Any], known: Any, after: dict[str, Any], flow: bool | None, width: int, body: str
) -> None:
    data = {**before, KEY: known, **after}
    metadata = yaml.safe_dump(data, sort_keys=False, default_flow_style=flow, width=width, allow_unicode=True)
    # With no collection in it, a mapping stands in braces; from one in braces Hugging Face's own way drops nulls.
    flow = metadata.startswith("{")
    card = f"---\n{metadata}---\n{body}"
    changed = with_block(card, BLOCK)
    assert changed.endswith(f"\n---\n{body}")
    found = yaml.safe_load(changed[4 : len(changed) - len(body) - 4])
    assert [(key, repr(value)) for key, value in found.items()] == [
        (key, repr(value)) for key, value in {**data, KEY: BLOCK}.items() if key == KEY or value is not None or not flow
    ]
    if not flow:
        head = metadata[: metadata.index(f"{KEY}:")]
        assert changed.startswith(f"---\n{head}")
