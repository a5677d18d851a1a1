#!/bin/sh
# Words instead of clicks: look at seg-out/words and seg-out/whole.
set -e
cd "$(dirname "$0")/.."
seg refer cat examples/photos/chelsea.jpg -f overlay -o seg-out/words
seg refer person examples/photos/astronaut.jpg -f overlay -o seg-out/words
seg refer examples/photos/coffee.jpg --phrases examples/phrases.txt -f mask -o 'seg-out/words/{stem}-{ask}.png'
seg panoptic examples/photos/ --classes person,cat,cup,table,building,tree,sky,flower -f panoptic,overlay -o seg-out/whole
