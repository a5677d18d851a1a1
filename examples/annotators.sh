#!/bin/sh
# Two annotators, one data set: how far they agree, and what both of them mean.
# Anna drew outlines in LabelMe, Bert clicked. Look at seg-out/annotators/agreed.
set -e
cd "$(dirname "$0")/.."
out=seg-out/annotators
mkdir -p "$out/anna"
cat > "$out/anna/coffee.json" <<'LABELME'
{"version": "5.0.1", "flags": {}, "imagePath": "coffee.jpg", "imageData": null, "imageHeight": 400, "imageWidth": 600,
 "shapes": [{"label": "cup", "shape_type": "polygon", "group_id": null, "flags": {}, "points":
  [[150, 60], [300, 20], [420, 60], [470, 180], [450, 300], [330, 390], [200, 370], [90, 280], [80, 160]]}]}
LABELME
seg point examples/photos/coffee.jpg --at 300,180 --at 210,230 --classes cup,table -f coco -o "$out/bert"
seg masks iou "$out/anna" "$out/bert/instances.json"
seg masks merge "$out/anna" "$out/bert/instances.json" --how intersection -f coco,overlay --images examples/photos \
  -o "$out/agreed" --force
