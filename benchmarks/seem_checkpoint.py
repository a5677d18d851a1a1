"""An official file's whole way at full size: `torch.save`d random weights under the official keys, to masks on disk.

    python benchmarks/seem_checkpoint.py [--config focal-t] [--photo examples/photos/chelsea.jpg] [--keep DIR]

Writes SEEM's focal-T v1 as its authors do (a pickle of 660 MB), lets `seg` convert it, load it strictly and mask a
photo with clicks and words, a command each in an empty home, and prints CPU seconds and largest memory of each.
The weights are random, so the masks mean nothing; that they come out, and the same ones each time, is the point.
Needs 3 GB of disk and of memory.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # the official keys stand with the tests

from tests.models.seem.conftest import DATA
from tests.models.seem.test_keys import FILES, released_keys

ROOT = Path(__file__).parents[1]
ENTRY = """
[official.{config}]
system = "seem"
config = "{config}-v1"
folder = "{folder}"
files = [{{ name = "{file}" }}]
keys = "original"
licence = "none"
accepts = ["point", "box", "mask", "previous", "text", "reference", "classes", "video"]
"""


def write_official(path: Path, config: str) -> int:
    """A file in the official format with random weights; returns how many keys it has."""
    generator = torch.Generator().manual_seed(0)
    shapes = released_keys(DATA / "keys" / f"{FILES[config]}.txt")
    tensors = {}
    for key, shape in shapes.items():
        scale = 1.0 if "query_" in key else 0.02 if len(shape) > 1 else 0.0
        tensor = torch.randn(shape, generator=generator) * scale
        tensors[key] = tensor + 1 if len(shape) == 1 and key.endswith("weight") else tensor  # of norms
    torch.save(tensors, path)
    return len(tensors)


def run(command: list[str], environment: dict[str, str]) -> tuple[float, int]:
    """CPU seconds and largest resident megabytes of one `seg` command; its words go to stderr."""
    program = [sys.executable, "-m", "segcli", *command]
    child = subprocess.Popen(program, env=environment)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"seg {' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="focal-t", choices=sorted(FILES))
    parser.add_argument("--photo", type=Path, default=ROOT / "examples" / "photos" / "chelsea.jpg")
    parser.add_argument("--keep", type=Path, help="where the files are made and left; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        file = f"seem_{options.config}_v1.pt"
        keys = write_official(folder / file, options.config)
        print(f"{file}: {keys} keys, {(folder / file).stat().st_size / 1e6:.0f} MB")
        own = folder / "config" / "seg" / "weights.toml"
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text(ENTRY.format(config=options.config, folder=folder.resolve(), file=file))
        homes = {"XDG_CONFIG_HOME": "config", "SEG_CACHE": "cache", "SEG_STATE": "state"}
        environment = {**os.environ, **{name: str(folder / below) for name, below in homes.items()}}
        common = [str(options.photo), "-m", f"official.{options.config}", "--device", "cpu", "-f", "mask"]
        click = ["point", *common, "--at", "45%,40%", "--classes", "cat,dog,sky"]
        steps = {
            "convert, one click, labels": click,
            "the same click": click,
            "all of a phrase": ["refer", "the cat's left eye", *common, "--all", "--threshold", "0"],
            "a phrase and a click": ["refer", "a red mug", *common, "--at", "45%,40%"],
        }
        seen: dict[str, str] = {}
        for n, (what, command) in enumerate(steps.items()):
            out = folder / f"out{n}"
            seconds, memory = run([*command, "-o", str(out)], environment)
            made = hashlib.sha256(b"".join(p.read_bytes() for p in sorted(out.rglob("*.png")))).hexdigest()[:12]
            again = "" if what != "the same click" else f", same bytes: {seen['point'] == made}"
            seen[command[0]] = made
            print(f"{what:28} {seconds:6.1f} s {memory:6} MB{again}")


if __name__ == "__main__":
    main()
