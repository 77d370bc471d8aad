"""Fixtures for every test."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from fakes.nvml import FakeNvml
from wattloop.sampler import FOLLOW_S

# Keras would take TensorFlow, which is not installed.
os.environ.setdefault("KERAS_BACKEND", "torch")
# A batch job that the tests run in is none of the runs that they make.
os.environ.pop("SLURM_JOB_END_TIME", None)
# What they start would inherit that signals are ignored, as `nohup` and shells do for what is in the background.
for number, usual in (
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGQUIT, signal.SIG_DFL),
    (signal.SIGINT, signal.default_int_handler),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


@pytest.fixture
def fake_nvml() -> Iterator[FakeNvml]:
    """One fake GPU of 300 W under the real pynvml; ``fake_nvml.reset("devices=2;...")`` for another machine."""
    with FakeNvml() as fake:
        yield fake
        # A sampler settles its run's last reading, and must not end in the middle of the next test's library.
        for thread in threading.enumerate():
            if thread.name == "wattloop-sampler":
                thread.join(2 * FOLLOW_S)
