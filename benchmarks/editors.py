"""Opens an OpenRaster file of seg in Krita, has Krita save it again, and says whether every layer is still itself.

    python benchmarks/editors.py

Needs Debian's packages krita and xvfb (Krita wants a display, and gets one in memory). Exits 1 when a layer has another
name, lies elsewhere, or shows something else. GIMP reads OpenRaster through a plug-in that Debian 12 leaves out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import numpy as np
import PIL.Image

from segcli.core import rle
from segcli.core.ask import Ask
from segcli.core.prediction import Prediction
from segcli.io.formats import get_format
from segcli.io.formats.contract import Answered, Options
from segcli.io.images import read_image

PHOTO = Path(__file__).resolve().parents[1] / "examples" / "photos" / "chelsea.jpg"


def ours() -> bytes:
    """The photo with four overlapping discs as masks, with labels of all sorts, one of them cut off by the edge."""
    image = read_image(PHOTO, str(PHOTO))
    y, x = np.mgrid[: image.size[0], : image.size[1]]
    discs = [(60, 80, 40), (200, 300, 77), (150, 150, 90), (290, 440, 60)]
    masks = tuple(rle.encode((y - cy) ** 2 + (x - cx) ** 2 < r * r) for cy, cx, r in discs)
    labels = ("left ear", None, '<"nose" & mouth>', "Schnurrhaare, 猫")
    answered = Answered(image, Ask(), Prediction(image.size, masks, labels=labels), PurePosixPath("chelsea"), "drawn")
    (file,) = get_format("ora").render(answered, Options(feather=4))
    return file.data


def layers(data: bytes) -> dict[str, np.ndarray]:
    """Name -> uint8 [H, W, 4], each layer where it belongs in the picture, the topmost first."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        root = ElementTree.fromstring(archive.read("stack.xml"))
        found = {}
        for layer in root.iter("layer"):
            whole = np.zeros((int(root.attrib["h"]), int(root.attrib["w"]), 4), np.uint8)
            part = np.asarray(PIL.Image.open(BytesIO(archive.read(layer.attrib["src"]))).convert("RGBA"))
            x, y = int(layer.get("x", "0")), int(layer.get("y", "0"))
            whole[y : y + part.shape[0], x : x + part.shape[1]] = part
            found[layer.attrib["name"]] = whole
    return found


def through_krita(data: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        given, saved = Path(folder, "given.ora"), Path(folder, "saved.ora")
        given.write_bytes(data)
        runtime = Path(folder, "runtime")
        runtime.mkdir(mode=0o700)
        environment = os.environ | {"HOME": folder, "XDG_RUNTIME_DIR": str(runtime)}
        command = ["xvfb-run", "-a", "krita", "--export", "--export-filename", str(saved), str(given)]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)
        return saved.read_bytes()


def main() -> int:
    missing = [name for name in ("krita", "xvfb-run") if shutil.which(name) is None]
    if missing:
        print(f"{' and '.join(missing)} not found: apt-get install krita xvfb xauth", file=sys.stderr)
        return 2
    before = ours()
    sent, back = layers(before), layers(through_krita(before))
    print(f"sent:  {', '.join(sent)}\nback:  {', '.join(back)}")
    wrong = list(sent) != list(back)
    for name in sent.keys() & back.keys():
        a, b = sent[name].astype(int), back[name].astype(int)
        opacity = int(np.abs(a[..., 3] - b[..., 3]).max())
        colours = int((np.abs(a - b)[..., :3].max(2) * (a[..., 3] == 255)).max())
        print(f"{name}: opacity differs by at most {opacity}, colours by {colours}")
        wrong |= opacity > 1 or colours > 1
    print("NOT the same layers" if wrong else "the same layers, in place")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
