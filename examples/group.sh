#!/bin/sh
# A group of things, named relative to one of them, and a photo without it: their masks in one file, then a plain
# inpainting with OpenCV, if it is there (pip install opencv-python-headless).
set -e
cd "$(dirname "$0")/photos"
out=../../seg-out/group
seg group coffee.jpg "everything smaller than {1}" --ref 300,150 --at-least-one -f mask,overlay --union -o "$out"
python3 - coffee.jpg "$out/mask/coffee.png" "$out/without.jpg" <<'PYTHON'
import sys
try:
    import cv2
except ImportError:
    sys.exit("group.sh: OpenCV is not installed, so nothing is painted over; the masks are there")
import numpy

photo, mask = cv2.imread(sys.argv[1]), cv2.imread(sys.argv[2], cv2.IMREAD_GRAYSCALE)
wider = cv2.dilate(mask, numpy.ones((9, 9), numpy.uint8))
cv2.imwrite(sys.argv[3], cv2.inpaint(photo, wider, 7, cv2.INPAINT_TELEA))
PYTHON
