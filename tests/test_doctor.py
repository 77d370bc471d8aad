"""`wattloop doctor` on machines of all kinds: what it says is measured, what not, and what would help."""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

import wattloop
from fakes.nvml import FakeNvml
from fakes.nvml import environment as with_fake
from fakes.powercap import Powercap
from wattloop.commands.doctor import _sections
from wattloop.diagnosis.diagnose import diagnose
from wattloop.diagnosis.findings import Diagnosis, Instrument
from wattloop.diagnosis.surroundings import surroundings
from wattloop.meters import MeterOptions
from wattloop.meters.base import MeterUnavailable
from wattloop.meters.rapl import RaplMeter
from wattloop.sampler import acquire, release

ROOT = Path(wattloop.__file__).parents[1]
CODE = "import sys; sys.argv[0] = 'wattloop'; from wattloop.cli import main; main()"
UUIDS = [f"GPU-{0xA0B1C200 + 0x01010101 * i:08x}-fa4e-4000-8000-{i:012x}" for i in range(3)]


class Machine:
    """A root folder that looks like a machine's, with a powercap tree."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.powercap = folder / "powercap"
        self.root.mkdir()

    def put(self, file: str, text: str = "") -> Machine:
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return self

    def cpu(self, vendor: str, *, virtual: bool = False) -> Machine:
        flags = "fpu vme hypervisor" if virtual else "fpu vme"
        return self.put("proc/cpuinfo", f"vendor_id\t: {vendor}\nmodel name\t: X\nflags\t\t: {flags}\n")

    def diagnose(self, environ: Mapping[str, str] | None = None, **options: Any) -> Diagnosis:
        return diagnose(powercap_root=str(self.powercap), root=self.root, environ=environ or {}, **options)


@pytest.fixture
def machine(fake_nvml: FakeNvml, tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def of(found: Diagnosis, name: str) -> Instrument:
    (one,) = [instrument for instrument in found.instruments if instrument.name == name]
    return one


# -- what works --------------------------------------------------------------------------------------------------------


def test_a_machine_where_all_is_measured(machine: Machine, fake_nvml: FakeNvml) -> None:
    fake_nvml.reset("devices=2;d0.profile=constant:100;d1.profile=constant:400;refresh_s=0.02")
    Powercap.intel_server(machine.powercap, sockets=1)
    found = machine.diagnose()
    assert found.measured
    assert [(one.name, one.used, one.remedy) for one in found.instruments] == [
        ("nvml", True, ""),
        ("rapl", True, ""),
        ("model", False, ""),
    ]
    assert [channel.name for channel in found.channels] == [*UUIDS[:2], "cpu:0", "dram:0"]
    assert [round(channel.watts, -1) for channel in found.channels[:2]] == [100, 400]
    assert [(gpu.index, gpu.uuid, gpu.visible, gpu.instrument) for gpu in found.gpus] == [
        (0, UUIDS[0], True, "energy counter"),
        (1, UUIDS[1], True, "energy counter"),
    ]
    assert found.versions.driver == "999.00.fake"
    assert found.warnings == ()


def test_how_often_a_counter_is_refreshed_is_seen(machine: Machine, fake_nvml: FakeNvml) -> None:
    fake_nvml.reset("refresh_s=0.05")
    refresh_s = machine.diagnose().gpus[0].refresh_s
    # On a busy machine it may not have been seen in a second; a wrong one is not told.
    assert refresh_s is None or refresh_s == pytest.approx(0.05, rel=0.2)


@pytest.mark.parametrize(
    ("faults", "instrument", "method"),
    [
        ("", "energy counter", "counter"),
        ("error.total_energy=3", "energy counter, field 83", "counter"),
        ("error.total_energy=3;error.field_83=3", "instant power, field 186", "integrated"),
        ("error.total_energy=3;error.field_83=3;error.field_186=3", "average power, field 185", "integrated"),
        ("error.total_energy=3;error.field_values=3", "power usage", "integrated"),
    ],
)
def test_the_instrument_is_named_that_a_board_is_measured_by(
    machine: Machine, fake_nvml: FakeNvml, faults: str, instrument: str, method: str
) -> None:
    fake_nvml.reset(f"devices=1;{faults}")
    found = machine.diagnose()
    assert found.gpus[0].instrument == instrument
    assert [channel.method for channel in found.channels] == [method]
    assert found.measured


def test_a_slice_is_told_to_be_the_whole_board(machine: Machine, fake_nvml: FakeNvml) -> None:
    fake_nvml.reset("mig=2")
    assert machine.diagnose().gpus[0].shared


def test_a_module_whose_counter_holds_the_cpu_is_said_to(machine: Machine, fake_nvml: FakeNvml) -> None:
    fake_nvml.reset("name=NVIDIA GH200 480GB")
    Powercap.amd(machine.powercap)
    found = machine.diagnose()
    assert of(found, "rapl") == Instrument("rapl", False, "the GPUs' counters are their whole modules', CPU included")


# -- which GPUs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("visible", "counted", "remark"),
    [
        ("2,0", [0, 2], None),
        (
            "1,7,0",
            [1],
            "=1,7,0: '7' names no GPU of this host, so it and all behind it are ignored",
        ),
        ("0,x", [0], "CUDA_VISIBLE_DEVICES=0,x: 'x' names no GPU"),
        ("", [], "CUDA_VISIBLE_DEVICES=: it is empty, which hides every GPU"),
        ("0,1,0", [], "CUDA_VISIBLE_DEVICES=0,1,0: '0' names a GPU for the second time, which hides every GPU"),
        ("GPU-a1,GPU-ff", [1], "'GPU-ff' names no GPU"),
        ("9", [], "'9' names no GPU"),
    ],
)
def test_the_gpus_that_would_be_counted_and_what_names_none(
    machine: Machine,
    fake_nvml: FakeNvml,
    monkeypatch: pytest.MonkeyPatch,
    visible: str,
    counted: list[int],
    remark: str | None,
) -> None:
    fake_nvml.reset("devices=3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = machine.diagnose(os.environ)
    assert [gpu.index for gpu in found.gpus if gpu.visible] == counted
    assert len(found.gpus) == 3
    assert found.cuda_visible_devices == visible
    if remark is None:
        assert found.remarks == ()
    else:
        assert remark in found.remarks[0]
    if not counted:
        assert not found.measured
        assert "set it to GPUs of `nvidia-smi -L`, or unset it" in of(found, "nvml").remedy


def test_what_it_counts_is_what_a_run_counts(
    machine: Machine, fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_nvml.reset("devices=3;d2.error.all=15")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0,2")
    found = machine.diagnose(os.environ)
    options = MeterOptions(powercap_root=str(machine.powercap))
    channels: set[str] = set()

    class Listener:
        def take(self, snapshot: Any) -> None:
            channels.update(one.channel for one in getattr(snapshot, "readings", ()))

    listener = Listener()
    sampler = acquire(options)
    sampler.subscribe(listener.take, 1.0)
    assert sampler.read(20.0)
    release(options, sampler)
    assert {channel.name for channel in found.channels} == channels == set(UUIDS[:2])


def test_unlike_boards_counted_by_number_are_in_doubt(
    machine: Machine, fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_nvml.reset("devices=2;d1.name=NVIDIA T4")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    (remark,) = machine.diagnose(os.environ).remarks
    assert "set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name GPUs by UUID" in remark


def test_one_lost_board_is_named_and_the_others_are_measured(machine: Machine, fake_nvml: FakeNvml) -> None:
    fake_nvml.reset("devices=3;d1.error.all=15;d2.error.handle_by_uuid=16")
    found = machine.diagnose()
    assert found.measured
    assert [channel.name for channel in found.channels] == [UUIDS[0]]
    bad = {gpu.uuid: gpu for gpu in found.gpus if gpu.why}
    assert {name: gpu.why for name, gpu in bad.items()} == {"GPU 1": "GPU is lost", UUIDS[2]: "GPU requires restart"}
    assert all("nvidia-smi --gpu-reset" in gpu.remedy for gpu in bad.values())


def test_a_board_without_energy_and_power_is_told_of(machine: Machine, fake_nvml: FakeNvml) -> None:
    fake_nvml.reset("error.total_energy=3;error.field_values=3;error.power_usage=3")
    found = machine.diagnose()
    assert not found.measured
    assert found.gpus[0].why == "Not Supported"
    assert "as many virtual GPUs do" in found.gpus[0].remedy
    assert "as many virtual GPUs do" in of(found, "nvml").remedy


# -- why there is no driver --------------------------------------------------------------------------------------------

MODULE = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n"
OLD_MODULE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n"


@pytest.mark.parametrize(
    ("code", "files", "why", "remedy"),
    [
        (12, {}, "NVML Shared Library Not Found", "with one, install NVIDIA's driver"),
        (
            12,
            {"proc/driver/nvidia/version": MODULE, "dev/nvidiactl": ""},
            "NVML Shared Library Not Found",
            "kernel module 580.65.06 is loaded, but libnvidia-ml.so.1 is not found: install the driver's libraries",
        ),
        (12, {".dockerenv": "", "dev/nvidiactl": ""}, "NVML Shared Library Not Found", "docker run --gpus all"),
        (9, {}, "Driver Not Loaded", "sudo modprobe nvidia"),
        (9, {".dockerenv": ""}, "Driver Not Loaded", "/dev/nvidiactl is not here; start the container with its GPUs"),
        (9, {"run/.containerenv": "", "dev/nvidiactl": ""}, "Driver Not Loaded", "sudo modprobe nvidia"),
        (4, {}, "Insufficient Permissions", "ls -l /dev/nvidia*"),
        (4, {".singularity.d/env": ""}, "Insufficient Permissions", "apptainer exec --nv"),
        (
            18,
            {"proc/driver/nvidia/version": OLD_MODULE},
            "NVML/RM version mismatch",
            "updated under its loaded kernel module (the one loaded is 535.104.05): reboot, or reload the module",
        ),
        (18, {"proc/1/cgroup": "0::/kubepods/x\n"}, "NVML/RM version mismatch", "then restart the container"),
        (15, {}, "GPU is lost", "sudo nvidia-smi --gpu-reset"),
        (999, {".dockerenv": ""}, "Unknown Error", "restart the container: it loses its GPUs"),
        (999, {}, "Unknown Error", ""),
    ],
)
def test_without_a_driver_it_says_why_and_what_helps(
    machine: Machine, fake_nvml: FakeNvml, code: int, files: dict[str, str], why: str, remedy: str
) -> None:
    for file, text in files.items():
        machine.put(file, text)
    fake_nvml.reset(f"error.init={code}")
    found = machine.diagnose()
    nvml = of(found, "nvml")
    assert not nvml.used
    assert nvml.why.startswith("no NVIDIA GPU is measured: ")
    assert why in nvml.why
    assert remedy in nvml.remedy
    assert bool(remedy) == bool(nvml.remedy)
    assert not found.measured
    assert [channel.method for channel in found.channels] == ["modelled"]
    assert of(found, "model").used


def test_a_container_without_its_gpus_is_told_how_to_get_them(machine: Machine, fake_nvml: FakeNvml) -> None:
    """As docker run without --gpus: the driver is the host's, its library and devices are not there."""
    machine.put(".dockerenv").cpu("GenuineIntel").put("proc/driver/nvidia/version", MODULE)
    fake_nvml.reset("error.init=12")
    found = machine.diagnose()
    assert found.surroundings.container == "Docker"
    assert found.surroundings.nvidia_devices == ()
    assert of(found, "nvml").remedy.startswith("start the container with its GPUs (docker run --gpus all")
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in of(found, "nvml").remedy
    assert of(found, "rapl").remedy.startswith("give the container the host's counters: docker run -v ")


