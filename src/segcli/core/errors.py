"""What can go wrong, each with the exit code that a shell sees.

    SegError
    ├── UsageError        2   the command line or a prompt is wrong
    ├── ItemError         3   this item failed, the rest goes on
    ├── StorageError      4   an input or output as a whole can't be used
    ├── CheckpointError   5   missing, broken, not to be had
    ├── DeviceError       6   device or memory
    └── RequirementError  7   a --require is not met

A message is one line: the item, what is wrong, what to type instead. It is shown as it stands.
"""

from __future__ import annotations


class SegError(Exception):
    """Base of every error that is the user's to mend; `exit_code` is what the process returns."""

    exit_code = 1


class UsageError(SegError):
    """The command line or a prompt is wrong."""

    exit_code = 2


class ItemError(SegError):
    """One item can't be done (unreadable photo, click outside of it); the others go on."""

    exit_code = 3


class StorageError(SegError):
    """An input or output as a whole can't be used: missing, unwritable, no space."""

    exit_code = 4


class CheckpointError(SegError):
    """A checkpoint is missing, broken or can't be had."""

    exit_code = 5


class DeviceError(SegError):
    """The device is absent or out of memory."""

    exit_code = 6


class RequirementError(SegError):
    """A `--require` or `--require-mask` is not met."""

    exit_code = 7
