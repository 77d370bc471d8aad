"""Witness: a process that shows what our process group is sent.

A signal to the group, as the terminal sends at Ctrl-C and some schedulers to all processes of a job, has reached the
command as well, and passed on it would reach it twice: the second Ctrl-C ends many programs the hard way. A signal to
us alone has to be passed on. Nothing that a process is told tells the two apart; another process of the group does, to
which no signal is ever delivered, so that all it was sent stays to be seen in ``/proc/<pid>/status`` (proc(5), ShdPnd).
"""

from __future__ import annotations

import os
import signal
import time

PATIENCE_S, LOOK_S = 0.02, 0.001
"""How much later than us the witness may be sent the same, and how often it is looked for, in seconds."""
LATE_S = 2.0
"""What comes later still is taken for another signal, in seconds."""
# Under another name than ours: who ends us by it (pkill -f "wattloop watch") has not sent to the group.
PROGRAM = "cat"


class Witness:
    """Starts the witness; where none can be had, each signal is taken to be for us alone.

    Attributes:
        late_until_s: Until when it may still be sent what it was asked for in vain, monotonic, in seconds; 0 for none.
    """

    def __init__(self) -> None:
        self.late_until_s = 0.0
        self._heard: set[int] = set()
        self._pid = self._lifeline = 0
        self._start()

    def _start(self) -> None:
        try:
            cradle, lifeline = os.pipe()  # it reads to the end, which comes when we end, however we do
        except OSError:
            return
        actions = [
            (os.POSIX_SPAWN_DUP2, cradle, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        try:
            deaf = signal.valid_signals()
            self._pid = os.posix_spawnp(PROGRAM, [PROGRAM], os.environ, file_actions=actions, setsigmask=deaf)
            self._lifeline = lifeline
        except OSError:
            os.close(lifeline)
        os.close(cradle)

    def heard(self, number: int) -> bool:
        """Tell whether a signal that we were sent was sent to our group; once for each."""
        give_up_s = time.monotonic() + PATIENCE_S
        while self._pid and not (number in self._heard or _pending(self._pid, number)):
            if time.monotonic() > give_up_s:
                self.late_until_s = time.monotonic() + LATE_S
                return False
            time.sleep(LOOK_S)
        if number not in self._heard:
            self._heard |= self._relieved()
        heard = number in self._heard
        self._heard.discard(number)
        return heard

    def forget(self) -> None:
        """Let what it was sent until now be no sign of what is sent from now on."""
        self.late_until_s = 0.0
        if self._pid and any(_pending(self._pid, one) for one in signal.valid_signals()):
            self._relieved()
        self._heard.clear()

    def _relieved(self) -> set[int]:
        """Let another take its place, as what was sent to it stays; return what that was."""
        pid, lifeline = self._pid, self._lifeline
        if not pid:
            return set()
        self._pid = self._lifeline = 0
        self._start()  # before the old one is asked, so that nothing is sent to neither
        heard: set[int] = {one for one in signal.valid_signals() if _pending(pid, one)}
        _end(pid, lifeline)
        return heard

    def dismiss(self) -> None:
        """End it, and leave no trace."""
        if self._pid:
            _end(self._pid, self._lifeline)
            self._pid = 0


def _end(pid: int, lifeline: int) -> None:
    os.close(lifeline)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _pending(pid: int, number: int) -> bool:
    try:
        with open(f"/proc/{pid}/status") as status:
            masks = [line.split()[1] for line in status if line.startswith(("ShdPnd:", "SigPnd:"))]
    except OSError:
        return False
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)
