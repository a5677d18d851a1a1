#!/bin/sh
# One photo with a mask says what is meant in other photos: look at seg-out/incontext.
# A click makes the mask; the other photos are parts of the same one, mirrored. python3 must be the one that seg is
# installed for.
set -e
cd "$(dirname "$0")/photos"
mkdir -p ../../seg-out
python3 - chelsea.jpg ../../seg-out/cats <<'PARTS'
import pathlib, sys
import PIL.Image, PIL.ImageOps
photo, out = PIL.ImageOps.mirror(PIL.Image.open(sys.argv[1])), pathlib.Path(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)
width, height = photo.size
for name, share in (("whole", 1.0), ("part", 0.8)):
    photo.crop((0, 0, int(width * share), int(height * share))).save(out / f"{name}.png")
PARTS
seg point chelsea.jpg --at 50%,60% -f jsonl -o - > ../../seg-out/cat.jsonl
seg incontext ../../seg-out/cats --examples ../../seg-out/cat.jsonl -f mask,overlay -o ../../seg-out/incontext "$@"
