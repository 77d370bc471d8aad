"""TensorBoard without a framework: event files through the `tensorboard` package, and the layout of our charts."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

log = logging.getLogger("wattloop")

_MARGINS = (
    ("kg CO2e: spent and forecast", "emissions/kg_co2e", "forecast/kg_co2e"),
    ("kWh: spent and forecast", "energy/kwh", "forecast/kwh"),
)


def layout(prefix: str = "") -> Any:
    """Return the summary that makes TensorBoard's Custom Scalars page draw what is spent against the forecast.

    Args:
        prefix: What the framework puts before our keys, e.g. ``"train/"``.

    Raises:
        ImportError: The `tensorboard` package is not installed.
    """
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.plugins.custom_scalar import layout_pb2 as pb

    charts = []
    for title, spent, forecast in _MARGINS:
        tags = [prefix + tag for tag in (spent, forecast, f"{forecast}_low", f"{forecast}_high")]
        series = [
            pb.MarginChartContent.Series(value=tags[1], lower=tags[2], upper=tags[3]),
            pb.MarginChartContent.Series(value=tags[0], lower=tags[0], upper=tags[0]),
        ]
        title = f"{title} ({prefix})" if prefix else title
        charts.append(pb.Chart(title=title, margin=pb.MarginChartContent(series=series)))
    proto = pb.Layout(category=[pb.Category(title="wattloop", chart=charts)])
    plugin = SummaryMetadata.PluginData(plugin_name="custom_scalars")
    tensor = TensorProto(dtype="DT_STRING", string_val=[proto.SerializeToString()], tensor_shape={})
    metadata = SummaryMetadata(plugin_data=plugin)
    return Summary(value=[Summary.Value(tag="custom_scalars__config__", tensor=tensor, metadata=metadata)])


def add_layout(writer: Any, prefix: str = "") -> None:
    """Add our layout to the event file of a `SummaryWriter`, the user's own; any trouble is passed over.

    Args:
        writer: A `torch.utils.tensorboard.SummaryWriter` or a `tensorboardX.SummaryWriter`.
        prefix: What the framework puts before our keys.
    """
    try:
        writer._get_file_writer().add_summary(layout(prefix))
    except Exception as error:
        log.debug("no layout for TensorBoard: %r", error)


class EventFile:
    """A TensorBoard event file of our own, where no framework keeps one; a full disk ends it with one warning.

    Args:
        log_dir: Folder of the file.

    Raises:
        ImportError: The `tensorboard` package is not installed.
    """

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._broken = False
        self._writer = EventFileWriter(os.fspath(log_dir), filename_suffix=".wattloop")
        self._write(layout(), 0)

    def add(self, row: Mapping[str, float], step: int) -> None:
        """Add one row of scalars at a step."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._write(Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in row.items()]), step)

    def _write(self, summary: Any, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        event = Event(wall_time=time.time(), step=step, summary=summary)
        self._tried(lambda: self._writer.add_event(event))

    def close(self) -> None:
        """Write out what is pending and close the file."""
        self._tried(self._writer.close)

    def _tried(self, call: Callable[[], object]) -> None:
        if self._broken:
            return
        try:
            call()
        except Exception as error:
            self._broken = True
            log.warning("the TensorBoard event file of this run ends here: %s", error)


def event_file(log_dir: str | os.PathLike[str] | None) -> EventFile | None:
    """Open an event file if a folder is given and it can be done; say why it cannot."""
    if log_dir is None:
        return None
    try:
        return EventFile(log_dir)
    except (ImportError, OSError) as error:
        log.warning("no TensorBoard event file in %s: %s", os.fspath(log_dir), error)
        return None
