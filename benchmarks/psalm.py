"""What PSALM's shared work saves, and what its weights need while they load; random weights, this machine.

    python benchmarks/psalm.py phrases [--threads 1] [--repeats 3] [--json]
    python benchmarks/psalm.py memory [--gigabytes 2.5] [--json]

phrases: ten phrases on one photo, asked together (photo, system's words and instruction are computed once) beside ten
runs of one phrase each, in CPU seconds; the answers are compared. The network is a smaller PSALM of the published
proportions.
memory: a checkpoint in bf16 under the published names, in two files, is opened in a process of its own, whose largest
resident memory beyond Python and its libraries is printed beside the size of the files.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from segcli.core.ask import Ask
from segcli.core.image import Image
from segcli.models.psalm.config import DecoderConfig, PhiSizes, PixelDecoderConfig, PsalmConfig, SwinConfig
from segcli.models.psalm.model import Psalm
from segcli.models.psalm.predictor import PsalmPredictor
from segcli.models.psalm.regions import AllPoints
from segcli.models.psalm.tokenizer import Tokenizer, read_tokenizer

SMALL = PsalmConfig(  # the published sequence and maps, an eighth or a quarter of every width
    planes=256,
    swin=SwinConfig(16, (2, 2, 18, 2), (1, 2, 4, 8), 12, 0.0),
    phi=PhiSizes(256, 24, 8, 1024, 2048),
    pixel_decoder=PixelDecoderConfig(64, 64, 8, 4, 256, 6, 16),
    decoder=DecoderConfig(64, 8, 256, 9, 100),
)
PHRASES = (
    "the red mug", "a dog on the left", "the person who holds an umbrella", "grass", "the second car",
    "a white plate with food", "the tallest building", "what one can sit on", "the brown horse behind the fence", "sky",
)  # fmt: skip
ALLOWED = {"phrases": 0.35, "memory": 1.25}


def tokenizer(words: int) -> Tokenizer:
    """A byte-pair encoding learned from this project's own documents, so that prompts are as long as with Phi's."""
    from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Encoding

    root = Path(__file__).parents[1]
    encoding = Encoding(models.BPE())
    encoding.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    encoding.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=words - 3, initial_alphabet=alphabet, show_progress=False)
    texts = [*root.glob("docs/*.md"), root / "src" / "segcli" / "models" / "psalm" / "prompts.py"]
    encoding.train([str(path) for path in texts], trainer)
    encoding.add_special_tokens([AddedToken("<|endoftext|>")])
    encoding.add_tokens([AddedToken("[PAD]"), AddedToken("[SEG]")])
    return read_tokenizer({"tokenizer.json": encoding.to_str().encode()}, "benchmark")


def random_model(config: PsalmConfig) -> Psalm:
    torch.manual_seed(0)
    model = Psalm(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 1 / parameter[0].numel() ** 0.5)
    return model


def best_of(repeats: int, run: Callable[[], list[np.ndarray]]) -> tuple[float, list[np.ndarray]]:
    """CPU seconds of the quickest run, which a busy machine disturbs less than a clock, and what it answered."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        answers = run()
        times.append(time.process_time() - start)
    return min(times), answers


def phrases(repeats: int) -> dict[str, float]:
    """Seconds of ten phrases together and apart, and the largest difference of their scores and masks."""
    network = random_model(SMALL)
    with torch.no_grad():  # as decisive as a trained network, which looks at few masks and not at all of them
        network.decoder.SEG_proj.layers[-1].weight *= 8
    model = PsalmPredictor(network, tokenizer(SMALL.phi.vocab), "psalm", "0", AllPoints())
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3)).astype(np.uint8).repeat(40, 0).repeat(40, 1)
    photo = Image(pixels=pixels, size=pixels.shape[:2], name="photo")
    asks = [Ask(text=phrase) for phrase in PHRASES]

    def together() -> list[np.ndarray]:
        seen = model.look(photo)
        return [p.soft for p in model.decode(seen, asks)]

    def apart() -> list[np.ndarray]:
        return [model.decode(model.look(photo), [ask])[0].soft for ask in asks]

    (one, shared), (ten, single) = best_of(repeats, together), best_of(repeats, apart)
    gap = max(float(np.abs(a.astype(np.float32) - b).max()) for a, b in zip(shared, single, strict=True))
    return {"together": one, "apart": ten, "ratio": one / ten, "difference": gap}


