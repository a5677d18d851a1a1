"""Videos: frames in, masks and pictures out, one frame at a time and never the whole video."""
