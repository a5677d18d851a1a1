#!/bin/sh
# Masks and overlays of the example photos: look at seg-out/overlay.
set -e
cd "$(dirname "$0")/.."
seg point --prompts examples/prompts.jsonl -f mask,overlay
