"""What the pipeline costs beside the model: start-up, throughput, memory, large photos, further clicks.

    python benchmarks/pipeline.py [start|rate|large|clicks …] [-m seem-nano] [--threads 1] [--photos 500]

start   CPU seconds of commands that run no model, above a bare interpreter's, and whether they import numpy or torch
rate    photos a second of a whole directory against those of the model alone on photos that are in memory already,
        and the peak memory of a fifth of the photos against that of all of them
large   seconds a photo of 12 megapixels to `-f mask` against those of 512 pixels
clicks  a further click on a photo in a `--prompts -` session against the first one

Rates and ratios are medians over rounds that take turns, so that a busy machine hits both sides alike; CPU seconds
are those that the system counted for the process.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath

from drawn import draw

from segcli.core import geometry
from segcli.core.ask import Ask, Point
from segcli.core.geometry import Percent
from segcli.core.image import Image
from segcli.io.images import read_image
from segcli.models.api import Promptable
from segcli.pipeline.plan import Item, Output, Plan
from segcli.pipeline.run import How, run
from segcli.registry.load import open_model

MODES = ("start", "rate", "large", "clicks")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modes", nargs="*", help=f"which of {', '.join(MODES)} (all)")
    parser.add_argument("-m", "--model", default="seem-nano")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--photos", type=int, default=500)
    given = parser.parse_args()
    if unknown := set(given.modes) - set(MODES):
        parser.error(f"{', '.join(unknown)}: choose from {', '.join(MODES)}")
    base = Path(tempfile.mkdtemp(prefix="seg-bench-"))
    try:
        for mode in given.modes or MODES:
            {"start": start, "rate": rate, "large": large, "clicks": clicks}[mode](base, given)
    finally:
        shutil.rmtree(base)
    return 0


def start(base: Path, given: argparse.Namespace) -> None:
    """CPU seconds above `python -c pass`, median of 9."""
    heavy = ("numpy", "torch", "PIL", "rich", "scipy", "huggingface_hub")
    commands = {
        "seg --help": ["--help"],
        "seg --version": ["--version"],
        "seg models list": ["models", "list"],
        "seg point (no photo)": ["point"],
        "seg point --at nonsense": ["point", "a.jpg", "--at", "nonsense"],
        "seg point --nope": ["point", "a.jpg", "--nope"],
        "seg point -f nope": ["point", "a.jpg", "--at", "1,1", "-f", "nope"],
        "seg nope": ["nope"],
    }
    seg = [sys.executable, "-c", "import sys; from segcli.cli.app import main; main()"]
    listing = (
        "import sys, atexit; atexit.register(lambda: print('MODULES', *sys.modules, file=sys.stderr));"
        "from segcli.cli.app import main; main()"
    )
    bare = cpu([sys.executable, "-c", "pass"])
    print(f"start: a bare interpreter takes {bare:.3f} s of CPU")
    for name, words in commands.items():
        said = subprocess.run([sys.executable, "-c", listing, *words], check=False, capture_output=True, text=True)
        modules = said.stderr.rpartition("MODULES ")[2].split()
        found = [module for module in heavy if module in modules]
        above = cpu([*seg, *words]) - bare
        verdict = "ok  " if above <= 0.15 and not {"numpy", "torch"} & set(found) else "FAIL"
        print(
            f"{verdict} {name:<24} {above:+.3f} s (exit {said.returncode}, {len(modules)} modules, "
            f"of the heavy ones {', '.join(found) or 'none'})"
        )


def cpu(command: list[str], rounds: int = 9) -> float:
    """User and system seconds of a command, the median of some runs."""
    taken = []
    for _ in range(rounds):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, _, usage = os.wait4(process.pid, 0)
        taken.append(usage.ru_utime + usage.ru_stime)
    return statistics.median(taken)


def rate(base: Path, given: argparse.Namespace) -> None:
    """The pipeline's rate over the model's own, in turns of a tenth of the photos; and the peak memory."""

    model = opened(given)
    ask = Ask(points=(Point(Percent(50), Percent(50)),))
    paths = draw(base / "rate", given.photos, (640, 480))
    size, batch = max(1, given.photos // 10), How().batch

    def alone(images: list[Image], asks: list[Ask]) -> None:
        for at in range(0, len(images), batch):
            for one, encoded in enumerate(model.encode(images[at : at + batch])):
                model.decode(encoded, [asks[at + one]])

    def whole(part: list[Path], out: Path) -> None:
        items = [Item(PurePosixPath(path.name), path, (ask,)) for path in part]
        assert run(Plan(items, Output(out), "bench", model.name), model).done == len(part)

    ratios, cpu_ratios, rates = [], [], []
    for first in range(0, given.photos, size):
        part = paths[first : first + size]
        images = [read_image(path, str(path), model.reads) for path in part]
        asks = [geometry.resolve(ask, image.size, image.name) for image in images]
        if first == 0:
            alone(images[:batch], asks)  # the first forward pass sets things up
        wall_a, cpu_a = timed(partial(alone, images, asks))
        wall_w, cpu_w = timed(partial(whole, part, base / f"rate-out-{first}"))
        ratios.append(wall_a / wall_w)
        cpu_ratios.append(cpu_a / cpu_w)
        rates.append(len(part) / wall_w)
    ratio = statistics.median(ratios)
    print(
        f"{'ok  ' if ratio >= 0.9 else 'FAIL'} rate: {given.photos} photos of 640 x 480, "
        f"{statistics.median(rates):.2f} a second, {ratio:.1%} of the model-only loop's rate "
        f"(by CPU seconds {statistics.median(cpu_ratios):.1%})"
    )
    few, many = given.photos // 5, given.photos
    peaks = {count: peak(base, paths[:count], given) for count in (few, many)}
    grown = peaks[many] / peaks[few]
    print(
        f"{'ok  ' if grown <= 1.05 else 'FAIL'} memory: peak {peaks[few]:.0f} MB for {few} photos, "
        f"{peaks[many]:.0f} MB for {many} ({grown - 1:+.1%})"
    )


def peak(base: Path, paths: list[Path], given: argparse.Namespace) -> float:
    """Peak memory in MB of `seg point` over some photos."""
    listed = base / f"list-{len(paths)}"
    listed.write_text("".join(f"{path}\n" for path in paths))
    command = seg("point", "--files-from", str(listed), "--at", "50%,50%", "-o", str(base / f"peak-{len(paths)}"), "-q")
    process = subprocess.Popen([*command, "-m", given.model, "--threads", str(given.threads)])
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, status
    return usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def large(base: Path, given: argparse.Namespace) -> None:
    """Seconds a photo for 12 megapixels over those for 512 pixels, in turns."""

    model = opened(given)
    ask = Ask(points=(Point(Percent(50), Percent(50)),))
    sizes = {"12 megapixels": (4000, 3000), "512 pixels": (512, 384)}
    paths = {name: draw(base / name, 8, side) for name, side in sizes.items()}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in sizes}
    for number in range(6):
        for name in sizes:
            items = [Item(PurePosixPath(path.name), path, (ask,)) for path in paths[name]]
            plan = Plan(items, Output(base / f"large-{name}-{number}"), "bench", model.name)
            taken[name].append(timed(partial(run, plan, model)))
    walls = {name: statistics.median(wall for wall, _ in found[1:]) / 8 for name, found in taken.items()}
    cpus = {name: statistics.median(cpu for _, cpu in found[1:]) / 8 for name, found in taken.items()}
    ratio = walls["12 megapixels"] / walls["512 pixels"]
    print(
        f"{'ok  ' if ratio <= 3 else 'FAIL'} large: "
        + ", ".join(f"{name} {walls[name]:.3f} s (CPU {cpus[name]:.3f} s)" for name in sizes)
        + f": {ratio:.2f} times (by CPU seconds {cpus['12 megapixels'] / cpus['512 pixels']:.2f} times)"
    )


def clicks(base: Path, given: argparse.Namespace) -> None:
    """The time of a further click on an object over that of the first one, over a session's pipe.

    A session as an editor's: every ask carries all clicks so far and refines the last answer (examples/session.py).
    """
    examples = Path(__file__).parents[1] / "examples"
    asks = [json.loads(line) for line in (examples / "prompts.jsonl").read_text().splitlines()]
    command = seg("point", "--prompts", "-", "-m", given.model, "--threads", str(given.threads), "-q")
    first, further = [], []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for turn in range(4):
            for number, ask in enumerate(asks):
                # a copy each turn, so that its encoding is not there already
                path = base / f"{turn}-{Path(ask['image']).name}"
                shutil.copy(examples.parent / ask["image"], path)
                x, y = (float(word.rstrip("%")) for word in ask["at"][0])
                points = [[f"{x + dx}%", f"{y + dy}%"] for dx, dy in ((0, 0), (2, 1), (-2, -1), (1, -2), (-1, 2))]
                for count in range(1, len(points) + 1):
                    line = {"image": str(path), "id": number, "at": points[:count], "refine": count > 1}
                    begun = time.perf_counter()
                    process.stdin.write(json.dumps(line).encode() + b"\n")
                    process.stdin.flush()
                    answer = json.loads(process.stdout.readline())
                    (further if count > 1 else first).append(time.perf_counter() - begun)
                    assert "masks" in answer, answer
        process.stdin.close()
    first = first[1:]  # the very first one waited for the model to be loaded
    a, b = statistics.median(first), statistics.median(further)
    print(
        f"{'ok  ' if b <= a / 4 else 'FAIL'} clicks: the first on a photo {a * 1000:.0f} ms, "
        f"a further one {b * 1000:.0f} ms ({b / a:.2f} of it)"
    )


def seg(*words: str) -> list[str]:
    return [sys.executable, "-m", "segcli", *words]


def opened(given: argparse.Namespace) -> Promptable:

    return open_model(given.model, threads=given.threads)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of some work in this process."""
    wall, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - used


if __name__ == "__main__":
    sys.exit(main())
