#!/bin/sh
# A data set labelled into one COCO file, in two evenings: the same command goes on where the first one stopped.
# Look at seg-out/labelled/instances.json.
set -e
cd "$(dirname "$0")/.."
out=seg-out/labelled
label() { seg point --prompts "$1" -f coco -o "$out"; }
mkdir -p seg-out
classes='"classes": "person,cat,cup,building,flower"'
sed "s/}\$/, $classes}/" examples/prompts.jsonl > seg-out/all.jsonl
head -n 2 seg-out/all.jsonl > seg-out/first-evening.jsonl
label seg-out/first-evening.jsonl
label seg-out/all.jsonl   # what is done is skipped
seg masks stats "$out/instances.json"
