#!/usr/bin/env bash
# An interactive session from a shell: one `seg` stays, a click goes in as a JSON line and its answer comes back.
# session.py is the same from Python.
set -e
cd "$(dirname "$0")/photos"
coproc SEG { seg point --prompts - -q; }
to=${SEG[1]} from=${SEG[0]} session=$SEG_PID
for click in '[300, 180]' '[210, 230]'; do
  echo "{\"image\": \"coffee.jpg\", \"id\": \"cup\", \"at\": [$click]}" >&"$to"
  read -r answer <&"$from"
  echo "$answer" | python3 -c 'import json, sys; print(json.load(sys.stdin)["masks"][0]["area"], "pixels")'
done
eval "exec $to>&-"   # the end of its input ends the session
wait "$session"
