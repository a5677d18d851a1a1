#!/bin/sh
# LabelMe's files as a data set for YOLO: outlines, and the list of classes that numbers them. Look at seg-out/yolo.
set -e
cd "$(dirname "$0")/.."
mkdir -p seg-out/labelme
for photo in chelsea flower; do
  cat > "seg-out/labelme/$photo.json" <<LABELME
{"version": "5.0.1", "flags": {}, "imagePath": "$photo.jpg", "imageData": null, "imageHeight": 300, "imageWidth": 400,
 "shapes": [{"label": "$photo", "shape_type": "polygon", "group_id": null, "flags": {},
             "points": [[100, 60], [300, 70], [320, 220], [180, 260], [90, 200]]}]}
LABELME
done
seg masks convert seg-out/labelme --classes chelsea,flower -f yolo -o seg-out/yolo --force
