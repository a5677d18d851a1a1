"""A strict reader of OpenRaster files: refuses what the specification does not allow, version 0.0.3.

https://www.openraster.org/baseline/file-layout-spec.html and layer-stack-spec.html: the archive's layout, the baseline
files, the attributes of the stack.
"""

from __future__ import annotations

import re
import struct
import zipfile
from io import BytesIO
from xml.etree import ElementTree

import numpy as np
import PIL.Image


def read(data: bytes) -> tuple[tuple[int, int], dict[str, np.ndarray]]:
    """The picture's (H, W), and name -> uint8 [H, W, 4] of each layer in place, topmost first."""
    assert data[:4] == b"PK\x03\x04"
    assert data[30:38] == b"mimetype"  # its bytes are where file(1) looks for them: no extra field before them
    assert data[38:54] == b"image/openraster"
    with zipfile.ZipFile(BytesIO(data)) as archive:
        assert archive.testzip() is None
        infos = archive.infolist()
        assert (infos[0].filename, infos[0].compress_type) == ("mimetype", zipfile.ZIP_STORED)
        assert {info.compress_type for info in infos} <= {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
        assert not any(info.flag_bits & 1 for info in infos)  # encrypted
        names = [info.filename for info in infos]
        assert len(names) == len(set(names))
        assert not any(name.startswith("/") or ".." in name for name in names)
        text = archive.read("stack.xml")
        assert text.startswith(b'<?xml version="1.0" encoding="UTF-8"?>')
        image = ElementTree.fromstring(text)
        assert image.tag == "image"
        assert image.attrib.keys() <= {"version", "w", "h", "xres", "yres", "name"}
        assert re.fullmatch(r"\d+\.\d+\.\d+", image.attrib["version"])
        width, height = int(image.attrib["w"]), int(image.attrib["h"])
        (root,) = image
        assert root.tag == "stack"
        found: dict[str, np.ndarray] = {}
        used = {"mimetype", "stack.xml", "mergedimage.png", "Thumbnails/thumbnail.png"}
        for layer in root:
            assert layer.tag == "layer"
            assert layer.attrib.keys() <= {"name", "src", "x", "y", "opacity", "visibility", "composite-op"}
            assert 0 <= float(layer.get("opacity", "1")) <= 1
            assert layer.get("visibility", "visible") in ("visible", "hidden")
            assert layer.get("composite-op", "svg:src-over") == "svg:src-over"
            source = layer.attrib["src"]
            assert source.startswith("data/")
            used.add(source)
            part = np.asarray(PIL.Image.open(BytesIO(plain(archive.read(source)))).convert("RGBA"))
            x, y = int(layer.get("x", "0")), int(layer.get("y", "0"))
            whole = np.zeros((height, width, 4), np.uint8)
            whole[y : y + part.shape[0], x : x + part.shape[1]] = part  # fails where it lies outside
            assert layer.attrib["name"] not in found
            found[layer.attrib["name"]] = whole
        assert found
        assert set(names) == used
        merged = PIL.Image.open(BytesIO(plain(archive.read("mergedimage.png"))))
        assert merged.size == (width, height)
        small = PIL.Image.open(BytesIO(plain(archive.read("Thumbnails/thumbnail.png"))))
        assert max(small.size) <= 256
        assert small.mode in ("RGB", "RGBA")
    return (height, width), found


def plain(data: bytes) -> bytes:
    """A PNG as it was, when it has eight bits a channel, colours, and no interlacing."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    depth, color, _, _, interlaced = struct.unpack(">5B", data[24:29])
    assert (depth, interlaced) == (8, 0)
    assert color in (2, 6)
    return data
