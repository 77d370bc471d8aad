"""Fixtures for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from fakes.nvml import FakeNvml

# Keras would take TensorFlow, which is not installed.
os.environ.setdefault("KERAS_BACKEND", "torch")


@pytest.fixture
def fake_nvml() -> Iterator[FakeNvml]:
    """One fake GPU of 300 W under the real pynvml; ``fake_nvml.reset("devices=2;...")`` for another machine."""
    with FakeNvml() as fake:
        yield fake