def test_a_driver_that_shows_no_gpu(machine: Machine, fake_nvml: FakeNvml) -> None:
    fake_nvml.reset("devices=0")
    assert of(machine.diagnose(), "nvml").remedy == "the driver answers, but shows no GPU"


def test_a_driver_that_ceases_to_answer_is_said_to_in_time(machine: Machine, fake_nvml: FakeNvml) -> None:
    Powercap.amd(machine.powercap)
    fake_nvml.reset("devices=1;hang.total_energy=1@0.3")
    begin_s = time.monotonic()
    found = machine.diagnose()
    assert time.monotonic() - begin_s < 20.0
    fake_nvml.reset("devices=1")
    assert not found.measured
    assert of(found, "nvml").why == "the NVIDIA driver opened, but does not answer any more"
    assert "see whether nvidia-smi hangs as well" in of(found, "nvml").remedy


# -- the CPU -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vendor", "virtual", "container", "remedy"),
    [
        ("GenuineIntel", True, False, "nothing in a virtual machine"),
        (
            "GenuineIntel",
            False,
            True,
            "give the container the host's counters: docker run -v /sys/devices/virtual/powercap:",
        ),
        ("GenuineIntel", False, False, "sudo modprobe intel_rapl_msr"),
        ("AuthenticAMD", False, False, "sudo modprobe intel_rapl_msr, which serves AMD Zen as well"),
        ("", False, False, ""),
    ],
)
def test_without_counters_of_the_cpu_it_says_what_helps(
    machine: Machine, vendor: str, virtual: bool, container: bool, remedy: str
) -> None:
    machine.cpu(vendor, virtual=virtual)
    if container:
        machine.put(".dockerenv")
    rapl = of(machine.diagnose(), "rapl")
    assert not rapl.used
    assert "holds no RAPL counter" in rapl.why
    assert rapl.remedy.startswith(remedy)
    assert bool(remedy) == bool(rapl.remedy)


