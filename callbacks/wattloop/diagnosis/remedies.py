"""Remedies: what would help where an instrument does not work, by its own reason and by what it runs in.

NVML's error codes are those of ``nvmlReturn_t`` in NVIDIA's NVML API Reference Guide.
"""

from __future__ import annotations

from wattloop.diagnosis.surroundings import Surroundings
from wattloop.meters import Refusal
from wattloop.meters.nvml import Survey

NOT_SUPPORTED, NO_PERMISSION, DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND = 3, 4, 9, 12
GPU_IS_LOST, RESET_REQUIRED, VERSION_MISMATCH, UNKNOWN = 15, 16, 18, 999

PASS_IN = (
    "start the container with its GPUs (docker run --gpus all, apptainer exec --nv; in Kubernetes a limit of "
    "nvidia.com/gpu), with NVIDIA_DRIVER_CAPABILITIES=compute,utility"
)
RESTART = "restart the container: it loses its GPUs where systemd reloads its units"


def of_gpus(refusal: Refusal, around: Surroundings, survey: Survey) -> str:
    """Say what would make GPUs be measured; empty where nothing is known to.

    Args:
        refusal: Why none is.
        around: What the process runs in.
        survey: What was found of GPUs.
    """
    if refusal.hangs:
        return "see whether nvidia-smi hangs as well, and the kernel's log (dmesg, Xid); a reset or a reboot helps"
    if survey.remarks and survey.boards and not survey.visible:
        return f"{survey.remarks[0]}; set it to GPUs of `nvidia-smi -L`, or unset it"
    if survey.faults:
        return of_gpu(next(iter(survey.faults.values()))[1], around)
    if refusal.code is not None:
        return of_gpu(refusal.code, around)
    return "the driver answers, but shows no GPU" + (f"; {PASS_IN}" if around.container else "")


def of_gpu(code: int | None, around: Surroundings) -> str:
    """Say what helps against an NVML error; empty where nothing is known to.

    Args:
        code: NVML's code; None where it gave none.
        around: What the process runs in.
    """
    driver = bool(around.nvidia_module)
    if code == LIBRARY_NOT_FOUND:
        if around.container:
            return PASS_IN
        if driver or around.nvidia_devices:
            return (
                f"NVIDIA's kernel module {around.nvidia_module}".rstrip()
                + " is loaded, but libnvidia-ml.so.1 is not found: install the driver's libraries of the same version, "
                "or add their folder to LD_LIBRARY_PATH"
            )
        return "without an NVIDIA GPU nothing is missing; with one, install NVIDIA's driver"
    if code == DRIVER_NOT_LOADED:
        if around.container and "nvidiactl" not in around.nvidia_devices:
            return f"/dev/nvidiactl is not here; {PASS_IN}"
        return "load the driver, sudo modprobe nvidia, or reboot after its installation; dmesg says what it lacks"
    if code == NO_PERMISSION:
        if around.container:
            return f"/dev/nvidia* may not be opened here; {PASS_IN}"
        return (
            "this user may not open /dev/nvidia*: see ls -l /dev/nvidia*, and join the group that owns it, or have "
            "the scheduler grant the GPU"
        )
    if code == VERSION_MISMATCH:
        loaded = f" (the one loaded is {around.nvidia_module})" if driver else ""
        again = ", then restart the container" if around.container else ""
        return f"the driver was updated under its loaded kernel module{loaded}: reboot, or reload the module{again}"
    if code in (GPU_IS_LOST, RESET_REQUIRED):
        return "reset it, sudo nvidia-smi --gpu-reset, or reboot; the kernel's log (dmesg, Xid) says what happened"
    if code == UNKNOWN and around.container:
        return RESTART
    if code == NOT_SUPPORTED:
        return "it tells neither energy nor power, as many virtual GPUs do; its host may be measured"
    return ""


def of_cpu(refusal: Refusal, around: Surroundings) -> str:
    """Say what would make the CPU and its memory be measured; empty where nothing would.

    Args:
        refusal: Why they are not.
        around: What the process runs in.
    """
    if refusal.remedy:
        host = "on the host, " if around.container else ""
        return f"{host}{refusal.remedy}"
    if around.virtual:
        return "nothing in a virtual machine: its host alone sees the counters; modelled_cpu=True estimates"
    if around.container:
        return (
            "give the container the host's counters: docker run -v /sys/devices/virtual/powercap:/sys/class/powercap:ro"
        )
    if around.vendor == "AuthenticAMD":
        return "sudo modprobe intel_rapl_msr, which serves AMD Zen as well, from Linux 5.8 on"
    if around.vendor == "GenuineIntel":
        return "sudo modprobe intel_rapl_msr"
    return ""
