"""MaskGroups from annotations: sentences with references, and the masks that they mean.

What is written is what `segcli.datasets.groups` reads.

Sources are COCO or LVIS instances (several files of the same photos are merged), RefCOCO's layout for expressions, and
Visual Genome's boxes, attributes and relations, whose masks a promptable model draws. Photos of other sets' validation
and test parts can be kept out.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segcli.core.ask import Ask
from segcli.core.ask import Box as BoxPrompt
from segcli.core.errors import StorageError
from segcli.core.image import Image
from segcli.core.rle import Rle, encode, iou
from segcli.datasets.coco import read_instances, read_json
from segcli.datasets.files import read_rgb
from segcli.datasets.groups import MARKER
from segcli.datasets.referring import Sentence, draw, refcoco
from segcli.models.api import Promptable
from segcli.train import groups_templates as say
from segcli.train.groups_rules import Box, Meant, beside, groups_of_words, on_side, related

Rng = np.random.Generator
SAME_INSTANCE = 0.5
"""IoU from which two annotations of one photo are one object."""
LEAST_SCORE = 0.8
"""Of a model's own, for a mask that it draws from a box."""


@dataclass(frozen=True)
class Annotated:
    """All that is known of one photo. Of each object: a mask, its words, and attributes.

    triplets: subject, relation, object, by index. expressions: free words with the objects that they mean.
    """

    image: str
    size: tuple[int, int]
    masks: tuple[Rle, ...]
    categories: tuple[frozenset[str], ...]
    attributes: tuple[frozenset[str], ...] = ()
    triplets: tuple[tuple[int, str, int], ...] = ()
    expressions: tuple[tuple[str, tuple[int, ...]], ...] = ()
    boxes: tuple[Box, ...] = ()

    @property
    def places(self) -> Sequence[Box]:
        """Boxes as annotated, or those of the masks."""
        return self.boxes or [(x, y, x + w, y + h) for x, y, w, h in (mask.bbox for mask in self.masks)]


def groups(photo: Annotated, rng: Rng) -> Iterator[Meant]:
    """Every group of a photo that the paper's templates give; which member is the reference is drawn at random."""
    yield from _of_words(photo.categories, "category", say.CATEGORY[0], say.SAME_CATEGORY[0], rng)
    if photo.attributes:
        yield from _of_words(photo.attributes, "attribute", say.ATTRIBUTE[0], say.SAME_ATTRIBUTE[0], rng)
    for side in say.SIDES:
        if meant := on_side(photo.places, side, photo.size):
            yield Meant("position", say.POSITION[0].format(word=say.SIDE[side][1]), (), meant)
        if photo.masks:
            reference = int(rng.integers(len(photo.masks)))
            if meant := beside(photo.places, side, reference):
                yield Meant("position", say.POSITION_THAN[0].format(word=say.THAN[side][0]), (reference,), meant)
    for relation, reference, meant, mirrored in related(photo.triplets):
        template = say.MIRRORED_RELATION[0] if mirrored else say.RELATION[0]
        yield Meant("relation", template.format(word=relation), (reference,), meant)
    for words, meant in photo.expressions:
        yield Meant("expression", say.EXPRESSION[0].format(word=words), (), meant)


def _of_words(words: Sequence[Iterable[str]], kind: str, plain: str, same: str, rng: Rng) -> Iterator[Meant]:
    for word, members in groups_of_words(words).items():
        yield Meant(kind, plain.format(word=word), (), members)
        yield Meant(kind, same, (members[int(rng.integers(len(members)))],), members)


def record(photo: Annotated, meant: Meant, split: str = "train") -> dict[str, Any]:
    """One line of the file: the layout of `segcli.datasets.groups`, with the kind of sentence."""
    assert meant.sentence.count(MARKER) == len(meant.references)
    return {
        "image": photo.image,
        "height": photo.size[0],
        "width": photo.size[1],
        "prompt": meant.sentence,
        "refs": [photo.masks[n].coco() for n in meant.references],
        "candidates": [mask.coco() for mask in photo.masks],
        "targets": [photo.masks[n].coco() for n in meant.targets],
        "split": split,
        "kind": meant.kind,
    }


def write(photos: Iterable[Annotated], out: Path, seed: int, excluded: frozenset[str] = frozenset()) -> int:
    """Write all groups of all photos but the excluded ones (by file name); returns how many. Raises StorageError."""
    rng = np.random.default_rng(seed)
    count = 0
    fresh = out.with_name(out.name + ".part")
    try:
        with fresh.open("w", encoding="utf-8") as lines:
            for photo in photos:
                if Path(photo.image).name in excluded:
                    continue
                for meant in groups(photo, rng):
                    lines.write(json.dumps(record(photo, meant), separators=(",", ":")) + "\n")
                    count += 1
        fresh.replace(out)
    except OSError as error:
        raise StorageError(f"{out}: can't be written ({error.strerror}); choose another place") from error
    finally:
        fresh.unlink(missing_ok=True)
    return count


def from_instances(paths: Sequence[Path]) -> Iterator[Annotated]:
    """Photos of COCO or LVIS files; objects that several files have are one (see `merged`). Crowds are left out."""
    contents = [read_instances(path) for path in paths]
    sizes: dict[str, tuple[int, int]] = {}
    found: dict[str, list[tuple[Rle, str]]] = defaultdict(list)
    for content in contents:
        names = {c["id"]: str(c["name"]).replace("_", " ") for c in content["categories"]}
        images = {i["id"]: (_file_name(i), (int(i["height"]), int(i["width"]))) for i in content["images"]}
        sizes |= dict(images.values())
        for annotation in content["annotations"]:
            if annotation.get("iscrowd") or annotation["image_id"] not in images:
                continue
            name, size = images[annotation["image_id"]]
            mask = encode(draw([annotation], size))
            if mask.area:
                found[name].append((mask, names[annotation["category_id"]]))
    for name, size in sizes.items():
        masks, categories = merged(found[name])
        yield Annotated(name, size, masks, categories)


