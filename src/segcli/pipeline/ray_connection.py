"""Ray in this process: joined, or started for the length of a run; what it needs, what it leaves, what it says."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Any, TextIO, cast

from segcli.core.errors import DeviceError

_DIAL = 10  # seconds that a machine has to take a connection
_REHEARSAL = 60  # seconds that a cluster has to let a process in
_PREFIX = "seg-ray-"

_REHEARSE = """
import logging, sys, warnings
warnings.simplefilter("ignore")
import ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.CRITICAL)
except BaseException as error:
    sys.exit("refused: " + " ".join(str(error).split())[:400])
ray.shutdown()
"""


class _Hushed:
    """stdout for this thread alone. What Ray has to say about lost workers it prints there, from threads of its own."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self._ours = threading.current_thread()

    def write(self, text: str) -> int:
        return self.stream.write(text) if threading.current_thread() is self._ours else len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class Connection:
    """Ray in this process: a cluster that was joined, or one that was started here and ends with us.

    A Ray of our own is nobody else's: it has a directory of its own, a token that only its processes know (Ray listens
    on all of a machine's addresses, and runs whatever it is sent), and reports to nobody.
    """

    def __init__(self) -> None:
        self.ray: Any = None
        self._directory: Path | None = None
        self._ours: set[str] = set()  # variables

    def start(self, cpus: int) -> None:
        """Start Ray on this machine. Raises DeviceError."""
        base = _short()
        _tidy(base)
        self._directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=base))
        if "RAY_AUTH_MODE" not in os.environ:
            self._default(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
        self._default(RAY_USAGE_STATS_ENABLED="0", RAY_worker_niceness="0")  # a plain run gives way to nobody either
        self._init(
            "--on ray: Ray does not start on this machine",
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            _temp_dir=str(self._directory),
        )

    def join(self, address: str) -> None:
        """Connect to a cluster. Raises DeviceError; bounded in time, whatever answers at the address."""
        where = f"--on ray:{address}"
        if "://" in address:
            raise DeviceError(f"{where}: Ray's client can't carry a run; give the cluster's own HOST:PORT, or auto")
        if address != "auto":
            host, _, port = address.rpartition(":")
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=_DIAL).close()
            except (OSError, ValueError) as error:
                reason = str(getattr(error, "strerror", None) or error).lower()
                raise DeviceError(f"{where}: can't be reached: {reason}; start it with ray start --head") from None
        try:  # Ray's own attempt may take minutes, or end the process that makes it: let another process try
            tried = subprocess.run(
                [sys.executable, "-c", _REHEARSE, address],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_REHEARSAL,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DeviceError(
                f"{where}: no Ray answered within {_REHEARSAL} s; is it the address of its head?"
            ) from None
        if tried.returncode:
            _, found, reason = tried.stderr.rpartition("refused: ")
            reason = reason.strip() if found else "Ray ended while it connected"
            hint = "" if "RAY_AUTH_MODE" in os.environ else "; a cluster with a token needs RAY_AUTH_MODE=token"
            raise DeviceError(f"{where}: can't be used: {reason}{hint}")
        self._init(f"{where}: can't be used", address=address)

    def _init(self, failing: str, **settings: Any) -> None:
        handler = signal.getsignal(signal.SIGTERM)  # Ray puts its own in its place
        sys.stdout = cast(TextIO, _Hushed(sys.stdout))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import ray
                import ray.cloudpickle
                import ray.exceptions

                if ray.is_initialized():
                    raise RuntimeError("this process uses Ray already")
                self.ray = ray
                ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **settings)
        except Exception as error:
            raise DeviceError(f"{failing}: {one_line(error)}") from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)

    def close(self) -> None:
        """Let go of Ray; end the one that was started here and remove what it left."""
        if self.ray is not None:
            with contextlib.suppress(Exception):
                self.ray.shutdown()
        self.ray = None
        if isinstance(sys.stdout, _Hushed):
            sys.stdout = sys.stdout.stream
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None
        for name in self._ours:
            os.environ.pop(name, None)
        self._ours.clear()

    def _default(self, **variables: str) -> None:
        """Set variables for Ray's processes, unless somebody has set them."""
        for name, value in variables.items():
            if name not in os.environ:
                os.environ[name] = value
                self._ours.add(name)


def one_line(error: BaseException) -> str:
    """An error of Ray's in one line that is not too long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:300] + "…"


def _short() -> Path:
    """A place for Ray's sockets, whose paths may have about 100 letters, of which Ray takes 80."""
    usual, short = Path(tempfile.gettempdir()), Path("/tmp")
    return short if len(str(usual)) > len("/var/tmp") and short.is_dir() else usual


def _tidy(base: Path) -> None:
    """Remove what runs left that were killed."""
    for left in base.glob(f"{_PREFIX}*"):
        pid = left.name.removeprefix(_PREFIX).partition("-")[0]
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            shutil.rmtree(left, ignore_errors=True)
        except (OSError, ValueError):  # somebody else's
            continue
