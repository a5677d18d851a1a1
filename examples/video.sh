#!/bin/sh
# A view that pans over a photo, as a directory of frames: a click in the first one, and the flower is followed.
# Look at seg-out/pan-masks/overlay-video, and at the cut-out with alpha in cutout-video. python3 must be the one that
# seg is installed for.
set -e
cd "$(dirname "$0")/.."
python3 - examples/photos/flower.jpg seg-out/pan <<'PAN'
import pathlib, sys
import PIL.Image
photo, out = PIL.Image.open(sys.argv[1]), pathlib.Path(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)
for frame in range(16):
    left, top = 46 + 7 * frame, 62 + frame
    photo.crop((left, top, left + 400, top + 300)).save(out / f"{frame:05d}.png")
PAN
seg vos seg-out/pan --at 261,156 --fps 12 -f palette,overlay-video,cutout-video -o seg-out/pan-masks "$@"
