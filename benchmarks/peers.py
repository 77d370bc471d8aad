"""wattloop beside codecarbon, carbontracker and zeus: the same loops on the same fake GPUs, in one run.

Run it with ``python -m tox run -e bench-peers``, or, where all four are installed, with::

    python benchmarks/peers.py [--repetitions 5] [--jobs 4] [--finer] [--json FILE] [--markdown FILE]
                               [--tools wattloop zeus] [--workloads constant reset] [--only accuracy costs]

It takes an hour and a half with one job, a quarter of an hour with six. A fake NVML library lies under everyone's own
pynvml; it knows the exact integral of the power its GPUs draw. Each (workload, repetition, tool) is a fresh process,
tools take turns within a repetition, without a network where `unshare` can take it away. The loop does nothing but
sleep 10 ms a step.

* **Error**: the tool's figure against the integral over the loop, from the moment the tool has started until it is told
  to stop; signed median of the repetitions, then the worst of them. **Epoch**: the worst epoch of all, likewise.
  wattloop's figures are those of its record, complete 0.3 s after the end at most; the others give theirs at once.
* **Stated**: in how many repetitions the true energy lay within the interval that the tool states, and how wide that is
  (+-, of the truth). Only wattloop states one.
* **Calls**: NVML calls a second while the loop runs, those that start and stop make left out; "+" where the tool
  also has processes of its own, whose calls are not seen.
* **CPU**: user + system time while the loop runs, child processes included, less that of the empty loop, as a share of
  one core. **Memory**: the process's peak at the end of the loop, less that of the empty loop, plus what its child
  processes hold (PSS).
* **Import, start, stop**: in a fresh process, bytecode and file cache warm, until the first epoch has begun and until
  the last figure is there. **Step, epoch**: 20,000 calls, less a loop without them, and 20 epochs of 50 ms. All of
  these one process at a time.

What goes wrong is a result: an exception that reaches the loop, a process that the tool ends, a loop that does not
end in time. How each tool is set up is said in ``peers/tools.py``, what the GPUs do in ``peers/workloads.py``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from peers.fake import Fake, build, environment
from peers.tools import DISTRIBUTIONS, FINER, TOOLS, nvidia_smi
from peers.workloads import EPOCHS, LIFE, WORKLOADS, Workload

STEP_S = 0.01
GRACE_S = 30.0
"""What a tool may take beyond the loop itself, before it is said to hang."""
STEPS = 20_000
ALL = TOOLS | FINER

Found = dict[str, Any]


# -- in the measured process -------------------------------------------------------------------------------------------


def accuracy(tool_name: str, workload: Workload) -> Found:
    """Run a workload under a tool."""
    fake, tool = Fake(), ALL[tool_name]()
    start_s = _timed(lambda: (tool.start(workload.epochs), tool.epoch_start()))
    cpu_s, calls, loop_s = _cpu_s(), fake.calls(), time.monotonic()
    fault_s = loop_s + workload.epoch_s * workload.epochs / 2 if workload.halfway else math.inf
    spans: list[tuple[float, float]] = []
    for epoch in range(workload.epochs):
        if epoch > 0:
            tool.epoch_end()
            tool.epoch_start()
        epoch_s = time.monotonic()
        while (now_s := time.monotonic()) < epoch_s + workload.epoch_s:
            if now_s >= fault_s and workload.halfway:
                fault_s = math.inf
                workload.halfway(fake)
            time.sleep(STEP_S)
            tool.step()
        spans.append((epoch_s, time.monotonic()))
    loop_s = time.monotonic() - loop_s
    found = {
        "start_s": start_s,
        "calls_per_s": (fake.calls() - calls) / loop_s,
        "cpu_share": (_cpu_s() - cpu_s) / loop_s,
        "memory_b": _peak_b(),
        "has_children": bool([*_descendants()]),
    }
    stop_s = time.monotonic()
    tool.epoch_end()
    measured = tool.stop()
    found["stop_s"] = time.monotonic() - stop_s
    if measured.settled is not None:
        measured = measured.settled()
    truths_j = [fake.energy_j(*span, workload.devices) for span in spans]
    return found | {
        "truth_j": fake.energy_j(spans[0][0], spans[-1][1], workload.devices),
        "truths_j": truths_j,
        "energy_j": measured.energy_j,
        "epochs_j": measured.epochs_j,
        "uncertainty_j": measured.uncertainty_j,
    }


def costs(tool_name: str, workload: Workload) -> Found:
    """Time steps and epochs under a tool."""
    _, tool = Fake(), ALL[tool_name]()
    tool.start(workload.epochs)
    step, step_s, epochs_s = tool.step, 0.0, []
    for epoch in range(workload.epochs):
        start_s = _timed(tool.epoch_start)
        if epoch == 0 and tool.has_steps:
            with_s, without_s = (_timed(calls) for calls in (lambda: _repeat(step), lambda: _repeat(None)))
            step_s = (with_s - without_s) / STEPS
        time.sleep(workload.epoch_s)
        epochs_s.append(start_s + _timed(tool.epoch_end))
    tool.stop()
    # The end of the last is the end of the run, in carbontracker.
    return {"step_s": step_s if tool.has_steps else None, "epoch_s": median(epochs_s[:-1])}


def _repeat(call: Callable[[], object] | None) -> None:
    for _ in itertools.repeat(None, STEPS):
        if call:
            call()


def _timed(call: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    call()
    return time.perf_counter() - start_s


def _descendants(pid: int | str = "self") -> Iterator[int]:
    """Yield the child processes, where Linux says which they are."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            yield child
            yield from _descendants(child)


