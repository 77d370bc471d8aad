"""The command that is watched: started as if by the shell, sent each signal once, and followed to its end."""

from __future__ import annotations

import os
import signal
import time

from wattloop.watching.witness import Witness

TYPE_CHECKING = False  # the command would wait for typing
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

PASSED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT)
"""Signals that are passed on, besides the one that asks to be stopped for a while."""
RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that Python ignores where others do not."""
CANNOT_RUN, NOT_FOUND = 126, 127
BY_SIGNAL = 128


class Command:
    """A command, started in the process group, with the terminal, files and environment that we were given.

    From then on the signals of `PASSED` wait to be taken by `follow`, in the thread that made this; so it is to be made
    before any other thread.

    Args:
        arguments: Its name or path, and its arguments.

    Attributes:
        pid: Its process.
        began_s: When it was started, monotonic, in seconds.
        stopping: Ctrl-Z asked us and the command to stop; `stop_with_it` does.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            # Nobody could wait for it.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # What nohup and the like have us ignore, the command ignores by itself.
        taken = [one for one in (*PASSED, signal.SIGTSTP) if signal.getsignal(one) is not signal.SIG_IGN]
        self._taken = {*taken, signal.SIGCHLD}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._taken)
        try:
            self.pid = _spawn(arguments, before)
        except BaseException:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            raise
        self.began_s = time.monotonic()
        self._witness = Witness()
        self._status: int | None = None
        self.stopping = False

    def follow(self, timeout_s: float | None = None) -> bool:
        """Pass on signals until the command has ended.

        Args:
            timeout_s: Longest wait in seconds; None for any.

        Returns:
            True when it has; False when the time is over, or it is to stop for a while.
        """
        while not self._ended():
            number = self._next(timeout_s)
            if not number:
                return self._ended()
            if number == signal.SIGCHLD:
                continue
            self._pass_on(number)
            if number == signal.SIGTSTP:
                self.stopping = True
                return False
        return True

    def stop_with_it(self) -> None:
        """Stop, as Ctrl-Z asked us and the command to, until somebody continues us."""
        self.stopping = False
        # Taking it has consumed it. The kernel stops no process that nobody could continue.
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})

    def _next(self, timeout_s: float | None) -> int:
        """Return the next signal; 0 where none comes in time."""
        late_s = max(0.0, self._witness.late_until_s - time.monotonic())
        if self._witness.late_until_s and (timeout_s is None or timeout_s > late_s):
            info = signal.sigtimedwait(self._taken, late_s)
            if info is not None:
                return info.si_signo
            self._witness.forget()
            timeout_s = None if timeout_s is None else timeout_s - late_s
        if timeout_s is None:
            return signal.sigwaitinfo(self._taken).si_signo
        info = signal.sigtimedwait(self._taken, timeout_s)
        return 0 if info is None else info.si_signo

    def _pass_on(self, number: int) -> None:
        try:
            together = os.getpgid(self.pid) == os.getpgrp()
            if not (self._witness.heard(number) and together):
                os.kill(self.pid, number)
        except OSError:
            # It has ended, or is not ours to signal any more.
            pass

    def _ended(self) -> bool:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
        return self._status is not None

    @property
    def signal(self) -> int:
        """The signal that ended it; 0 where none did."""
        return os.WTERMSIG(self._status) if self._status is not None and os.WIFSIGNALED(self._status) else 0

    @property
    def code(self) -> int:
        """Its exit code, once it has ended; 128 and the signal where one ended it."""
        if self._status is None:
            return 0
        return BY_SIGNAL + self.signal if self.signal else os.WEXITSTATUS(self._status)

    def end_alike(self) -> NoReturn:
        """End this process as the command ended: shells tell by it whether the user interrupted a loop."""
        self._witness.dismiss()
        if self.signal:
            import resource

            # One core is enough.
            resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
            if self.signal not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(self.signal, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {self.signal})
            os.kill(os.getpid(), self.signal)
        os._exit(self.code)


def _spawn(arguments: Sequence[str], mask: set[int | signal.Signals]) -> int:
    environment = _environment()
    if not arguments[0]:
        raise FileNotFoundError(2, os.strerror(2))
    try:
        return os.posix_spawnp(arguments[0], [*arguments], environment, setsigmask=mask, setsigdef=RESTORED)
    except OSError as error:
        import errno
        import shutil

        path = shutil.which(arguments[0])
        if error.errno != errno.ENOEXEC or path is None:
            raise
        # A script that does not say of what, which execvp, and so env and nice, give to the shell.
        whole = ["/bin/sh", path, *arguments[1:]]
        return os.posix_spawn(whole[0], whole, environment, setsigmask=mask, setsigdef=RESTORED)


def _environment() -> dict[str, str]:
    """Return the environment that we were given; Python adds a locale to it where there is none (PEP 538)."""
    environment = dict(os.environ)
    if environment.get("LC_CTYPE", "").upper().startswith(("C.", "UTF-8")):
        try:
            with open("/proc/self/environ", "rb") as file:
                if not any(entry.startswith(b"LC_CTYPE=") for entry in file.read().split(b"\0")):
                    del environment["LC_CTYPE"]
        except OSError:
            pass
    return environment
