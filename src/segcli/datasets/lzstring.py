"""Text as LZString packs it for web addresses: the form of Ego-Exo4D's masks.

A stream of 6-bit characters holds numbers, the least significant bit first, that grow wider as the dictionary fills:
0 and 1 bring in a new character of 8 or 16 bits, 2 ends the text, others repeat what the dictionary holds there; after
each number the last phrase with the next one's first character becomes a new phrase (LZ78, as Welch has it).
"""

from __future__ import annotations

from string import ascii_lowercase, ascii_uppercase, digits

_VALUES = {sign: value for value, sign in enumerate(f"{ascii_uppercase}{ascii_lowercase}{digits}+-$")}
_END = 2
_LITERAL = {0: 8, 1: 16}  # number -> bits of the character that follows


def decompress(packed: str) -> str:
    """The text. Raises ValueError for what is not packed so, or was cut."""
    try:
        stream = "".join(f"{_VALUES[sign]:07b}"[1:] for sign in packed.replace(" ", "+"))
    except KeyError as error:
        raise ValueError(f"{error} is no character of packed text") from None
    at = 0

    def number(width: int) -> int:
        nonlocal at
        bits = stream[at : at + width]
        if len(bits) < width:
            raise ValueError("packed text ends too early")
        at += width
        return int(bits[::-1], 2)

    phrases = [""] * 3  # the three numbers that mean something else
    text: list[str] = []
    last = ""
    width, room = 2, 1  # so many numbers until a wider one is needed
    while (code := number(width)) != _END:
        if code in _LITERAL:
            phrases.append(chr(number(_LITERAL[code])))
            code = len(phrases) - 1
            width, room = _used(width, room)
        if code > len(phrases) or (code == len(phrases) and not last):
            raise ValueError("packed text names a phrase that it does not hold")
        phrase = phrases[code] if code < len(phrases) else last + last[0]
        text.append(phrase)
        if last:
            phrases.append(last + phrase[0])
            width, room = _used(width, room)
        last = phrase
    return "".join(text)


def _used(width: int, room: int) -> tuple[int, int]:
    """Width and room after one more phrase."""
    return (width, room - 1) if room > 1 else (width + 1, 1 << width)