def _cpu_s() -> float:
    """Return the CPU time of this process and of all its children, in seconds."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total_s = time.process_time() + ended.ru_utime + ended.ru_stime
    for child in _descendants():
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        total_s += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total_s


def _peak_b() -> int:
    """Return this process's peak memory plus what its children hold now, in bytes."""
    peak = _kib("/proc/self/status", "VmHWM:")
    return 1024 * (peak + sum(_kib(f"/proc/{child}/smaps_rollup", "Pss:") for child in _descendants()))


def _kib(path: str, key: str) -> int:
    return next((int(line.split()[1]) for line in Path(path).read_text().splitlines() if line.startswith(key)), 0)


# -- processes ---------------------------------------------------------------------------------------------------------


class Lab:
    """Where children run: on fake GPUs, in a scratch folder that is also their home, and without a network."""

    def __init__(self, folder: str) -> None:
        self._folder, self._smi, self._library = folder, nvidia_smi(), build(folder)
        self._off_line = ["unshare", "--map-current-user", "--net"]
        self.has_network = shutil.which("unshare") is None or bool(subprocess.run([*self._off_line, "true"]).returncode)

    def run(self, what: str, tool: str, name: str) -> Found:
        """Do `what` in a child; whatever becomes of it is in ``outcome``."""
        workload = _workload(what, name)
        with tempfile.NamedTemporaryFile("r", dir=self._folder) as result:
            arguments = [__file__, "--child", what, tool, name, result.name]
            limit_s = workload.epoch_s * workload.epochs + GRACE_S
            said, code = self.python(arguments, workload, limit_s)
            found: Found = json.loads(result.read() or "{}")
        if found and code is None:
            found["outcome"] = "hangs at exit"
        elif not found:
            found = {"outcome": "hangs" if code is None else f"ends the process, exit status {code}", "said": said}
        elif "outcome" not in found:
            figure = found.get("energy_j", 0.0)
            found["outcome"] = "ok" if figure is not None or tool == "nothing" else "gives no figure"
        return found

    def python(self, arguments: list[str], workload: Workload, limit_s: float) -> tuple[str, int | None]:
        """Run Python; return what it printed, and its exit status or None if it took too long."""
        path = os.pathsep.join([self._smi] * workload.has_nvidia_smi + [os.environ["PATH"]])
        extra = {"HOME": self._folder, "PATH": path, "PYTHONDONTWRITEBYTECODE": "", **workload.environ}
        command = [*([] if self.has_network else self._off_line), sys.executable, *arguments]
        with tempfile.TemporaryFile("w+") as output:
            child = subprocess.Popen(
                command,
                env=environment(self._library, workload.fake, extra),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = child.wait(limit_s)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                # Also what a tool leaves behind.
                try:
                    os.killpg(child.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                child.wait()
            output.seek(0)
            return output.read()[-2000:], code


PARTS = {"accuracy": accuracy, "life": accuracy, "costs": costs}


def child(what: str, tool: str, name: str, result: str) -> None:
    try:
        found = PARTS[what](tool, _workload(what, name))
    except BaseException as error:
        found = {"outcome": f"raises {type(error).__name__}", "said": traceback.format_exc()[-2000:]}
    Path(result).write_text(json.dumps(found, default=float))


def _workload(what: str, name: str) -> Workload:
    return WORKLOADS[name] if what == "accuracy" else {"life": LIFE, "costs": EPOCHS}[what]


def imports(lab: Lab, tool: str) -> Found:
    """Time the tool's import in a fresh process; `time` is built in and costs nothing."""
    code = f"import time\nbefore = time.perf_counter()\n{ALL[tool].func.imported}\nprint(time.perf_counter() - before)"
    said, status = lab.python(["-c", code], LIFE, GRACE_S)
    if status:
        return {"outcome": f"ends the process, exit status {status}", "said": said}
    return {"outcome": "ok", "import_s": float(said.split()[-1])}


# -- tables ------------------------------------------------------------------------------------------------------------


def percent(value: float | None, signed: str = "+") -> str:
    if value is not None and value < -1 - 1e-9:
        return "negative"  # by how much depends on what the counter held
    return "-" if value is None else f"{100 * value:{signed}.{2 if abs(value) < 0.0995 else 1}f}"


def summary(founds: list[Found], empty: list[Found]) -> Found:
    """Make a row of all repetitions of a workload under one tool."""
    outcomes = Counter(found["outcome"] for found in founds)
    good = [found for found in founds if found["outcome"] == "ok"]
    row: Found = {
        "outcomes": dict(outcomes),
        "trouble": "; ".join(
            outcome + f" ({times} of {len(founds)})" * (times < len(founds))
            for outcome, times in outcomes.items()
            if outcome != "ok"
        ),
    }
    if not good:
        return row
    for name in ("start_s", "stop_s", "calls_per_s"):
        row[name] = median(found[name] for found in good)
    for name in ("cpu_share", "memory_b"):
        row[name] = median(found[name] for found in good) - median([found[name] for found in empty] or [0.0])
    row["has_children"] = any(found["has_children"] for found in good)
    errors = [found["energy_j"] / found["truth_j"] - 1 for found in good if found["energy_j"] is not None]
    if errors:
        row["error"], row["worst_error"] = median(errors), max(errors, key=abs)
    epochs = [
        epoch_j / truth_j - 1
        for found in good
        if len(found["truths_j"]) > 1
        for epoch_j, truth_j in zip(found["epochs_j"], found["truths_j"], strict=False)
    ]
    if epochs:
        row["worst_epoch_error"] = max(epochs, key=abs)
    stated = [found for found in good if found["uncertainty_j"] is not None]
    if stated:
        row["stated"] = median(found["uncertainty_j"] / found["truth_j"] for found in stated)
        row["held"] = sum(abs(found["energy_j"] - found["truth_j"]) <= found["uncertainty_j"] for found in stated)
        row["held_of"] = len(stated)
    return row


def accuracy_cells(row: Found) -> list[str]:
    """Return error, worst, worst epoch, stated, calls, CPU and memory, as text."""
    if "calls_per_s" not in row:
        return []
    stated = f"{row['held']}/{row['held_of']} ±{percent(row['stated'], '')}" if "stated" in row else "none"
    return [
        percent(row.get("error")),
        percent(row.get("worst_error")),
        percent(row.get("worst_epoch_error")),
        stated,
        f"{row['calls_per_s']:.1f}" + "+" * row["has_children"],
        percent(row["cpu_share"], ""),
        f"{row['memory_b'] / 2**20:.1f}",
    ]


HEADS = ["error %", "worst %", "epoch %", "stated %", "calls/s", "CPU %", "MiB"]


def cost_summary(parts: list[list[Found]]) -> Found:
    """Make a row of all repetitions of imports, of start and stop, and of steps and epochs."""
    row: Found = {"trouble": "; ".join(sorted({f["outcome"] for founds in parts for f in founds} - {"ok"}))}
    for founds, names in zip(parts, (["import_s"], ["start_s", "stop_s"], ["step_s", "epoch_s"]), strict=True):
        for name in names:
            values = [found[name] for found in founds if found.get(name) is not None]
            row[name] = median(values) if values else None
    return row


def cost_cells(row: Found) -> list[str]:
    """Return import, start, stop, step and epoch, as text."""
    scales = (("import_s", 1e3), ("start_s", 1e3), ("stop_s", 1e3), ("step_s", 1e6), ("epoch_s", 1e3))
    return [f"{row[name] * scale:.2f}" if row.get(name) is not None else "-" for name, scale in scales]


COST_HEADS = ["import ms", "start ms", "stop ms", "step us", "epoch ms"]


def lines(title: str, heads: list[str], rows: Iterable[tuple[str, list[str], str]]) -> Iterator[str]:
    yield f"{title:52}" + "".join(f"{head:>13}" for head in heads)
    for name, cells, trouble in rows:
        yield f"  {name:50}" + "".join(f"{cell:>13}" for cell in cells) + f"  {trouble}".rstrip()


def markdown(about: Found, rows: dict[str, dict[str, Found]], cost_rows: dict[str, Found]) -> str:
    """Write the errors of all workloads, and the costs, as two tables."""

    def table(heads: list[str], body: Iterable[list[str]]) -> list[str]:
        return ["| " + " | ".join(cells) + " |" for cells in (heads, ["---"] + ["---:"] * (len(heads) - 1), *body)]

    def cell(row: Found) -> str:
        parts = []
        if "error" in row:
            parts.append(f"{percent(row['error'])} ({percent(row['worst_error'])})")
        if "worst_epoch_error" in row:
            parts.append(f"epoch {percent(row['worst_epoch_error'])}")
        if "held" in row:
            parts.append(f"stated ±{percent(row['stated'], '')}, held {row['held']}/{row['held_of']}")
        return "; ".join(filter(None, [*parts, row["trouble"]])) or "-"

    names = [name for name in ALL if any(name in row for row in rows.values()) and name != "nothing"]
    versions = ", ".join(f"{name} {about[name]}" for name in DISTRIBUTIONS)
    errors = ([WORKLOADS[key].title, *(cell(row[name]) for name in names)] for key, row in rows.items())
    spent = ([name, *cost_cells(row)] for name, row in cost_rows.items())
    return "\n".join(
        [
            f"Error in % of the true energy: median of {about['repetitions']} (worst of them). {versions}.",
            "",
            *table(["", *names], errors),
            "",
            *table(["", *COST_HEADS], spent),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write every number to this file")
    parser.add_argument("--markdown", type=Path, help="also write two tables to this file")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1, help="workloads at a time; they mostly sleep")
    parser.add_argument("--tools", nargs="+", choices=[*TOOLS][1:], default=[*TOOLS][1:], help="compare these")
    parser.add_argument("--finer", action="store_true", help="also with shorter intervals, see peers/tools.py")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=[*WORKLOADS], help="run these")
    parser.add_argument("--only", nargs="+", choices=["accuracy", "costs"], default=["accuracy", "costs"])
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    tools = ["nothing", *options.tools]
    tools += [name for name in FINER if options.finer and name.split(",")[0] in tools]
    turns = [*itertools.product(range(options.repetitions), tools)]
    about: Found = {"repetitions": options.repetitions, "jobs": options.jobs}
    about |= {"python": platform.python_version(), "cpus": os.cpu_count(), "load": os.getloadavg()[0]}
    about |= {name: metadata.version(name) for name in DISTRIBUTIONS}
    rows: dict[str, dict[str, Found]] = {}
    raw: list[Found] = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        lab = Lab(folder)
        about["network"] = lab.has_network
        for tool in tools:  # once for the bytecode and the tools' own caches
            imports(lab, tool)

        def founds(what: str, name: str, turn: tuple[int, str]) -> Found:
            found = imports(lab, turn[1]) if what == "imports" else lab.run(what, turn[1], name)
            raw.append({"what": what, "workload": name, "repetition": turn[0], "tool": turn[1], **found})
            return found

        def by_tool(what: str, name: str, pool: ThreadPoolExecutor) -> dict[str, list[Found]]:
            all_found = [*pool.map(lambda turn: founds(what, name, turn), turns)]
            return {tool: [f for f, turn in zip(all_found, turns, strict=True) if turn[1] == tool] for tool in tools}

        for name in options.workloads if "accuracy" in options.only else []:
            found = by_tool("accuracy", name, pool)
            empty = [one for one in found["nothing"] if one["outcome"] == "ok"]
            rows[name] = {tool: summary(found[tool], empty) for tool in tools[1:]}
            shown = ((tool, accuracy_cells(row), row["trouble"]) for tool, row in rows[name].items())
            print(*lines(WORKLOADS[name].title, HEADS, shown), "", sep="\n", flush=True)
        cost_rows: dict[str, Found] = {}
        if "costs" in options.only:
            with ThreadPoolExecutor(1) as alone:
                parts = [by_tool(what, "", alone) for what in ("imports", "life", "costs")]
            cost_rows = {tool: cost_summary([part[tool] for part in parts]) for tool in tools[1:]}
            shown = ((tool, cost_cells(row), row["trouble"]) for tool, row in cost_rows.items())
            print(*lines("costs, one process at a time", COST_HEADS, shown), sep="\n", flush=True)
    if options.json:
        everything = {"about": about, "accuracy": rows, "costs": cost_rows, "raw": raw}
        options.json.write_text(json.dumps(everything, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(markdown(about, rows, cost_rows))


if __name__ == "__main__":
    main()
