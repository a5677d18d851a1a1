"""`ora`: OpenRaster, the photo and a layer a mask, for GIMP, Krita and MyPaint."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from io import BytesIO
from xml.sax.saxutils import quoteattr

import numpy as np
import PIL.Image

from segcli.core.image import Image
from segcli.io.formats.alpha import finished, hard_alpha, soft_alpha
from segcli.io.formats.base import PerPhoto, full_size
from segcli.io.formats.contract import Answered, Options, Rendered
from segcli.io.formats.cutout import cut, tight
from segcli.io.formats.npz import member
from segcli.io.formats.svg import xml_text
from segcli.io.png import write_png

_THUMBNAIL = 256


class Ora(PerPhoto):
    """The layers lie where they belong, named by label, the first mask on top, the photo at the bottom."""

    name = "ora"
    needs_photo = True

    def render(self, answered: Answered, options: Options) -> list[Rendered]:
        """One file; with the photo alone when there is no target."""
        image, prediction = full_size(answered.image), answered.prediction
        height, width = image.size
        pixels = image.pixels if image.alpha is None else np.dstack([image.pixels, image.alpha])
        photo = write_png(pixels, icc=image.icc)
        finishing = replace(options, invert=False)  # other formats of the same run may want what is outside
        layers = []
        file = BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(member("mimetype", stored=True), b"image/openraster")
            for n, label in enumerate(prediction.names):
                soft = options.soft and prediction.soft is not None
                alpha = soft_alpha(prediction, n) if soft else hard_alpha(prediction.masks[n])
                shown = finished(answered, alpha, finishing)
                alpha = shown.alpha
                region = tight(alpha, 0)
                if region is None:
                    continue
                part = (image.pixels if shown.pixels is None else shown.pixels)[region]
                own = None if image.alpha is None else image.alpha[region]
                layer = cut(Image(part, (part.shape[0], part.shape[1]), image.name, own), alpha[region])
                source = f"data/mask-{n + 1:03d}.png"
                archive.writestr(member(source, stored=True), write_png(layer, icc=image.icc))
                title = f"{prediction.ids[n]} {label}" if label else f"mask {prediction.ids[n]}"
                layers.append((title, source, region[1].start, region[0].start))
            layers.append(("photo", "data/photo.png", 0, 0))
            archive.writestr(member("data/photo.png", stored=True), photo)
            archive.writestr(member("mergedimage.png", stored=True), photo)  # layers of a photo on it change nothing
            archive.writestr(member("Thumbnails/thumbnail.png", stored=True), _thumbnail(image))
            stack = "".join(
                f'<layer name={quoteattr(xml_text(title))} src="{source}" x="{x}" y="{y}" '
                f'opacity="1.0" visibility="visible" composite-op="svg:src-over"/>'
                for title, source, x, y in layers
            )
            xml = f'<?xml version="1.0" encoding="UTF-8"?><image version="0.0.3" w="{width}" h="{height}">'
            archive.writestr(member("stack.xml"), f"{xml}<stack>{stack}</stack></image>".encode())
        return [Rendered(file.getvalue(), ".ora", self.name)]


def _thumbnail(image: Image) -> bytes:
    small = PIL.Image.fromarray(image.pixels)
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return write_png(np.asarray(small))


FORMAT = Ora()