def test_the_command_calls_what_helps_as_its_own_options(machine: Machine) -> None:
    machine.cpu("GenuineIntel", virtual=True)
    found = machine.diagnose()
    assert of(found, "rapl").remedy.endswith("; modelled_cpu=True estimates")
    said = [text for _, lines in _sections(found) for text, _ in lines]
    assert "-> nothing in a virtual machine: its host alone sees the counters; --modelled-cpu estimates" in said


def without_roots_rights() -> None:
    """Let file modes count for root too, from the next program on (capabilities(7): CAP_DAC_OVERRIDE, _READ_SEARCH)."""
    library = ctypes.CDLL(None)
    for capability in (1, 2):
        library.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def test_counters_that_only_root_may_read_have_their_remedy(tmp_path: Path) -> None:
    _, zones = Powercap.intel_server(tmp_path / "powercap")
    for zone in zones.values():
        (zone.path / "energy_uj").chmod(0)
    done = doctor("--powercap-root", str(tmp_path / "powercap"), preexec_fn=without_roots_rights)
    said = "".join(done.stdout.split())
    assert "onlyrootmayread" in said
    assert f"untilthenextboot,sudochmoda+r{tmp_path}/powercap/*/energy_ujhelps" in said


def test_counters_that_only_root_may_read_have_their_remedy_apart(tmp_path: Path) -> None:
    tree, _ = Powercap.intel_server(tmp_path)

    def read_text(file: Path) -> str:
        if file.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(file))
        return file.read_text()

    with pytest.raises(MeterUnavailable) as reason:
        RaplMeter(tree.root, read_text=read_text)
    assert reason.value.why.startswith("no CPU energy is measured: only root may read ")
    assert reason.value.remedy == f"until the next boot, sudo chmod a+r {tmp_path}/*/energy_uj helps"


