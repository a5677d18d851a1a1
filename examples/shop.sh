#!/bin/sh
# A shop's folder of photos without their backgrounds: on white, as tight as the object, all in one size of border.
# Look at seg-out/shop.
set -e
cd "$(dirname "$0")/photos"
shop=../../seg-out/shop-photos
mkdir -p "$shop"
cp coffee.jpg flower.jpg "$shop"
seg point "$shop" --at 50%,45% -f cutout --crop --margin 16 --soft --background white -o '../../seg-out/shop/{stem}.png'
