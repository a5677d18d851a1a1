"""Text packed as Ego-Exo4D packs its masks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segcli.datasets.lzstring import decompress

SIGNS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-$"


def packed(text):
    """Packs by the rules that `decompress` documents, the longest known phrase at a time."""
    phrases, used, bits = {}, 3, []
    width, room = 2, 1

    def put(value, size):
        bits.extend((value >> k) & 1 for k in range(size))

    def grown():
        nonlocal width, room
        width, room = (width, room - 1) if room > 1 else (width + 1, 1 << width)

    at, last = 0, ""
    while at < len(text):
        known = {last + last[0]: used} | phrases if last else phrases  # the reader's next one may be named already
        phrase = max((p for p in known if text.startswith(p, at)), key=len, default="")
        if phrase:
            put(known[phrase], width)
        else:
            phrase = text[at]
            wide = ord(phrase) > 255
            put(int(wide), width)
            put(ord(phrase), 16 if wide else 8)
            phrases[phrase], used = used, used + 1
            grown()
        if last:
            phrases.setdefault(last + phrase[0], used)
            used += 1
            grown()
        last = phrase
        at += len(phrase)
    put(2, width)
    bits += [0] * (-len(bits) % 6)
    return "".join(SIGNS[int("".join(map(str, bits[k : k + 6])), 2)] for k in range(0, len(bits), 6))


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("", "Q"),
        ("a", "IZA"),
        ("aaaaaaa", "IY3I"),
        ("abcabcabcabc", "IYIwxqHpQ"),
        ("e=mc² 世界", "KYXgtgxgTQBIaHKBlXIA"),
        ("RR1d0R1" + "0" * 57 + "2^O`" + "0" * 18 + "\\l1", "ErCMBMAY02-hinJa2AmAegeQAZqQB0AbUIA"),
    ],
)
def test_texts_packed_by_the_published_packer_are_read(text, stored):
    assert decompress(stored) == text


@given(st.text("ab0é世", max_size=60))
def test_what_is_packed_by_the_rules_is_read(text):
    assert decompress(packed(text)) == text
    assert decompress(packed(text).replace("+", " ")) == text  # as it comes out of an address


@pytest.mark.parametrize("broken", ["", "IY", "ErCMBMAY02", "I=Y", "ééé", "8888"])
def test_packed_text_that_was_cut_or_is_none_is_refused(broken):
    with pytest.raises(ValueError, match=r"packed text"):
        decompress(broken)
