"""`--shard i/n`: which items of a plan are this process's own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from segcli.core.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """Part `index` (from 1) of `count`. An item belongs to the part that its key's hash names, whatever else is in
    the plan, so machines need not agree on an order."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From `i/n`. Raises UsageError."""
        index, slash, count = text.partition("/")
        if slash and index.isascii() and count.isascii() and index.isdigit() and count.isdigit():
            shard = cls(int(index), int(count))
            if 1 <= shard.index <= shard.count:
                return shard
        raise UsageError(f"--shard {text}: is not i/n with 1 <= i <= n; type for example --shard 1/8")

    def owns(self, key: str) -> bool:
        """True when the item of that key is in this part."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index - 1

    @property
    def suffix(self) -> str:
        """What the part's own files have in their names."""
        return f"-{self.index}-of-{self.count}"
