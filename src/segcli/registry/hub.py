"""Files of hub repositories, put where the hub's own library and every tool that uses it will find them.

models--ORG--NAME/blobs/HASH   snapshots/COMMIT/FILE -> ../../blobs/HASH   refs/BRANCH
.locks/models--ORG--NAME/HASH.lock
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from segcli.core.errors import CheckpointError
from segcli.registry import hashes, places, web
from segcli.registry.download import Progress, Wanted, download, nothing, storage_error, sync_folder
from segcli.registry.files import locked, write_text
from segcli.registry.sizes import words
from segcli.registry.web import Answer, Patience
from segcli.registry.weights import Entry, File

_COMMIT = re.compile(r"[0-9a-f]{40}")
_ETAG = re.compile(r"[\w.-]{1,128}")
_TRUE = ("1", "on", "yes", "true")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Published:
    """What the hub says about one file: `tag` is the sha256 of large files and git's hash of small ones."""

    url: str
    commit: str
    tag: str
    size: int | None

    @property
    def sha256(self) -> str:
        """The file's sha256, or "" when the hub does not give it."""
        return self.tag if re.fullmatch(r"[0-9a-f]{64}", self.tag) else ""

    @property
    def git(self) -> str:
        """The file's hash as git takes it, or ""."""
        return self.tag if _COMMIT.fullmatch(self.tag) else ""


def is_offline(offline: bool = False) -> bool:
    """True with --offline, or when HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) says so."""
    given = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return offline or given.lower() in _TRUE


def look_up(entry: Entry, file: File, patience: Patience) -> Published:
    """Ask the hub about a file. Raises CheckpointError for everything that keeps it from us."""
    from huggingface_hub import hf_hub_url

    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
    revision = entry.revision or places.MAIN
    url = hf_hub_url(entry.hub, file.name, revision=revision, endpoint=endpoint)
    headers = {**_token(), "Accept-Encoding": "identity"}
    what = f"{entry.name}: {file.name}"
    why = ""
    for attempt in range(patience.tries):
        if attempt:
            patience.wait(attempt)
        try:
            answer = web.follow("HEAD", url, headers, patience.timeout, leave=False)
        except web.BROKEN as error:
            why = f"{web.origin(url)[1]} can't be reached: {web.reason(error)}"
            continue
        answer.body.close()
        if answer.status == 429:
            pause = answer.count("Retry-After")
            if pause is not None and pause > patience.longest:
                raise CheckpointError(f"{what}: the hub asks to wait {pause} s (429); try again after that")
            why = "the hub says that there were too many requests (429)"
            patience.sleep(pause or 0)
        elif answer.status >= 500:
            why = f"the hub failed ({answer.status})"
        else:
            return _published(answer, entry, file)
    raise CheckpointError(f"{what}: {why}; type `seg models pull {entry.name}` when there is a network")


def _published(answer: Answer, entry: Entry, file: File) -> Published:
    if answer.status >= 400:
        raise CheckpointError(_refused(answer, entry, file))
    headers = answer.headers
    tag = (headers.get("X-Linked-Etag") or headers.get("ETag") or "").removeprefix("W/").strip('"')
    commit = headers.get("X-Repo-Commit") or ""
    linked = answer.count("X-Linked-Size")
    size = linked if linked is not None else (answer.count("Content-Length") if answer.status == 200 else None)
    # Both become file names; ".." and the like must not get through.
    if not _COMMIT.fullmatch(commit) or not _ETAG.fullmatch(tag) or set(tag) == {"."}:
        raise CheckpointError(f"{entry.name}: {answer.url[:200]} does not answer like a hub; check HF_ENDPOINT")
    if _COMMIT.fullmatch(entry.revision) and commit != entry.revision:
        raise CheckpointError(f"{entry.name}: the hub answered with commit {commit[:12]}… instead of the pinned one")
    return Published(answer.url, commit, tag, size)


def _refused(answer: Answer, entry: Entry, file: File) -> str:
    code, status = answer.headers.get("X-Error-Code") or "", answer.status
    if code == "GatedRepo" or (entry.gated and status in (401, 403)):
        return (
            f"{entry.name}: {entry.hub} is gated; accept its licence on the hub's page of {entry.hub}, "
            "then set HF_TOKEN or type `hf auth login`"
        )
    if status in (401, 403):
        return f"{entry.name}: {entry.hub} is private or does not exist ({status}); set HF_TOKEN if you may read it"
    if status == 404:
        at = f" at {entry.revision[:12]}" if entry.revision else ""
        return f"{entry.name}: {entry.hub} has no file {file.name}{at} (404); correct its entry in weights.toml"
    return f"{entry.name}: the hub refused {file.name} ({status}); see the page of {entry.hub}"


def fetch(
    entry: Entry, file: File, *, say: Say, patience: Patience | None = None, progress: Progress = nothing
) -> tuple[Path, Published, str]:
    """Bring a file of a hub repository into the hub's cache; returns its place there, what the hub said, its sha256.

    Processes that want the same file wait for the one that downloads it.
    Raises CheckpointError or StorageError as `segcli.registry.download.download` does.
    """
    patience = patience or Patience.from_environment()
    published = look_up(entry, file, patience)
    if file.sha256 and published.sha256 and file.sha256 != published.sha256:
        raise CheckpointError(
            f"{entry.name}: the hub's {file.name} is another one than weights.toml pins "
            f"(sha256 {published.sha256[:12]}… instead of {file.sha256[:12]}…); nothing was downloaded"
        )
    folder = places.repository_folder(entry)
    blob = folder / "blobs" / published.tag
    sha256 = file.sha256 or published.sha256
    with _lock(entry, published, say):
        if not _is_whole(blob, published):
            size = words(published.size) if published.size is not None else "of unknown size"
            licence = entry.licence or "no licence given"
            say(f"seg: pulling {entry.name}: {file.name}, {size}, from {entry.hub} ({licence})")
            wanted = Wanted(
                published.url, _token(), published.size, sha256, published.git, f"{entry.name}: {file.name}"
            )
            sha256 = download(wanted, blob, patience, progress)
            hashes.remember(blob, sha256)
        pointer = folder / "snapshots" / published.commit / file.name
        try:
            _point(pointer, blob)
            if entry.revision != published.commit:
                write_text(folder / "refs" / (entry.revision or places.MAIN), published.commit)
        except OSError as error:
            raise storage_error(error, folder, entry.name) from error
    return pointer, published, sha256


def _is_whole(blob: Path, published: Published) -> bool:
    return blob.is_file() and (published.size is None or blob.stat().st_size == published.size)


def _lock(entry: Entry, published: Published, say: Say) -> AbstractContextManager[object]:
    folder = places.hub_cache() / ".locks" / places.repository_folder(entry).name
    return locked(folder / f"{published.tag}.lock", f"{entry.name}: another process is downloading it; waiting", say)


def _point(pointer: Path, blob: Path) -> None:
    """Make `pointer` a relative link to `blob`; where links can't be made the file moves there, as the hub does it."""
    pointer.parent.mkdir(parents=True, exist_ok=True)
    if pointer.exists() and pointer.resolve() == blob.resolve():
        return
    fresh = pointer.with_name(f"{pointer.name}.{os.getpid()}.link")
    try:
        fresh.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:
        blob.replace(pointer)
    else:
        fresh.replace(pointer)
    sync_folder(pointer.parent)


def _token() -> dict[str, str]:
    from huggingface_hub import get_token

    token = get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}
