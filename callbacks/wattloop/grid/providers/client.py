"""One GET, with time-outs that hold, and in words what went wrong; and when to try again."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import math
import ssl
import string
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from types import TracebackType
from typing import TypeVar

import httpx
import msgspec
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from wattloop import __version__
from wattloop.grid import background
from wattloop.grid.providers.answer import NoAnswer

LARGEST = 16 << 20
"""Bytes of the longest answer that is read."""
LONGEST_RETRY_AFTER_S = 86_400.0

LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy", "httpcore.socks")

T = TypeVar("T")


def _not_ours(record: logging.LogRecord) -> bool:
    """Keep from the log what httpx says of every request of ours, and httpcore of what the answer's headers hold."""
    return record.threadName != background.NAME


for _name in LOGGERS:
    logging.getLogger(_name).addFilter(_not_ours)


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long a provider may take, and how often it is asked again; training waits for none of it.

    Attributes:
        connect_s: Longest time to a connection, in seconds.
        read_s: Longest silence of the provider, in seconds.
        whole_s: Longest time for a whole answer, in seconds.
        attempts: Requests until it is left alone for a while.
        backoff_s: Longest wait after the first of them, in seconds; it doubles with each, and its length is drawn by
            lot ("full jitter"), so that many ranks do not come back at once.
        longest_wait_s: Longest wait between two of them, in seconds.
    """

    connect_s: float = 5.0
    read_s: float = 5.0
    whole_s: float = 15.0
    attempts: int = 4
    backoff_s: float = 1.0
    longest_wait_s: float = 10.0


class Secret:
    """A token or password, which shows in no repr and goes into no pickle."""

    __slots__ = ("_value",)

    def __init__(self, name: str, value: object) -> None:
        # What h11 or httpx would refuse later, they would quote in their error.
        printable = isinstance(value, str) and value and set(value) <= set(string.printable) - set(string.whitespace)
        if not printable:
            raise ValueError(f"{name} is not accepted; give printable ASCII characters without blanks")
        self._value = str(value)

    def reveal(self) -> str:
        """Return it, for the request alone."""
        return self._value

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce__(self) -> str:
        raise TypeError("a token is not pickled; set it in the environment of the process that is to use it")


def checked_url(base_url: object, *, secret: bool) -> str:
    """Return the address of an API without a slash at its end.

    Args:
        base_url: Address, without user and password.
        secret: A token is sent there, which needs https unless it stays on this machine.

    Raises:
        ValueError: It is not accepted; the message does not quote it, as there may be a password in it.
    """
    try:
        url = httpx.URL(base_url) if isinstance(base_url, str) else None
    except httpx.InvalidURL:
        url = None
    if url is None or url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise ValueError("base_url= is not accepted; give https://HOST/PATH, without user, password, ? and #")
    if secret and url.scheme != "https" and not _is_loopback(url.host):
        raise ValueError(f"base_url= is not accepted; a token is sent to {url.host}, so it must begin with https://")
    return str(url).rstrip("/")


@cache
def _trusted() -> ssl.SSLContext:
    """Return whose certificates are trusted; reading them takes 20 ms."""
    return httpx.create_ssl_context()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Client:
    """Asks one API, for the length of one refresh. It follows no redirect, so no token gets elsewhere.

    Args:
        base_url: Address of the API.
        patience: How long it may take.
    """

    def __init__(self, base_url: str, patience: Patience) -> None:
        self._base_url = base_url
        self._whole_s = patience.whole_s
        self._http = httpx.Client(
            verify=_trusted(),
            timeout=httpx.Timeout(patience.read_s, connect=patience.connect_s),
            headers={"accept": "application/json", "user-agent": f"wattloop/{__version__}"},
            follow_redirects=False,
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()

    def get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        *,
        place: str = "the arguments",
        credentials: str = "base_url=",
    ) -> bytes:
        """Return the body of an answer.

        Args:
            path: Where to ask, below the address of the API.
            params: What to ask.
            headers: Further headers of the request.
            auth: User and password.
            place: What to look at when the API does not know what it is asked for.
            credentials: What to look at when the API does not let us in.

        Raises:
            NoAnswer: There is none, or one that says no.
        """
        end_s = time.monotonic() + self._whole_s
        try:
            with self._http.stream(
                "GET", self._base_url + path, params=params, headers=headers, auth=auth or httpx.USE_CLIENT_DEFAULT
            ) as response:
                _check(response, place, credentials)
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > LARGEST:
                        raise NoAnswer("its answer is too long", lasting=True)
                    if time.monotonic() > end_s:
                        raise NoAnswer(f"its answer takes longer than {self._whole_s:g} s")
                return bytes(body)
        except httpx.TimeoutException as error:
            raise NoAnswer(f"it does not answer ({type(error).__name__})") from None
        except httpx.TransportError as error:
            raise NoAnswer(f"it cannot be reached ({type(error).__name__})") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise NoAnswer(f"its answer cannot be read ({type(error).__name__})") from None


def _check(response: httpx.Response, place: str, credentials: str) -> None:
    status = response.status_code
    if status == 200:
        return
    if status in (401, 403):
        raise NoAnswer(f"it does not let us in ({status}); look at {credentials}", lasting=True)
    if status in (400, 404, 422):
        raise NoAnswer(f"it does not know what it is asked for ({status}); look at {place}", lasting=True)
    if response.is_redirect:
        raise NoAnswer(f"it sends us elsewhere ({status}), which is not followed; look at base_url=", lasting=True)
    passing = status in (408, 425, 429) or status >= 500
    raise NoAnswer(
        f"it answers {status}", lasting=not passing, retry_after_s=_retry_after_s(response.headers.get("retry-after"))
    )


def _retry_after_s(text: str | None) -> float:
    """Return what a Retry-After header asks for, seconds or a date (RFC 9110, 10.2.3); 0 if it cannot be read."""
    if text is None:
        return 0.0
    wait_s = 0.0
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        if text.strip().isdecimal():
            wait_s = float(text)
        else:
            date = parsedate_to_datetime(text)
            wait_s = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(0.0, wait_s), LONGEST_RETRY_AFTER_S) if math.isfinite(wait_s) else LONGEST_RETRY_AFTER_S


def persistent(ask: Callable[[], T], patience: Patience, nap: Callable[[float], None]) -> T:
    """Ask until there is an answer, with waits between that grow, as far as patience goes.

    Args:
        ask: Asks once.
        patience: How far it goes.
        nap: Waits for some seconds; may give up by an exception of its own.

    Raises:
        NoAnswer: The last one.
    """
    backoff = wait_random_exponential(multiplier=patience.backoff_s, max=patience.longest_wait_s)

    def wait(state: RetryCallState) -> float:
        return max(backoff(state), _asked_for_s(state.outcome.exception() if state.outcome else None))

    def is_passing(error: BaseException) -> bool:
        too_long = _asked_for_s(error) > patience.longest_wait_s
        return isinstance(error, NoAnswer) and not error.lasting and not too_long

    return Retrying(
        retry=retry_if_exception(is_passing),
        stop=stop_after_attempt(patience.attempts),
        wait=wait,
        sleep=nap,
        reraise=True,
    )(ask)


def _asked_for_s(error: BaseException | None) -> float:
    return error.retry_after_s if isinstance(error, NoAnswer) else 0.0
