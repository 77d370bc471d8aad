"""Two hosts, made of namespaces of this machine: names, addresses and boots of their own, and one job over both."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.nvml import environment as with_gpus
from ranks.launch import Started, environment, told, torchrun
from wattloop import journal

pytest.importorskip("torch")

WATTS = [[100.0, 200.0], [300.0, 400.0]]
CPU_J = [110.0, 220.0]
INTERVAL_S = 0.1
BOOT_ID = "/proc/sys/kernel/random/boot_id"


def sh(command: str) -> None:
    subprocess.run(command, shell=True, check=True, capture_output=True, text=True)


class Host:
    """A host: a network of its own with one address, a name, and, unless it is a container, a boot of its own."""

    def __init__(self, number: int, tag: str, folder: Path, container: bool) -> None:
        self.number, self.namespace = number, f"wattloop{tag}{number}"
        self.link, self.address = f"wl{tag}{number}", f"10.213.{int(tag, 16)}.{number + 1}"
        self.name = f"node{number}"
        self._boot = folder / f"boot{number}"
        self._boot.write_text(f"{uuid.uuid4()}\n")
        self._container = container

    def command(self, command: list[str]) -> list[str]:
        boot = "" if self._container else f"mount --bind {self._boot} {BOOT_ID} && "
        inside = f'hostname {self.name} && {boot}exec "$@"'
        return [
            "ip",
            "netns",
            "exec",
            self.namespace,
            "unshare",
            "--uts",
            "--mount",
            "sh",
            "-c",
            inside,
            "sh",
            *command,
        ]


@contextlib.contextmanager
def two_hosts(folder: Path, containers: bool) -> Iterator[list[Host]]:
    """Make two hosts that reach each other.

    Raises:
        PermissionError: It is not permitted here.
    """
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "mount", "hostname"))):
        raise PermissionError("only root may make hosts of namespaces, with ip, unshare, mount and hostname")
    tag = f"{os.getpid() % 256:x}"
    hosts = [Host(number, tag, folder, containers) for number in range(2)]
    try:
        try:
            for host in hosts:
                sh(f"ip netns add {host.namespace}")
            a, b = hosts
            sh(f"ip link add {a.link} netns {a.namespace} type veth peer name {b.link} netns {b.namespace}")
            for host in hosts:
                sh(f"ip -n {host.namespace} addr add {host.address}/24 dev {host.link}")
                sh(f"ip -n {host.namespace} link set {host.link} up && ip -n {host.namespace} link set lo up")
                subprocess.run(host.command(["true"]), check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            raise PermissionError(error.stderr.strip()) from None
        yield hosts
    finally:
        for host in hosts:
            subprocess.run(["ip", "netns", "delete", host.namespace], capture_output=True)


def run_job(folder: Path, containers: bool) -> list[dict[str, Any]]:
    """Train on two ranks of each host; each sees both GPUs of its host."""
    worker = str(Path(__file__).with_name("host_worker.py"))
    try:
        with contextlib.ExitStack() as stack:
            hosts = stack.enter_context(two_hosts(folder, containers))
            started = []
            for host in hosts:
                gpus = ";".join(
                    f"d{index}.profile=constant:{watts};d{index}.uuid=GPU-{host.name}-{index}"
                    for index, watts in enumerate(WATTS[host.number])
                )
                env = with_gpus(f"devices=2;{gpus}", environment({"GLOO_SOCKET_IFNAME": host.link}))
                options = [f"--node-rank={host.number}", f"--local-addr={host.address}", "--rdzv-id=job"]
                options += [f"--rdzv-conf=is_host={int(host.number == 0)}"]
                command = torchrun(2, worker, str(folder), nnodes=2, endpoint=f"{hosts[0].address}:29412", more=options)
                started.append(Started(host.command(command), env, folder / f"output{host.number}"))
                stack.enter_context(started[-1])
            for one in started:
                one.finish()
    except PermissionError as error:
        pytest.skip(f"no hosts can be made here: {error}")
    return told(folder, 4)


def check_gpus(ranks: list[dict[str, Any]]) -> None:
    watts = [sum(WATTS[rank["host"] == "node1"]) / 2 for rank in ranks]
    least_j = sum(
        w * (rank["last_step_s"] - rank["after_start_s"] - INTERVAL_S) for w, rank in zip(watts, ranks, strict=True)
    )
    most_j = 1000 * (max(rank["end_s"] for rank in ranks) - min(rank["before_start_s"] for rank in ranks))
    for rank in ranks:
        assert least_j <= rank["gpu_j"] <= most_j
        assert rank["steps"] == 100


def test_two_hosts_count_each_gpu_and_each_cpu_once(tmp_path: Path) -> None:
    ranks = run_job(tmp_path, containers=False)
    assert [rank["host"] for rank in ranks] == ["node0", "node0", "node1", "node1"]
    check_gpus(ranks)
    assert [rank["cpu_j"] for rank in ranks] == [pytest.approx(sum(CPU_J))] * 4
    (path,) = tmp_path.glob("wattloop-*.jsonl")
    start, *_, end = journal.read(path)
    assert isinstance(start, journal.Start)
    assert isinstance(end, journal.End)
    assert (start.host, start.world_size, start.hosts) == ("node0", 4, ("node0", "node1"))
    assert end.totals.cpu_j == pytest.approx(sum(CPU_J))
    cpus_j = {name: energy_j for name, energy_j in end.channels_j.items() if not name.startswith("GPU-")}
    assert cpus_j == pytest.approx({"cpu:0": 100, "dram:0": 10, "node1/cpu:0": 200, "node1/dram:0": 20})
    assert {*end.channels_j} - {*cpus_j} == {f"GPU-node{host}-{index}" for host in range(2) for index in range(2)}
    assert sum(end.channels_j.values()) == pytest.approx(end.totals.energy_j)


def test_two_containers_of_one_host_count_its_cpu_once(tmp_path: Path) -> None:
    """Their names and networks differ, but the instruments are those of one machine: here, of the first rank's."""
    ranks = run_job(tmp_path, containers=True)
    assert {rank["host"] for rank in ranks} == {"node0", "node1"}
    check_gpus(ranks)
    assert [rank["cpu_j"] for rank in ranks] == [pytest.approx(CPU_J[0])] * 4
