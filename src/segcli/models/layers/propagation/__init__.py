"""Masks carried through a video by comparing cells of a frozen backbone; systems build their trackers on it."""
