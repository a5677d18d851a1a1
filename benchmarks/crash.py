"""Does anything get lost when `seg point` is killed?

    python benchmarks/crash.py [--rounds 50] [--photos 40] [-m seem-nano] [--seed 0]

One run over copies of the example photos is left alone. Another is killed (`kill -9`) at a random moment, again and
again, and then allowed to finish. Printed at the end: whether its files are the same bytes, whether its journal is
the same apart from `seconds`, whether stray files are left, whether the photos were touched. Exit 0 when all is well.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from drawn import draw


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("-m", "--model", default="seem-nano")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="seg-crash-"))
    try:
        return trial(base, given.rounds, given.photos, given.model, random.Random(given.seed))
    finally:
        shutil.rmtree(base)


def trial(base: Path, rounds: int, photos: int, model: str, rng: random.Random) -> int:
    inputs = base / "in"
    draw(inputs, photos, (320, 240))
    before = tree(inputs)

    def command(out: str) -> list[str]:
        prompt = ["--at", "50%,50%", "-f", "mask,cutout,coco", "-m", model, "--threads", "1"]
        return [sys.executable, "-m", "segcli", "point", str(inputs), "-r", *prompt, "-o", str(base / out)]

    start = time.monotonic()
    said = subprocess.run(command("whole"), check=False, capture_output=True, text=True)
    if said.returncode:
        print(said.stderr, file=sys.stderr)
        return said.returncode
    whole, seconds = tree(base / "whole"), time.monotonic() - start
    print(f"undisturbed: {photos} photos, {len(whole)} files, {seconds:.1f} s")

    out, killed, restarts, wrong = base / "out", 0, 0, 0
    while killed < rounds:
        there = count(out)
        process = subprocess.Popen(command("out"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if rng.random() < 0.2:  # while it starts, looks for what is done, and reads its weights
            moment = rng.uniform(0, 0.5 * seconds)
        else:  # while it works: after its first new file
            while process.poll() is None and count(out) <= there:
                time.sleep(0.01)
            moment = rng.uniform(0, 2 * seconds / rounds)
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
            print(f"kill {killed} of {rounds}: {count(out)} files", file=sys.stderr)
            found = tree(out)
            wrong += sum(whole.get(name) != content for name, content in found.items() if not name.endswith(".tmp"))
        else:  # it was through before: the next one begins again
            restarts += 1
            wrong += tree(out) != whole
            shutil.rmtree(out)
    left = subprocess.run(command("out"), check=False, capture_output=True, text=True)
    found = tree(out)
    verdicts = {
        f"killed {killed} times, finished and begun again {restarts} times; exit 0 in the end": left.returncode == 0,
        "output files are byte-identical to the undisturbed run's": found == whole,
        "no partial file was seen after any kill": wrong == 0,
        "no stray temporary file": not [name for name in tree(out) if name.endswith(".tmp")],
        "the journals are equal apart from `seconds`": journal(out) == journal(base / "whole"),
        "the photos were not touched": tree(inputs) == before,
    }
    for text, well in verdicts.items():
        print(f"{'ok  ' if well else 'FAIL'} {text}")
    if left.returncode:
        print(left.stderr, file=sys.stderr)
    return 0 if all(verdicts.values()) else 1


def tree(directory: Path) -> dict[str, str]:
    """Every file's hash by its path, apart from journal and lock."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.name.startswith((".seg-journal", ".seg-lock")):
            continue
        try:
            found[str(path.relative_to(directory))] = hashlib.sha256(path.read_bytes()).hexdigest()
        except (FileNotFoundError, IsADirectoryError):  # renamed just now; a directory
            continue
    return found


def count(directory: Path) -> int:
    """How many files there are."""
    return sum(path.suffix in (".png", ".json") for path in directory.rglob("*"))


def journal(directory: Path) -> list[dict[str, object]]:
    """The journal's lines without `seconds`."""
    lines = (directory / ".seg-journal.jsonl").read_text().splitlines()
    return [{**json.loads(line), "seconds": None} for line in lines]


if __name__ == "__main__":
    sys.exit(main())
