"""Who counts what, against what an observer who knows all processes and devices would say."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wattloop.claims import Claims, Peer, Seen, seen_here, this_process
from wattloop.meters.base import Reading

GPU = ("gpu", "counter")
CPU = ("cpu", "counter")
MODELLED = ("cpu", "modelled")


def peer(rank: int, host: str = "a", ancestors: tuple[str, ...] = (), name: str = "") -> Peer:
    return Peer("run", 50, name or host, host, f"pid {rank}", ancestors)


def counted(peers: list[Peer], *rounds: list[Seen]) -> list[set[str]]:
    """Return which channels each rank counts in the end."""
    claims = Claims(peers)
    for seen in rounds:
        claims.settle(seen)
    return [{name for name, mine in claims.of(rank, seen).items() if mine} for rank, seen in enumerate(rounds[-1])]


def test_a_gpu_belongs_to_the_rank_that_computes_on_it() -> None:
    all_gpus = {f"GPU-{index}": GPU for index in range(3)}
    found = counted([peer(0), peer(1)], [Seen("GPU-1", all_gpus), Seen("GPU-0", all_gpus)])
    # The one nobody computes on is drawing for the job, too.
    assert found == [{"GPU-1", "GPU-2"}, {"GPU-0"}]


def test_a_gpu_is_one_in_whatever_container_it_is_seen() -> None:
    peers = [peer(0, "kernel 1", name="pod-a"), peer(1, "kernel 1", name="pod-b")]
    seen = Seen("", {"GPU-0": GPU, "cpu:0": CPU})
    assert counted(peers, [seen, seen]) == [{"GPU-0", "cpu:0"}, set()]


def test_two_ranks_on_slices_of_one_board_count_it_once() -> None:
    seen = Seen("GPU-0", {"GPU-0": GPU})
    assert counted([peer(0), peer(1)], [seen, seen]) == [{"GPU-0"}, set()]


def test_each_host_s_cpu_and_memory_are_counted_once() -> None:
    peers = [peer(rank, "ab"[rank % 2]) for rank in range(4)]
    channels = {"cpu:0": CPU, "cpu:1": CPU, "dram:0": ("dram", "counter")}
    assert counted(peers, [Seen("", channels)] * 4) == [{*channels}, {*channels}, set(), set()]


def test_modelled_cpus_add_up_but_for_children_of_ranks() -> None:
    seen = Seen("", {"cpu:0": MODELLED})
    torchrun = [peer(rank, ancestors=("agent", "init")) for rank in range(3)]
    assert counted(torchrun, [seen] * 3) == [{"cpu:0"}] * 3
    launched = [peer(0, ancestors=("shell",)), *(peer(rank, ancestors=("pid 0", "shell")) for rank in (1, 2))]
    assert counted(launched, [seen] * 3) == [{"cpu:0"}, set(), set()]
    elsewhere = [peer(0), peer(1, "b", ancestors=("pid 0",))]
    assert counted(elsewhere, [seen] * 2) == [{"cpu:0"}, {"cpu:0"}]


def test_whether_the_first_rank_models_its_children_is_waited_for() -> None:
    seen, launched = Seen("", {"cpu:0": MODELLED}), [peer(0), peer(1, ancestors=("pid 0",))]
    late = [Seen(), seen]
    assert counted(launched, late) == [set(), set()]
    assert counted(launched, late, [seen, seen]) == [{"cpu:0"}, set()]
    assert counted(launched, late, [Seen("", {"GPU-0": GPU}), seen]) == [{"GPU-0"}, {"cpu:0"}]


def test_a_modelled_cpu_is_not_added_to_a_measured_one_of_its_host() -> None:
    peers = [peer(0), peer(1), peer(2, "b")]
    found = counted(peers, [Seen("", {"cpu:0": MODELLED}), Seen("", {"cpu:0": CPU}), Seen("", {"cpu:0": MODELLED})])
    assert found == [set(), {"cpu:0"}, {"cpu:0"}]


def test_what_is_settled_stays_when_others_come_late() -> None:
    early, late = Seen("", {"GPU-0": GPU}), Seen("GPU-0", {"GPU-0": GPU, "GPU-1": GPU})
    assert counted([peer(0), peer(1)], [early, Seen()], [early, late]) == [{"GPU-0"}, {"GPU-1"}]


def test_a_rank_knows_nothing_of_what_is_not_settled() -> None:
    claims = Claims([peer(0), peer(1)])
    claims.settle([Seen("", {"GPU-0": GPU}), Seen()])
    assert claims.of(0, Seen("", {"GPU-0": GPU, "GPU-1": GPU})) == {"GPU-0": True}


def test_this_process_says_where_it_is() -> None:
    this = this_process("run", 50)
    assert (this.run_id, this.log_every) == ("run", 50)
    assert this.host and this.host_name
    assert this.process not in this.ancestors
    assert seen_here([Reading("GPU-0", "gpu", 1.0, "integrated", 0.0)]).channels == {"GPU-0": ("gpu", "integrated")}


@st.composite
def jobs(draw: Any) -> tuple[list[Peer], list[list[Seen]]]:
    """Draw any job: hosts of some GPUs, ranks on them that see some of the GPUs and compute on one, some sooner."""
    hosts = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
    peers, seen = [], []
    for rank in range(draw(st.integers(1, 6))):
        host = draw(st.integers(0, len(hosts) - 1))
        gpus = [f"GPU-{host}-{index}" for index in range(hosts[host])]
        visible = [gpu for gpu in gpus if draw(st.booleans())]
        channels = dict.fromkeys(visible, GPU)
        if draw(st.booleans()):
            channels["cpu:0"] = CPU
        peers.append(peer(rank, f"host {host}"))
        seen.append(Seen(draw(st.sampled_from(["", *visible])), channels))
    late = draw(st.lists(st.booleans(), min_size=len(peers), max_size=len(peers)))
    first = [Seen() if absent else one for absent, one in zip(late, seen, strict=True)]
    return peers, [first, seen]


@given(jobs())
def test_every_device_that_some_rank_sees_is_counted_by_one(job: tuple[list[Peer], list[list[Seen]]]) -> None:
    peers, rounds = job
    there = {(peers[rank].host, channel) for rank, seen in enumerate(rounds[-1]) for channel in seen.channels}
    found = Counter((peers[rank].host, name) for rank, names in enumerate(counted(peers, *rounds)) for name in names)
    assert found == Counter(there)
