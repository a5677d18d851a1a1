#!/bin/sh
# Masks as a stream: how much of each photo its object covers, in percent.
set -e
cd "$(dirname "$0")/.."
seg point --prompts examples/prompts.jsonl -f jsonl -o - |
  python3 -c '
import json, sys
for line in map(json.loads, sys.stdin):
    if "masks" in line and line["masks"]:
        height, width = line["size"]
        print("%5.1f %%  %s" % (100 * line["masks"][0]["area"] / (height * width), line["image"]))
'
