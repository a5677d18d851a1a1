"""Prompts as ids, and where conditions stand after expansion."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

from segcli.models.psalm.layout import expand, length, places
from segcli.models.psalm.prompts import (
    CLASS,
    SENTENCE,
    Turn,
    class_ids,
    class_prompt,
    region_prompt,
    sentence_ids,
    sentence_prompt,
    taught_prompt,
)
from segcli.models.psalm.tokenizer import Tokenizer, read_tokenizer
from tests.goldens.contract import Golden
from tests.goldens.psalm_kinds.recorded import Differences, exact


def layouts(golden: Golden) -> Differences:
    recorded = json.loads(golden.path.read_text(encoding="utf-8"))
    file = golden.directory / recorded["tokenizer"].split(":")[0]
    tokenizer = read_tokenizer({"tokenizer.json": file.read_bytes()}, file.name)
    for name, task in recorded["tasks"].items():
        if "classes" in task:
            yield from _classes(name, task, tokenizer)
        elif "sentences" in task:
            yield from _sentences(name, task, tokenizer)
        elif "regions" in task:
            ids = region_prompt(tokenizer, task["regions"])
            yield exact(f"{name} input_ids", ids, task["input_ids"])
            yield from _expanded(name, task, ids, [], [])
        elif "conversation" in task:
            said = [entry["value"] for entry in task["conversation"]]
            turns = [Turn(q, a) for q, a in zip(said[::2], said[1::2], strict=True)]
            ids, labels = taught_prompt(tokenizer, turns)
            yield exact(f"{name} input_ids", ids, task["input_ids"])
            yield exact(f"{name} labels", labels, task["labels"])
        else:
            yield f"{name}: a task that nobody knows", float("inf"), "value"


def _classes(name: str, task: dict[str, Any], tokenizer: Tokenizer) -> Differences:
    ids = class_prompt(tokenizer, len(task["classes"]))
    each = [class_ids(word, tokenizer) for word in task["classes"]]
    yield exact(f"{name} input_ids", ids, task["input_ids"])
    yield exact(f"{name} class_name_ids", [i for one in each for i in one], task["class_name_ids"])
    yield exact(f"{name} cls_indices", [k for k, one in enumerate(each) for _ in one], task["cls_indices"])
    marked = [int(i == CLASS) for i in ids]
    yield exact(f"{name} class_name_embedding_indices", marked, task["class_name_embedding_indices"])
    yield from _expanded(name, task, ids, each, [])


def _sentences(name: str, task: dict[str, Any], tokenizer: Tokenizer) -> Differences:
    ids, words = sentence_prompt(tokenizer), sentence_ids(task["sentences"], tokenizer)
    yield exact(f"{name} input_ids", ids, task["input_ids"])
    yield exact(f"{name} token_refer_id", words, task["token_refer_id"])
    yield exact(f"{name} refer_embedding_indices", [int(i == SENTENCE) for i in ids], task["refer_embedding_indices"])
    yield from _expanded(name, task, ids, [], words)


def _expanded(
    name: str, task: dict[str, Any], ids: list[int], classes: list[list[int]], words: list[int]
) -> Differences:
    recorded = task["expanded"]
    image, masks = recorded["image_tokens"], recorded["mask_tokens"]
    pieces = expand(ids, classes, words)
    where = places(pieces, image, masks)
    yield exact(f"{name} length", length(pieces, image, masks), recorded["length"])
    for key, vector in (
        ("seg_mask_rle", where.masks),
        ("class_index_rle", where.classes),
        ("refer_mask_rle", where.sentence),
        ("region_mask_rle", where.regions),
    ):
        if key in recorded:
            runs = [[int(value), len(list(run))] for value, run in groupby(vector.tolist())]
            yield exact(f"{name} {key}", runs, recorded[key])
