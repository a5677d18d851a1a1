"""HTTP for checkpoints, on the standard library alone: no redirect is followed unseen, no body is read unasked.

Proxies come from the environment (http_proxy, https_proxy, no_proxy), certificates from the system and from certifi.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from importlib import import_module
from importlib.util import find_spec
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

from segcli import __version__
from segcli.core.errors import CheckpointError

BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, socket.timeout, ssl.SSLError)
"""What a connection can die of; all of it is worth another try."""


@dataclass(frozen=True)
class Patience:
    """How long to try. A try that brought enough bytes is not counted against `tries`.

    timeout: seconds without a byte; pause: seconds before the second try, doubled each time, at most 8;
    longest: what a server may ask for with Retry-After before seg gives up instead.
    """

    tries: int = 5
    pause: float = 1.0
    timeout: float = 10.0
    longest: float = 60.0
    sleep: Callable[[float], None] = time.sleep

    @classmethod
    def from_environment(cls) -> Patience:
        """The hub's own variable HF_HUB_DOWNLOAD_TIMEOUT is obeyed."""
        try:
            timeout = float(os.environ.get("HF_HUB_DOWNLOAD_TIMEOUT", "") or cls.timeout)
        except ValueError:
            timeout = cls.timeout
        return cls(timeout=max(timeout, 0.1))

    def wait(self, attempt: int) -> None:
        """Sleep before try number `attempt` (from 1)."""
        self.sleep(min(self.pause * 2 ** (attempt - 1), 8.0))


@dataclass(frozen=True)
class Answer:
    """A response whose body is still unread. Close it."""

    url: str
    status: int
    headers: Message
    body: IO[bytes]

    def count(self, header: str) -> int | None:
        """A header that is a number, or None."""
        value = (self.headers.get(header) or "").strip()
        return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def ask(method: str, url: str, headers: Mapping[str, str], timeout: float) -> Answer:
    """One request, answered whatever its status. Raises one of BROKEN when there is no answer."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise CheckpointError(f"{url[:200]}: seg downloads over http and https only")
    request = urllib.request.Request(url, method=method, headers={"User-Agent": f"seg/{__version__}", **headers})
    opener = urllib.request.build_opener(_Stay, urllib.request.HTTPSHandler(context=_certificates()))
    try:
        response = opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        return Answer(url, error.code, error.headers, error)
    return Answer(url, response.status, response.headers, response)


def follow(method: str, url: str, headers: Mapping[str, str], timeout: float, *, leave: bool) -> Answer:
    """Follow redirects, at most ten. The token goes to the first origin only.

    With `leave` False a redirect to another origin is the answer itself, since the hub's own headers are on it.
    """
    headers = dict(headers)
    for _ in range(10):
        answer = ask(method, url, headers, timeout)
        target = answer.headers.get("Location")
        if answer.status not in (301, 302, 303, 307, 308) or not target:
            return answer
        target = urljoin(url, target)
        if origin(target) != origin(url):
            if not leave:
                return answer
            headers.pop("Authorization", None)
        answer.body.close()
        url = target
    raise CheckpointError(f"{url[:200]}: redirected more than ten times; try again later")


def origin(url: str) -> tuple[str, str]:
    """Scheme and host with port: what a token must not leave."""
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def reason(error: BaseException) -> str:
    """What a broken connection died of, in one line."""
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, (TimeoutError, socket.timeout)):
        return "no answer in time"
    if isinstance(inner, http.client.IncompleteRead):
        return "the connection was cut"
    words = inner.strerror if isinstance(inner, OSError) and inner.strerror else str(inner) or type(inner).__name__
    return " ".join(words.split())[:160]


def _certificates() -> ssl.SSLContext:
    context = ssl.create_default_context()
    # Pythons that come without the system's certificates would refuse every host otherwise.
    if find_spec("certifi"):
        context.load_verify_locations(import_module("certifi").where())
    return context
