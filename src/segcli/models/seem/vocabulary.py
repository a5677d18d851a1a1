"""The words that seem-nano was trained with, and how a typed phrase finds one of them.

A closed vocabulary: the names of the training photos' labels. A narrower word stands under a broader one ("brick wall"
under "wall"); whoever asks for the broader one gets all of them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segcli.core.errors import UsageError

_THINGS = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag,
tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard,
tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot,
hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard,
cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier,
toothbrush, body, face, sign, table, light, cabinet, door, painting, lamp, windowpane, flower, shelf, mirror, cushion,
pot, box, streetlight, signboard, pillow, glass, tray, stairs, basket, plate, animal
"""
_STUFF = """
sky, grass, tree, building, road, wall, floor, water, ceiling, mountain, fence, pavement, plant, paper, rug, curtain,
food, house, dirt, window, wood floor, playingfield, sea, counter, tile wall, snow, rock, brick wall, cardboard, towel,
blanket, wood wall, window blind, gravel, bridge, stone wall, net, fruit, sand, river
"""

# Broader word -> narrower ones that it covers too.
_COVERS = {
    "person": ("body", "face"),
    "wall": ("tile wall", "brick wall", "wood wall", "stone wall"),
    "floor": ("wood floor",),
    "water": ("sea", "river"),
    "table": ("dining table",),
    "plant": ("potted plant", "flower"),
    "light": ("lamp", "streetlight"),
    "window": ("windowpane", "window blind"),
    "building": ("house",),
    "sign": ("signboard", "stop sign"),
    "road": ("pavement",),
    "glass": ("wine glass",),
    "food": (
        "fruit",
        "banana",
        "apple",
        "sandwich",
        "orange",
        "broccoli",
        "carrot",
        "hot dog",
        "pizza",
        "donut",
        "cake",
    ),
    "animal": ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
    "cushion": ("pillow",),
}

# Labels of training photos that mean a word of the vocabulary.
_LABELS = {
    "armchair": "chair",
    "swivel chair": "chair",
    "seat": "chair",
    "stool": "chair",
    "desk": "table",
    "coffee table": "table",
    "pool table": "table",
    "countertop": "counter",
    "earth": "dirt",
    "sidewalk": "pavement",
    "blind": "window blind",
    "sconce": "lamp",
    "chandelier": "lamp",
    "stairway": "stairs",
    "step": "stairs",
    "poster": "painting",
    "skyscraper": "building",
    "crt screen": "tv",
    "van": "car",
    "palm": "tree",
    "stove": "oven",
    "ball": "sports ball",
    "hill": "mountain",
    "field": "grass",
    "path": "road",
    "chest of drawers": "cabinet",
    "wardrobe": "cabinet",
    "screen door": "door",
}

