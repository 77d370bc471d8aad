"""What the fake GPUs do while a tool measures them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

NOT_SUPPORTED, GPU_IS_LOST = 3, 15


@dataclass(frozen=True)
class Workload:
    """A training run of equal epochs.

    Attributes:
        title: What it is, in a few words.
        fake: Configuration of the fake NVML library, as at the top of ``tests/fakes/fake_nvml.c``.
        epoch_s: Length of an epoch, in seconds.
        epochs: How many there are.
        halfway: Called with the fake after half of the run.
        devices: Indices of the GPUs that the process can use; None for all.
        environ: Variables of the process besides.
        has_nvidia_smi: There is a program of that name.
    """

    title: str
    fake: str
    epoch_s: float
    epochs: int = 1
    halfway: Callable[[Any], None] | None = None
    devices: tuple[int, ...] | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    has_nvidia_smi: bool = True


# Counters hold their value for 20 ms; nvmlDeviceGetPowerUsage is a 1 s average, as on an H100, unless said otherwise.
_H100 = "refresh_s=0.02;power_usage=average;"
_SQUARE = _H100 + "profile=square:100,500,{}"
_NO_COUNTER = f";error.total_energy={NOT_SUPPORTED};error.field_83={NOT_SUPPORTED}"
_SLOW = ";latency.total_energy=0.02;latency.field_values=0.02;latency.power_usage=0.02"
# Where nvmlDeviceGetPowerUsage is of the moment: Pascal, which has no energy counter, and GA100, which has.
_INSTANT = ";power_usage=instant"
_PASCAL, _A100 = {"FAKE_NVML_ARCHITECTURE": "4"}, {"FAKE_NVML_ARCHITECTURE": "7"}
_UUID = "GPU-5e7d9f10-aaaa-4000-8000-000000000001"


def _loads(watts: int, *more: int) -> str:
    each = (f"d{device}.profile=constant:{load}" for device, load in enumerate((watts, *more)))
    return f"{_H100}devices={1 + len(more)};{';'.join(each)}"


WORKLOADS = {
    "constant": Workload("constant 300 W", _loads(300), 5.0),
    **{
        f"square-{period_s}": Workload(f"100/500 W, period {period_s} s", _SQUARE.format(period_s), 10.0)
        for period_s in ("0.1", "0.5", "1", "2", "5")
    },
    "epochs-20ms": Workload("ten 0.4 s epochs, 100/500 W every 0.13 s", _SQUARE.format("0.13"), 0.4, epochs=10),
    "epochs-100ms": Workload(
        "the same, counter refreshed every 100 ms", _SQUARE.format("0.13") + ";refresh_s=0.1", 0.4, epochs=10
    ),
    "square-1-a100": Workload(
        "100/500 W, period 1 s, power is instantaneous", _SQUARE.format("1") + _INSTANT, 10.0, environ=_A100
    ),
    "epochs-a100": Workload(
        "ten 0.4 s epochs, power is instantaneous", _SQUARE.format("0.13") + _INSTANT, 0.4, 10, environ=_A100
    ),
    "2-gpus": Workload("2 GPUs, 100 and 400 W", _loads(100, 400), 5.0),
    "8-gpus": Workload("8 GPUs, 80 to 640 W", _loads(*range(80, 641, 80)), 5.0),
    "no-counter": Workload("no energy counter, 100/500 W, period 1 s", _SQUARE.format("1") + _NO_COUNTER, 10.0),
    "no-counter-pascal": Workload(
        "the same on a Pascal, which never has one",
        _SQUARE.format("1") + _NO_COUNTER + _INSTANT,
        10.0,
        environ=_PASCAL,
    ),
    "no-counter-constant": Workload(
        "no energy counter on a Pascal, 300 W",
        _loads(300) + _NO_COUNTER + _INSTANT,
        5.0,
        environ=_PASCAL,
    ),
    "lost": Workload(
        "GPU lost halfway, 300 W", _loads(300), 10.0, halfway=lambda fake: fake.set_error(0, "all", GPU_IS_LOST)
    ),
    "reset": Workload("counter reset halfway, 300 W", _loads(300), 10.0, halfway=lambda fake: fake.reset_counter(0)),
    "hang": Workload(
        "the driver hangs from halfway on, 300 W", _loads(300), 10.0, halfway=lambda fake: fake.set_hang(0, "all")
    ),
    "slow-calls": Workload("each reading takes 20 ms, 300 W", _loads(300) + _SLOW, 5.0),
    "slow-calls-8-gpus": Workload(
        "each reading takes 20 ms, 8 GPUs, 80 to 640 W", _loads(*range(80, 641, 80)) + _SLOW, 5.0
    ),
    "uuid": Workload(
        "CUDA_VISIBLE_DEVICES is a UUID, 300 of 400 W",
        _loads(100, 300) + f";d1.uuid={_UUID}",
        5.0,
        devices=(1,),
        environ={"CUDA_VISIBLE_DEVICES": _UUID},
    ),
    "no-nvidia-smi": Workload("no nvidia-smi program, 300 W", _loads(300), 5.0, has_nvidia_smi=False),
}

# For costs, one process at a time.
LIFE = Workload("start and stop", _loads(300), 0.5)
EPOCHS = Workload("epochs", _loads(300), 0.05, epochs=20)
