#!/bin/sh
# A job that fails (exit 7) when a model needs more clicks than it may: ci.yml has the same for GitHub.
# The data set here is two of the example photos, with masks that clicks made; take your own photos and masks.
set -e
cd "$(dirname "$0")/.."
data=seg-out/gate
mkdir -p "$data/images" "$data/masks"
cp examples/photos/chelsea.jpg examples/photos/coffee.jpg "$data/images"
grep -e chelsea -e coffee examples/prompts.jsonl | seg point --prompts /dev/stdin -f mask -o "$data/masks/{stem}.png" --force
seg bench noc --data "$data" -m seem-nano --device cpu --clicks 3 --at 0.5,0.8 \
  --require 'NoC@50<=2.5' --junit "$data/clicks.xml" --csv "$data/clicks.csv"