def memory(gigabytes: float) -> dict[str, float]:
    """Bytes of the files, and the largest resident memory while they are opened."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = write_checkpoint(folder, gigabytes)
        environment = {**os.environ, "XDG_CONFIG_HOME": name, "SEG_STATE": f"{name}/state", "OMP_NUM_THREADS": "1"}
        ran = subprocess.run(
            [sys.executable, __file__, "open"], env=environment, capture_output=True, text=True, check=True
        )
        used = json.loads(ran.stdout)
    return {"files": size, "resident": used["peak"], "ratio": used["peak"] / size}


def full_size(gigabytes: float) -> PsalmConfig:
    """The published network, its language model cut to as many layers as fit in so many gigabytes of bf16."""
    whole = PsalmConfig()
    layer = 12 * whole.phi.hidden**2 * 2
    rest = 0.35e9 + 2 * whole.phi.vocab * whole.phi.hidden * 2
    layers = min(whole.phi.layers, max(1, round((gigabytes * 1e9 - rest) / layer)))
    return replace(whole, phi=replace(whole.phi, layers=layers))


def write_checkpoint(folder: Path, gigabytes: float) -> int:
    """Two files of random bf16 under the published names, one tensor at a time, and the entry that names them."""
    from segcli.registry.writer import write

    config = full_size(gigabytes)
    with torch.device("meta"):
        model = Psalm(config)
    shapes = published_shapes(model)
    names = sorted(shapes)
    shards = (names[: len(names) // 2], names[len(names) // 2 :])
    noise = torch.randn(1 << 20).to(torch.bfloat16) * 0.02

    def values(key: str) -> memoryview:
        count = int(np.prod(shapes[key]))
        plain = noise.repeat(count // len(noise) + 1)[:count]
        return plain.view(torch.uint8).numpy().data

    for index, chosen in enumerate(shards):
        file = folder / f"model-0000{index + 1}-of-00002.safetensors"
        write(file, dict.fromkeys(chosen, "BF16"), {k: shapes[k] for k in chosen}, values, {})
    tokenizer_json = tokenizer(SMALL.phi.vocab).to_json()
    (folder / "tokenizer.json").write_text(tokenizer_json)
    (folder / "seg").mkdir()
    layers = config.phi.layers
    files = ", ".join(f'{{ name = "{p.name}" }}' for p in sorted(folder.glob("*.safetensors")))
    (folder / "layers").write_text(str(layers))
    (folder / "seg" / "weights.toml").write_text(
        f'[benchmark.psalm]\nsystem = "psalm"\nconfig = "swin-b"\nfolder = "{folder}"\nlicence = "none"\n'
        f'files = [{files}, {{ name = "tokenizer.json" }}]\nkeys = "original"\naccepts = ["text"]\n'
    )
    return sum(p.stat().st_size for p in folder.glob("*.safetensors"))


def published_shapes(model: Psalm) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint as it is published: attention fused."""
    found: dict[str, tuple[int, ...]] = {}
    table = {
        "swin.": "model.vision_tower.", "projector.": "model.mm_projector.", "language.": "model.",
        "decoder.": "predictor.", "mask_token_projector.": "seg_query_projector.",
        "sentence_projector.": "SEG_token_projector.", "class_projector.": "class_name_projector.",
        "mask_tokens": "seg_query",
    }  # fmt: skip
    for name, tensor in model.state_dict().items():
        if ".k_proj." in name or ".v_proj." in name:
            continue
        start = next((ours for ours in table if name.startswith(ours)), "")
        key = table.get(start, "") + name.removeprefix(start)
        shape = tuple(tensor.shape)
        if ".q_proj." in key:
            key, shape = key.replace("q_proj", "query_key_value"), (3 * shape[0], *shape[1:])
        found[key] = shape
    return found


def opened() -> dict[str, float]:
    """In the process that opens the checkpoint: the largest resident memory beyond what it had before."""
    from segcli.models.psalm import config as sizes
    from segcli.models.psalm.phi import phi_model
    from segcli.registry.load import open_model

    with torch.device("meta"):
        phi_model(PhiSizes(64, 1, 2, 64, 64))  # what transformers takes by itself
    layers = int((Path(os.environ["XDG_CONFIG_HOME"]) / "layers").read_text())
    whole = sizes.PRESETS["swin-b"]
    sizes.PRESETS["swin-b"] = replace(whole, phi=replace(whole.phi, layers=layers))
    before = status("VmRSS")
    model = open_model("benchmark.psalm", device="cpu", dtype="bf16", say=lambda line: None)
    return {"peak": status("VmHWM") - before, "parameters": sum(p.numel() for p in model.model.parameters())}


def status(word: str) -> float:
    """A line of the kernel's account of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{word}:"):
            return float(line.split()[1]) * 1024
    raise KeyError(word)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["phrases", "memory", "open"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--gigabytes", type=float, default=2.5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.what == "open":
        print(json.dumps(opened()))
        return
    with torch.inference_mode():
        found = phrases(options.repeats) if options.what == "phrases" else memory(options.gigabytes)
    if options.json:
        print(json.dumps(found))
        return
    allowed = ALLOWED[options.what]
    print("  ".join(f"{name} {value:.4g}" for name, value in found.items()))
    print(f"{options.what}: {found['ratio']:.2f}x, allowed {allowed}x: {'ok' if found['ratio'] <= allowed else 'FAIL'}")


if __name__ == "__main__":
    main()