def test_a_counter_that_cannot_be_read_is_told_beside_those_that_can(machine: Machine) -> None:
    _, zones = Powercap.intel_server(machine.powercap, sockets=1)
    zones["dram-0"].break_file()
    found = machine.diagnose()
    rapl = of(found, "rapl")
    assert rapl.used
    assert rapl.why.startswith("dram:0 not measured: ")
    assert [channel.name for channel in found.channels] == [UUIDS[0], "cpu:0"]


def test_the_model_is_told_with_its_power_and_used_on_request(machine: Machine) -> None:
    found = machine.diagnose(modelled_cpu=True)
    assert of(found, "model").used
    assert found.model.watts > 0
    assert [channel.method for channel in found.channels] == ["counter", "modelled"]
    assert found.measured


# -- carbon, and the rest ----------------------------------------------------------------------------------------------


def test_the_intensity_that_would_be_used_is_told_with_its_source(machine: Machine) -> None:
    grid = machine.diagnose(region="France").grid
    assert (grid.region, grid.g_co2e_per_kwh, grid.year, grid.given) == ("FR", 44.179, 2024, True)
    assert grid.source.startswith("Ember via Our World in Data, CC BY 4.0 (life-cycle")
    world = machine.diagnose().grid
    assert (world.region, world.given) == ("WORLD", False)
    with pytest.raises(ValueError, match="did you mean 'FR'"):
        machine.diagnose(region="Frnace")


