"""Where files are: bundled ones, those in the hub's cache, and what seg keeps itself."""

from __future__ import annotations

import os
from pathlib import Path

from segcli.registry.weights import PACKAGE, Entry, File

BUNDLED = PACKAGE / "weights"
MAIN = "main"


def cache_home() -> Path:
    """seg's own cache (converted pickles, files from outside of the hub): $SEG_CACHE or the platform's folder."""
    if given := os.environ.get("SEG_CACHE"):
        return Path(given).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("seg")


def state_home() -> Path:
    """Where seg notes what it learned (hashes at a first pull): $SEG_STATE, or the platform's state folder."""
    if given := os.environ.get("SEG_STATE"):
        return Path(given).expanduser()
    import platformdirs

    return platformdirs.user_state_path("seg")


def hub_cache() -> Path:
    """The hub's cache by the hub's own rules (HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME), without importing its library."""
    for variable, below in (
        ("HF_HUB_CACHE", ""),
        ("HUGGINGFACE_HUB_CACHE", ""),
        ("HF_HOME", "hub"),
        ("XDG_CACHE_HOME", "huggingface/hub"),
    ):
        if given := os.environ.get(variable):
            return Path(os.path.expandvars(given)).expanduser() / below
    return Path.home() / ".cache" / "huggingface" / "hub"


def repository_folder(entry: Entry) -> Path:
    """Folder of the entry's repository in the hub's cache: blobs/, snapshots/, refs/."""
    return hub_cache() / ("models--" + entry.hub.replace("/", "--"))


def snapshot(entry: Entry) -> Path | None:
    """Folder of the entry's revision in the hub's cache, or None when the revision was never seen here."""
    folder = repository_folder(entry)
    revision = entry.revision or MAIN
    if not _is_commit(revision):
        try:
            revision = (folder / "refs" / revision).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        if not _is_commit(revision):
            return None
    return folder / "snapshots" / revision


def original(entry: Entry, file: File) -> Path | None:
    """Where the published file lies on this machine, or None. Looks, never downloads.

    A link in a snapshot that leads out of the cache is not followed.
    """
    if entry.folder:
        path = Path(entry.folder).expanduser() / file.name
        return path if path.is_file() else None
    if entry.url:
        path = cache_home() / "files" / entry.name / file.name
        return path if path.is_file() else None
    folder = snapshot(entry)
    if folder is None or not (path := folder / file.name).is_file():
        return None
    return path if path.resolve().is_relative_to(repository_folder(entry).resolve()) else None


def stray(entry: Entry, file: File) -> Path | None:
    """The file's link in the snapshot when it leads out of the repository's folder in the hub's cache, or None."""
    folder = snapshot(entry) if entry.hub else None
    if folder is None or not (path := folder / file.name).is_symlink():
        return None
    return None if path.resolve().is_relative_to(repository_folder(entry).resolve()) else path


def converted(entry: Entry, file: File) -> Path:
    """Where the safetensors made of a pickle belong; a pickle that weights.toml pins anew is converted anew."""
    pin = file.sha256[:12] or "unpinned"
    return cache_home() / "converted" / entry.name / f"{file.name}.{pin}.safetensors"


def ready(entry: Entry, file: File) -> Path | None:
    """The safetensors file to open for `file`, or None when it has to be pulled or converted first."""
    if file.is_pickle:
        path = converted(entry, file)
        return path if path.is_file() else None
    return original(entry, file)


def bundled(entry: Entry) -> list[Path]:
    """Files of the entry that come with seg (whether or not they are there)."""
    return [BUNDLED / name for name in entry.bundled]


def _is_commit(revision: str) -> bool:
    return len(revision) == 40 and all(c in "0123456789abcdef" for c in revision)
