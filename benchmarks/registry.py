"""Peak memory of `seg models convert`: python benchmarks/registry.py [--gigabytes 1.5] [--json]

Random weights are written as a pickle of the wanted size; the conversion runs in a process of its own. Its peak
(resident, mapped pages of the file included) is compared with that of a process that only imports torch.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch


def make_pickle(path: Path, size: int) -> None:
    """A state dict of random fp32 matrices of about `size` bytes, sized like those of a large transformer."""
    torch.manual_seed(0)
    side = 2048
    tensors = {f"layers.{i}.weight": torch.rand(side, side) for i in range(round(size / (4 * side * side)))}
    torch.save(tensors, path)


def peak(code: str, *arguments: str) -> tuple[int, float]:
    """Peak resident bytes and seconds of a fresh interpreter that runs `code`."""
    tail = "\nimport resource; print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code + tail, *arguments], capture_output=True, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    return int(done.stdout.split("peak ")[-1]) * unit, time.perf_counter() - start


def measure(size: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "random.pt"
        # In a child, so that this process never holds the tensors.
        subprocess.run([sys.executable, __file__, "--make", str(source), str(size)], check=True)
        real = source.stat().st_size
        base, _ = peak("import torch")
        run = (
            "import sys\nfrom pathlib import Path\nfrom segcli.registry.convert import convert\n"
            "convert(Path(sys.argv[1]), Path(sys.argv[2]), {}, dtype=sys.argv[3] or None)"
        )
        results: dict[str, float] = {"bytes": real, "torch_import_bytes": base}
        for dtype in ("", "fp16"):
            target = Path(folder) / "out.safetensors"
            most, seconds = peak(run, str(source), str(target), dtype)
            results[f"peak_over_file_{dtype or 'as_stored'}"] = (most - base) / real
            results[f"seconds_{dtype or 'as_stored'}"] = seconds
            target.unlink()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--make", nargs=2, metavar=("FILE", "BYTES"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make:
        make_pickle(Path(given.make[0]), int(given.make[1]))
        return
    results = measure(int(given.gigabytes * 1e9))
    if given.json:
        print(json.dumps(results))
        return
    for name, value in results.items():
        print(f"{name:28} {value:,.3f}")


if __name__ == "__main__":
    main()