def test_tokens_are_told_by_name_and_never_by_value(machine: Machine) -> None:
    secret = "s3cr3t-value"
    found = machine.diagnose({"ELECTRICITYMAPS_TOKEN": secret, "WATTTIME_USER": ""})
    assert found.grid.tokens == {
        "ELECTRICITYMAPS_TOKEN": True,
        "WATTTIME_USER": False,
        "WATTTIME_PASSWORD": False,
    }
    assert secret.encode() not in msgspec.json.encode(found)


@pytest.mark.parametrize(
    ("environ", "files", "container"),
    [
        ({}, {}, ""),
        ({}, {".dockerenv": ""}, "Docker"),
        ({}, {"proc/1/cgroup": "12:cpu:/docker/0123\n"}, "docker"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, {}, "Kubernetes"),
        ({"APPTAINER_CONTAINER": "/x.sif"}, {}, "Apptainer"),
    ],
)
def test_containers_are_told(machine: Machine, environ: dict[str, str], files: dict[str, str], container: str) -> None:
    for file, text in files.items():
        machine.put(file, text)
    assert surroundings(environ, machine.root).container == container


# -- as a command ------------------------------------------------------------------------------------------------------


def doctor(
    *arguments: str,
    config: str = "devices=1",
    path: str = "",
    preexec_fn: Callable[[], None] | None = None,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(filter(None, [path, str(ROOT)]))
    kept = {"PYTHONPATH": paths, "COLUMNS": "100", "TERM": "xterm-256color", **variables}
    command = [sys.executable, "-c", CODE, "doctor", *arguments]
    return subprocess.run(
        command,
        env=with_fake(config, kept),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=preexec_fn,
    )


def test_the_exit_code_says_whether_something_is_measured(tmp_path: Path) -> None:
    none = ("--powercap-root", str(tmp_path))
    measured, not_measured = doctor(*none), doctor(*none, config="error.init=9")
    assert (measured.returncode, measured.stderr) == (0, "")
    assert (not_measured.returncode, not_measured.stderr) == (1, "")
    assert measured.stdout.split("\n")[-2].strip() == "energy is measured here"
    assert not_measured.stdout.split("\n")[-2].strip() == "nothing is measured here"
    assert "Driver Not Loaded" in not_measured.stdout


def test_an_unknown_region_is_refused() -> None:
    done = doctor("--region", "Frnace")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'FR' (France)?" in done.stderr


def test_a_driver_that_hangs_is_said_to_and_does_not_keep_it(tmp_path: Path) -> None:
    done = doctor("--powercap-root", str(tmp_path), config="hang.init=1")
    assert done.returncode == 1
    assert "the NVIDIA driver does not answer" in done.stdout
    assert "see whether nvidia-smi hangs as well" in " ".join(done.stdout.split())


def test_a_driver_that_hangs_beside_a_cpu_that_is_measured(tmp_path: Path) -> None:
    Powercap.amd(tmp_path / "powercap")
    done = doctor("--json", "--powercap-root", str(tmp_path / "powercap"), config="hang.init=1")
    found = msgspec.json.decode(done.stdout, type=Diagnosis)
    assert done.returncode == 0
    assert of(found, "nvml").why == "the NVIDIA driver does not answer"
    assert [channel.name for channel in found.channels] == ["cpu:0"]


def test_scripts_get_all_of_it(tmp_path: Path) -> None:
    done = doctor("--json", "--region", "FR", "--powercap-root", str(tmp_path), config="devices=2;d1.error.all=15")
    found = msgspec.json.decode(done.stdout, type=Diagnosis, strict=True)
    plain = json.loads(done.stdout)
    assert set(plain) == set(Diagnosis.__struct_fields__)
    assert {"name", "used", "why", "remedy"} == set(plain["instruments"][0])
    assert {"name", "method", "watts"} == set(plain["channels"][0])
    assert found.measured
    assert found.versions.wattloop == wattloop.__version__
    assert found.gpus[1].why == "GPU is lost"


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_it_fits_its_terminal(tmp_path: Path, columns: int) -> None:
    done = doctor("--powercap-root", str(tmp_path), config="devices=3;d2.error.all=15", COLUMNS=str(columns))
    assert max(len(line) for line in done.stdout.splitlines()) <= columns
    assert "\x1b" not in done.stdout
    assert "GPU-a0b1c200" in done.stdout


def installed(folder: Path, name: str, version: str, *lines: str) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *lines]))