def merged(objects: Sequence[tuple[Rle, str]]) -> tuple[tuple[Rle, ...], tuple[frozenset[str], ...]]:
    """Objects with each mask once: one that overlaps an earlier one by `SAME_INSTANCE` adds its word to that one."""
    masks: list[Rle] = []
    words: list[set[str]] = []
    for mask, word in objects:
        overlaps = iou([mask], masks)[0] if masks else np.zeros(0)
        if overlaps.size and overlaps.max() >= SAME_INSTANCE:
            words[int(overlaps.argmax())].add(word)
        else:
            masks.append(mask)
            words.append({word})
    return tuple(masks), tuple(frozenset(w) for w in words)


def from_expressions(root: Path, split: str = "train", splits_by: str | None = None) -> Iterator[Annotated]:
    """Photos of RefCOCO's layout with their expressions; candidates are the objects that expressions mean."""
    by_image: dict[str, list[Sentence]] = defaultdict(list)
    for sentence in refcoco(root, split, splits_by):
        by_image[sentence.image].append(sentence)
    for name, sentences in by_image.items():
        numbers: dict[Any, int] = {}
        masks: list[Rle] = []
        expressions = []
        for sentence in sentences:
            for annotation in sentence.annotations:
                if annotation["id"] not in numbers:
                    numbers[annotation["id"]] = len(masks)
                    masks.append(encode(draw([annotation], sentence.size)))
            expressions.append((sentence.text, tuple(numbers[a["id"]] for a in sentence.annotations)))
        nothing = (frozenset[str](),) * len(masks)
        yield Annotated(name, sentences[0].size, tuple(masks), nothing, expressions=tuple(expressions))


def from_visual_genome(root: Path, photos: Path, model: Promptable) -> Iterator[Annotated]:
    """Photos of Visual Genome's layout: `objects.json`, `attributes.json` and `relationships.json` in `root`.

    Each box becomes the mask that `model` draws in it; boxes for which it is not sure enough are left out.
    Raises StorageError.
    """
    attributes = {i["image_id"]: i.get("attributes", []) for i in read_json(root / "attributes.json", list)}
    relations = {i["image_id"]: i.get("relationships", []) for i in read_json(root / "relationships.json", list)}
    for entry in read_json(root / "objects.json", list):
        number = entry["image_id"]
        path = photos / f"{number}.jpg"
        objects = [o for o in entry["objects"] if o.get("names")]
        boxes = [(float(o["x"]), float(o["y"]), float(o["x"] + o["w"]), float(o["y"] + o["h"])) for o in objects]
        pixels = read_rgb(path)
        image = Image(pixels, (int(pixels.shape[0]), int(pixels.shape[1])), path.name)
        drawn = masks_in_boxes(model, image, boxes)
        kept = [n for n, mask in enumerate(drawn) if mask is not None]
        place = {objects[n]["object_id"]: at for at, n in enumerate(kept)}
        said = {a["object_id"]: frozenset(a.get("attributes") or ()) for a in attributes.get(number, ())}
        triplets = tuple(
            (place[r["subject"]["object_id"]], str(r["predicate"]).lower(), place[r["object"]["object_id"]])
            for r in relations.get(number, ())
            if r["subject"]["object_id"] in place and r["object"]["object_id"] in place
        )
        yield Annotated(
            path.name,
            image.size,
            tuple(mask for mask in drawn if mask is not None),
            tuple(frozenset(objects[n]["names"]) for n in kept),
            tuple(said.get(objects[n]["object_id"], frozenset()) for n in kept),
            triplets,
            boxes=tuple(boxes[n] for n in kept),
        )


def masks_in_boxes(model: Promptable, image: Image, boxes: Sequence[Box]) -> list[Rle | None]:
    """The mask that `model` draws in each box, None where its own score is below `LEAST_SCORE`."""
    (encoded,) = model.encode([image])
    height, width = image.size
    asks = [
        Ask(boxes=(BoxPrompt(max(x0, 0), max(y0, 0), min(x1, width - 1), min(y1, height - 1)),))
        for x0, y0, x1, y1 in boxes
    ]
    answers = model.decode(encoded, asks) if asks else []
    return [a.masks[0] if len(a) and a.scores[0] >= LEAST_SCORE and a.masks[0].area else None for a in answers]


def excluded(roots: Sequence[Path]) -> frozenset[str]:
    """File names of the photos in the validation and test parts of RefCOCO-layout folders. Raises StorageError."""
    from segcli.datasets.referring import read_refs

    names: set[str] = set()
    for root in roots:
        images = {i["id"]: _file_name(i) for i in read_instances(root / "instances.json")["images"]}
        pickles, plain = sorted(root.glob("refs(*).p")), sorted(root.glob("grefs(*).json"))
        if not pickles and not plain:
            raise StorageError(f"{root}: has no refs(…).p and no grefs(…).json; give a folder of RefCOCO's layout")
        refs = [r for path in pickles for r in read_refs(path)] + [r for path in plain for r in read_json(path, list)]
        names |= {images[r["image_id"]] for r in refs if r.get("split") != "train" and r["image_id"] in images}
    return frozenset(names)


def _file_name(image: dict[str, Any]) -> str:
    """An image's file, which LVIS gives as a URL only."""
    name = image.get("file_name") or str(image.get("coco_url", "")).rpartition("/")[2]
    return str(name) or f"{int(image['id']):012d}.jpg"
