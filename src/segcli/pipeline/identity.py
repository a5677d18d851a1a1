"""Which input an output was made from.

A file whose size, modification time and change time are those in the journal is the same file: no write leaves the
change time alone, and no user program can set it. Otherwise (it was copied, touched, renamed, edited) its content
decides, by sha256. So a resumed run reads no photo that nobody touched, and misses no photo whose bytes changed.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from segcli.io.images import read_bytes
from segcli.io.remote import Remote, Source


@dataclass(frozen=True)
class Identity:
    """An input's content and, for a file, its size in bytes and its times in nanoseconds (0 for bytes on stdin)."""

    sha256: str
    size: int
    mtime_ns: int = 0
    ctime_ns: int = 0

    def line(self) -> dict[str, Any]:
        """The identity as plain JSON data."""
        return asdict(self)

    def is_bytes(self, data: bytes) -> bool:
        """True when these bytes are the content."""
        return len(data) == self.size and hashlib.sha256(data).hexdigest() == self.sha256

    def is_of(self, path: Source) -> bool:
        """True when the file has this content. Raises OSError when it can't be read."""
        status = path.stat()
        if status.st_size != self.size:
            return False
        if (status.st_mtime_ns, status.st_ctime_ns) == (self.mtime_ns, self.ctime_ns):
            return True
        if isinstance(path, Remote):
            return self.is_bytes(path.read_bytes())
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256


def of_bytes(data: bytes) -> Identity:
    """The identity of bytes that came on stdin."""
    return Identity(hashlib.sha256(data).hexdigest(), len(data))


def read(path: Source, name: str) -> tuple[bytes, Identity]:
    """A file's bytes with their identity. Raises ItemError with one line that names the file and the reason.

    The times are taken before the first byte is read: a file that is written to meanwhile differs from them.
    """
    try:
        status = path.stat()
        mtime_ns, ctime_ns = status.st_mtime_ns, status.st_ctime_ns
    except (OSError, ValueError):  # what is wrong is said by the reader
        mtime_ns = ctime_ns = 0
    data = read_bytes(path, name)
    return data, Identity(hashlib.sha256(data).hexdigest(), len(data), mtime_ns, ctime_ns)