def test_versions_are_compared_with_what_is_supported_without_importing_them(tmp_path: Path) -> None:
    """By our own requirements, as an installation has them beside the package."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    needs = [f"Requires-Dist: {need}" for need in project["dependencies"]]
    for extra, requirements in project["optional-dependencies"].items():
        needs += [f"Requires-Dist: {need} ; extra == '{extra}'" for need in requirements]
    installed(tmp_path, "wattloop", wattloop.__version__, *needs)
    installed(tmp_path, "keras", "3.4.1")
    installed(tmp_path, "transformers", "4.45.0")
    installed(tmp_path, "pytorch-lightning", "2.3.3")
    installed(tmp_path, "lightning", "2.4.0.post0")
    installed(tmp_path, "accelerate", "1.2")
    installed(tmp_path, "httpx", "0.27.9")
    done = doctor("--json", "--powercap-root", str(tmp_path / "none"), path=str(tmp_path))
    versions = msgspec.json.decode(done.stdout, type=Diagnosis).versions
    found = {package.name: (package.version, package.supported) for package in versions.frameworks}
    assert found["keras"] == ("3.4.1", False)
    assert found["transformers"] == ("4.45.0", True)
    assert found["pytorch-lightning"] == ("2.3.3", False)
    assert found["lightning"] == ("2.4.0.post0", True)
    assert found["accelerate"] == ("1.2", True)
    assert versions.extras is not None
    assert versions.extras["lightning"] == versions.extras["transformers"] == ()
    assert versions.extras["keras"] == ("keras>=3.5.0",)
    assert "httpx>=0.28.0" in versions.extras["grid"]
    shown = doctor("--powercap-root", str(tmp_path / "none"), path=str(tmp_path)).stdout
    assert "keras 3.4.1: too old, wattloop wants 3.5.0" in shown
    assert re.search(r"keras wants keras>=3\.5\.0: pip install", shown)


def test_no_framework_is_imported() -> None:
    spy = (
        "import os, sys; end = os._exit\n"
        "os._exit = lambda code: (print(sorted(sys.modules), file=sys.stderr, flush=True), end(code))"
    )
    command = [sys.executable, "-c", f"{spy}\n{CODE}", "doctor"]
    done = subprocess.run(
        command, env=with_fake("devices=1", {"PYTHONPATH": str(ROOT)}), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    modules = set(json.loads(done.stderr.splitlines()[-1].replace("'", '"')))
    assert not modules & {"torch", "keras", "jax", "tensorflow", "transformers", "lightning", "numpy"}
