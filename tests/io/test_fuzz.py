from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.io.pictures import every_kind

from segcli.core.errors import ItemError
from segcli.io.images import read_image, read_mask

MUTANTS = 2000


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Cut, flip, splice, repeat or overwrite, most often near the header, where parsers decide."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        near, anywhere = int(rng.expovariate(1 / 60)), rng.randrange(len(damaged))
        where = min(near if rng.random() < 0.6 else anywhere, len(damaged) - 1)
        what = rng.randrange(6)
        if what == 0:
            damaged[where] ^= 1 << rng.randrange(8)
        elif what == 1:
            damaged[where : where + 4] = rng.choice((0, 1, 2**31 - 1, 2**32 - 1)).to_bytes(4, "big")
        elif what == 2:
            del damaged[where : where + rng.randrange(1, 40)]
        elif what == 3:
            damaged[where:where] = rng.randbytes(rng.randrange(1, 40))
        elif what == 4:
            damaged[where:where] = damaged[where : where + rng.randrange(1, 200)]
        else:
            del damaged[where + 1 :]
        if not damaged:
            return b""
    return bytes(damaged)


def refusal(read: Callable[[], object]) -> str | None:
    """What a reader refuses a file with; None when it reads it."""
    try:
        read()
    except ItemError as error:
        return str(error)
    return None


def test_two_thousand_damaged_files_are_read_or_refused_with_one_line():
    rng = random.Random(20260)
    kinds = sorted(every_kind().items())
    refused = 0
    for number in range(MUTANTS):
        name, data = kinds[number % len(kinds)]
        damaged = mutate(data, rng)
        line = refusal(partial(read_image, damaged, name, max_pixels=10**6))
        lines = [line]
        if number % 10 == 0:
            lines += [refusal(partial(read_image, damaged, name, 8)), refusal(partial(read_mask, damaged, name))]
        assert all(one is None or (one.startswith(name) and "\n" not in one) for one in lines)
        refused += line is not None
    assert MUTANTS // 5 < refused < MUTANTS  # the damage is damage, and not all of it at the first byte


def test_odd_metadata_puts_nothing_on_stderr():
    code = (
        "import random; from tests.io.test_fuzz import mutate; from tests.io.pictures import every_kind\n"
        "from segcli.io.images import read_image; from segcli.core.errors import ItemError\n"
        "rng = random.Random(5); kinds = sorted(every_kind().items())\n"
        "for n in range(900):\n"
        "    name, data = kinds[n % len(kinds)]\n"
        "    try: read_image(mutate(data, rng), name, max_pixels=10**6)\n"
        "    except ItemError: pass\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
