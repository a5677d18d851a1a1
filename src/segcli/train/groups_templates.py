"""Sentences for groups of masks, by what they ask for. `<mask-ref>` stands for a reference.

The first of each kind is the paper's own (its section on MaskGroups-2M) where it gives one; the others say the same in
the words that people type.
"""

from __future__ import annotations

SIDES = ("left", "right", "top", "bottom")

CATEGORY = (
    "Select all {word}",
    "Segment all the {word} in the image.",
    "all {word}",
    "every {word}",
    "the {word}",
    "{word}",
    "find each {word}",
    "everything that is {word}",
)
SAME_CATEGORY = (
    "Segment everything of the same class as <mask-ref>.",
    "Group objects with the same category as <mask-ref>.",
    "same class as <mask-ref>",
    "everything of the same class as <mask-ref>",
    "all objects of the same kind as <mask-ref>",
    "everything like <mask-ref>",
    "all things like <mask-ref>",
)
OTHER_CATEGORY = (
    "everything of another class than <mask-ref>",
    "everything of a different kind than <mask-ref>",
    "everything unlike <mask-ref>",
)
ATTRIBUTE = (
    "Select all {word} objects",
    "everything {word}",
    "all {word} things",
    "everything that is {word}",
    "the {word} objects",
)
SAME_ATTRIBUTE = ("Find all the objects with the same attribute as <mask-ref> in the image.",)
SAME_COLOUR = (
    "everything of the same color as <mask-ref>",
    "all objects with the same colour as <mask-ref>",
    "same color as <mask-ref>",
)
SIDE = {
    "left": ("left", "left side", "left half"),
    "right": ("right", "right side", "right half"),
    "top": ("top", "top side", "upper half"),
    "bottom": ("bottom", "bottom side", "lower half"),
}
POSITION = (
    "Locate all the items on the {word} of the image.",
    "everything on the {word}",
    "all objects on the {word} of the photo",
    "everything in the {word} of the image",
)
THAN = {
    "left": ("to the left of", "left of"),
    "right": ("to the right of", "right of"),
    "top": ("above", "higher than"),
    "bottom": ("below", "lower than", "under"),
}
POSITION_THAN = (
    "Find all the objects {word} <mask-ref>.",
    "everything {word} <mask-ref>",
    "all objects {word} <mask-ref>",
    "{word} <mask-ref>",
)
LARGER = ("larger than", "bigger than")
SMALLER = ("smaller than",)
SIZE_THAN = (
    "everything {word} <mask-ref>",
    "Select all objects {word} <mask-ref>.",
    "all things {word} <mask-ref>",
    "{word} <mask-ref>",
)
LARGEST = ("the largest object", "the biggest thing", "largest")
SMALLEST = ("the smallest object", "smallest")
TOUCHING = (
    "everything touching <mask-ref>",
    "all objects that touch <mask-ref>",
    "everything next to <mask-ref>",
    "all objects beside <mask-ref>",
)
ON = ("everything on <mask-ref>", "all objects on <mask-ref>", "what is on <mask-ref>")
IDENTITY = ("<mask-ref>", "Select <mask-ref>.")
EXCEPT = ("everything except <mask-ref>", "everything but <mask-ref>", "all objects other than <mask-ref>")
BOTH = ("<mask-ref> and <mask-ref>", "Select <mask-ref> and <mask-ref>.")
BETWEEN_SIZES = ("everything larger than <mask-ref> and smaller than <mask-ref>",)
SAME_AS_EITHER = (
    "everything of the same class as <mask-ref> or <mask-ref>",
    "everything like <mask-ref> or <mask-ref>",
)
CATEGORY_THAN = ("all {category} {word} <mask-ref>", "every {category} {word} <mask-ref>")
CATEGORY_SIDE = ("all {category} on the {word}", "every {category} on the {word} of the image")
COLOURED_CATEGORY = ("all {colour} {category}", "the {colour} {category}")
EXPRESSION = ("Select the {word} in the image.",)
RELATION = ("Select all objects that <mask-ref> {word}.",)
MIRRORED_RELATION = ("Select all objects that {word} <mask-ref>.",)
