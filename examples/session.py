"""Clicks on one photo, one after the other, as an editor's plug-in would make them."""

import json
import subprocess
from pathlib import Path

photo = Path(__file__).parent / "photos" / "coffee.jpg"
clicks, answer = [], {}
with subprocess.Popen(["seg", "point", "--prompts", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as seg:
    for click in ([300, 180], [210, 230], [300, 90]):
        clicks.append(click)
        ask = {"image": str(photo), "id": "cup", "at": clicks, "refine": bool(answer)}
        seg.stdin.write(json.dumps(ask).encode() + b"\n")
        seg.stdin.flush()
        answer = json.loads(seg.stdout.readline())
        print(f"{len(clicks)} clicks: {answer['masks'][0]['area']} pixels in {answer['seconds']:.2f} s")
