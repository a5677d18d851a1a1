"""Does `--on ray` give what a plain run gives, also when a worker is killed, and what does it cost on one machine?

    python benchmarks/ray.py [--photos 300] [-m seem-nano] [--threads 1]

The same photos (random crops of the examples) four times: here, by one worker on a Ray of this machine, by two, and by
two of which one is killed (`kill -9`) after a third of the files. Printed: seconds until the first file and photos a
second from then on, each beside the plain run, and whether files and journals are the same. Exit 0 when they are.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from crash import count, journal, tree
from drawn import draw


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("-m", "--model", default="seem-nano")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="seg-bench-ray-"))
    try:
        return compare(base, given)
    finally:
        shutil.rmtree(base)


@dataclass(frozen=True)
class Took:
    """Seconds of one run, and photos a second after its first file."""

    first: float
    whole: float
    rate: float
    said: str


def compare(base: Path, given: argparse.Namespace) -> int:
    draw(base / "in", given.photos, (640, 480))
    runs = {
        "here": [],
        "one worker": ["--on", "ray", "--actors", "1"],
        "two workers": ["--on", "ray", "--actors", "2"],
        "two workers, one killed": ["--on", "ray", "--actors", "2"],
    }
    took: dict[str, Took] = {}
    for name, words in runs.items():
        took[name] = one(base, name, words, given, kill="killed" in name)
        plain, now = took["here"], took[name]
        print(
            f"     {name:<24} {now.whole:6.1f} s ({now.whole - plain.whole:+.1f}), "
            f"first file after {now.first:.1f} s ({now.first - plain.first:+.1f}), "
            f"then {now.rate:.2f} photos a second ({now.rate / plain.rate:.2f} times)",
            flush=True,
        )
    files, lines = tree(base / "here"), journal(base / "here")
    photos = sum(name.endswith(".png") for name in files)
    verdicts = {f"the plain run wrote a mask of each of {given.photos} photos": photos == given.photos}
    for name in list(runs)[1:]:
        verdicts[f"{name}: the same {len(files)} files, byte for byte"] = tree(base / name) == files
        verdicts[f"{name}: the same journal, apart from seconds"] = journal(base / name) == lines
    verdicts["the worker was killed in the middle, and its photos asked again"] = (
        "asked again" in took["two workers, one killed"].said
    )
    for text, well in verdicts.items():
        print(f"{'ok  ' if well else 'FAIL'} {text}")
    return 0 if all(verdicts.values()) else 1


def one(base: Path, name: str, words: list[str], given: argparse.Namespace, *, kill: bool) -> Took:
    """One run over the photos, from its start to its end."""
    out, begun, first = base / name, time.monotonic(), 0.0
    prompt = ["--at", "50%,50%", "-f", "mask,coco", "-m", given.model, "--threads", str(given.threads)]
    with (base / "said").open("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "segcli", "point", str(base / "in"), "-r", *prompt, "-o", str(out), *words],
            cwd=base,
            stderr=said,
        )
        while process.poll() is None:
            written = count(out)
            if written and not first:
                first, already = time.monotonic() - begun, written
            if kill and written >= given.photos // 3:
                os.kill(workers(process.pid)[0], signal.SIGKILL)
                kill = False
            time.sleep(0.05)
        whole = time.monotonic() - begun
        said.seek(0)
        text = said.read()
    if process.returncode:
        sys.exit(f"{name}: exit {process.returncode}\n{text}")
    return Took(first, whole, (given.photos - already) / (whole - first), text)


def workers(driver: int) -> list[int]:
    """The processes of Ray's actors below a process."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,args="], check=True, capture_output=True, text=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    parents = {int(pid): int(parent) for pid, parent, *_ in rows}

    def below(pid: int) -> bool:
        while pid in parents and pid != driver:
            pid = parents[pid]
        return pid == driver

    return [int(pid) for pid, _, *words in rows if words and words[0].startswith("ray::_Actor") and below(int(pid))]


if __name__ == "__main__":
    sys.exit(main())
