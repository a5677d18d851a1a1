#!/bin/sh
# A view that pans over a photo, as a directory of frames: a click in the first one, and the cat is followed.
# Look at seg-out/pan-masks/overlay-video. python3 must be the one that seg is installed for.
set -e
cd "$(dirname "$0")/.."
python3 - examples/photos/chelsea.jpg seg-out/pan <<'PAN'
import pathlib, sys
import PIL.Image
photo, out = PIL.Image.open(sys.argv[1]), pathlib.Path(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)
for frame in range(24):
    left, top = 3 * frame, frame
    photo.crop((left, top, left + 320, top + 240)).save(out / f"{frame:05d}.png")
PAN
seg vos seg-out/pan --at 70%,60% --fps 12 -f palette,overlay-video -o seg-out/pan-masks "$@"