# What people type for a word of the vocabulary.
_SYNONYMS = {
    **_LABELS,
    **dict.fromkeys(
        ("people", "human", "man", "woman", "boy", "girl", "child", "men", "women", "children", "kid"), "person"
    ),
    **dict.fromkeys(("somebody", "someone", "player", "rider", "dancer", "pedestrian"), "person"),
    **dict.fromkeys(("television", "tv set", "monitor", "screen"), "tv"),
    **dict.fromkeys(("sofa", "settee"), "couch"),
    **dict.fromkeys(("plane", "aeroplane", "aircraft", "jet"), "airplane"),
    **dict.fromkeys(("bike", "cycle"), "bicycle"),
    **dict.fromkeys(("motorbike", "scooter"), "motorcycle"),
    **dict.fromkeys(("phone", "mobile phone", "smartphone", "telephone"), "cell phone"),
    **dict.fromkeys(("fridge",), "refrigerator"),
    **dict.fromkeys(("kitten", "kitty"), "cat"),
    **dict.fromkeys(("puppy",), "dog"),
    **dict.fromkeys(("pony", "foal"), "horse"),
    **dict.fromkeys(("lamb",), "sheep"),
    **dict.fromkeys(("calf", "bull", "cattle"), "cow"),
    **dict.fromkeys(("lorry", "pickup"), "truck"),
    **dict.fromkeys(("ship", "canoe", "kayak"), "boat"),
    **dict.fromkeys(("mug", "teacup"), "cup"),
    **dict.fromkeys(("doughnut",), "donut"),
    **dict.fromkeys(("photo", "picture", "photograph"), "painting"),
    **dict.fromkeys(("street",), "road"),
    **dict.fromkeys(("ground", "soil"), "dirt"),
    **dict.fromkeys(("lawn", "meadow"), "grass"),
    **dict.fromkeys(("ocean",), "sea"),
    **dict.fromkeys(("carpet",), "rug"),
    **dict.fromkeys(("purse",), "handbag"),
    **dict.fromkeys(("head",), "face"),
    **dict.fromkeys(("automobile", "taxi", "cab"), "car"),
    **dict.fromkeys(("racket", "racquet"), "tennis racket"),
    **dict.fromkeys(("couches",), "couch"),
    "diningtable": "dining table",
    "pottedplant": "potted plant",
    "tvmonitor": "tv",
}
_ARTICLES = frozenset({"a", "an", "the", "some", "any", "all", "every", "each", "my", "this", "that", "these", "those"})
_ODD_PLURALS = {"people": "person", "men": "person", "women": "person", "mice": "mouse", "leaves": "plant"}


@dataclass(frozen=True)
class Vocabulary:
    """Words by index; `stuff` are those that can't be counted."""

    words: tuple[str, ...]
    stuff: frozenset[str]

    def index(self, label: str) -> int | None:
        """The index of a training label, or None for one that is not in the vocabulary."""
        label = _LABELS.get(label, label)
        return self.words.index(label) if label in self.words else None

    def covered(self, word: str) -> tuple[int, ...]:
        """Indices of `word` and of the narrower words under it."""
        return tuple(self.words.index(w) for w in (word, *_COVERS.get(word, ())) if w in self.words)

    def find(self, phrase: str) -> str:
        """The word that a phrase such as "the dogs" means. Raises UsageError that names near ones for any other."""
        plain = " ".join(w for w in re.findall(r"[\w'-]+", phrase.lower()) if w not in _ARTICLES)
        for candidate in _forms(plain):
            candidate = _SYNONYMS.get(candidate, candidate)
            if candidate in self.words:
                return candidate
        close = difflib.get_close_matches(plain, [*self.words, *_SYNONYMS], 3, 0.6)
        near = list(dict.fromkeys(_SYNONYMS.get(w, w) for w in close))
        some = f"near: {', '.join(near)}" if near else f"some are {', '.join(self.words[:3])}"
        raise UsageError(
            f"{phrase!r}: seem-nano knows {len(self.words)} words and this is none; {some} "
            "(a published SEEM reads free text: -m seem.focal-t-v1)"
        )


def _forms(plain: str) -> Sequence[str]:
    """The phrase, what it may be the plural of, and what it may mean in a data set's list ("wall-brick")."""
    listed = plain
    for suffix in ("-other", "-merged", "-stuff"):
        listed = listed.replace(suffix, "")
    parts = listed.split("-")
    forms = [plain, _ODD_PLURALS.get(plain, plain), listed, " ".join(parts), " ".join(reversed(parts))]
    for ending, replacement in (("ies", "y"), ("ves", "fe"), ("ves", "f"), ("es", ""), ("s", "")):
        if plain.endswith(ending):
            forms.append(plain.removesuffix(ending) + replacement)
    return forms


def _split(text: str) -> tuple[str, ...]:
    return tuple(" ".join(word.split()) for word in text.split(","))


BUNDLED = Vocabulary(_split(_THINGS) + _split(_STUFF), frozenset(_split(_STUFF)))
"""The vocabulary of the bundled member, in the order of its table of word embeddings."""


def covers() -> Mapping[str, tuple[str, ...]]:
    """Broader word -> narrower ones under it."""
    return _COVERS
