"""Fits the tokenizer and trims SmolLM2 to the layers that the full model keeps.

    python -m msao_models.prepare --data FLICKR8K --gguf SmolLM2-135M-Instruct.Q4_1.gguf --out PREPARED
"""

import argparse
from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from . import data
from .pieces import ANSWER, BOS, EOS, PAD, PROMPT, SPECIAL

VOCABULARY = 4096
# Names of one layer in the GGUF file and in `decoder.Layer`.
TENSORS = {
    "attn_norm": "attention_norm",
    "ffn_norm": "feed_forward_norm",
    "attn_q": "q",
    "attn_k": "k",
    "attn_v": "v",
    "attn_output": "o",
    "ffn_gate": "gate",
    "ffn_up": "up",
    "ffn_down": "down",
}


def fit_tokenizer(captions: list[str]) -> Tokenizer:
    """A byte-level BPE fit to the captions: common words are one piece, and no text is unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=2,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(captions + [PROMPT] * 100, trainer)
    return tokenizer


def smollm2_tokenizer(reader: gguf.GGUFReader) -> tuple[Tokenizer, dict[str, int]]:
    """SmolLM2's own tokenizer, from the metadata of its GGUF file."""
    vocabulary = {t: i for i, t in enumerate(reader.fields["tokenizer.ggml.tokens"].contents())}
    merges = [tuple(m.split(" ")) for m in reader.fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer, vocabulary


def initial_embeddings(tokenizer: Tokenizer, reader: gguf.GGUFReader, weights: np.ndarray) -> np.ndarray:
    """A piece that SmolLM2 has keeps its embedding; another gets the mean of SmolLM2's pieces of it."""
    theirs, vocabulary = smollm2_tokenizer(reader)
    ours = tokenizer.get_vocab()
    decode = decoders.ByteLevel()
    table = np.zeros((len(ours), weights.shape[1]), np.float32)
    for piece, index in ours.items():
        if piece in vocabulary:
            table[index] = weights[vocabulary[piece]]
        else:
            table[index] = weights[theirs.encode(decode.decode([piece])).ids or [0]].mean(0)
    table[PAD] = 0
    table[BOS] = weights[vocabulary["<|im_start|>"]]
    table[EOS] = weights[vocabulary["<|im_end|>"]]
    table[ANSWER] = weights.mean(0)
    return table


def unpermute(weight: np.ndarray, heads: int) -> np.ndarray:
    """Undoes llama.cpp's order of the rows of q and k, made for its rotary layout."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def trim(reader: gguf.GGUFReader, layers: list[int], table: np.ndarray) -> dict[str, np.ndarray]:
    """The kept layers as they are quantised in the file (Q4_1), norms and embeddings as f16."""
    kept = {"embeddings": table.astype(np.float16), "layers": np.array(layers)}
    for tensor in reader.tensors:
        quantised = tensor.tensor_type == gguf.GGMLQuantizationType.Q4_1
        value = np.array(tensor.data) if quantised else gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float16)
        if tensor.name == "output_norm.weight":
            kept["norm"] = value
        elif tensor.name.startswith("blk."):
            _, layer, name, _ = tensor.name.split(".")
            if int(layer) in layers:
                kept[f"{layers.index(int(layer))}.{TENSORS[name]}"] = value
    return kept


def load_trimmed(path: Path) -> dict[str, torch.Tensor]:
    """What `trim` kept, as f32 state of `decoder.Decoder`, with names as there."""
    stored, state = np.load(path), {}
    for name in stored.files:
        if name == "layers":
            continue
        value = stored[name]
        if value.dtype == np.uint8:
            value = gguf.dequantize(value, gguf.GGMLQuantizationType.Q4_1)
        if name.endswith(".q"):
            value = unpermute(value, 9)
        if name.endswith(".k"):
            value = unpermute(value, 3)
        key = name if "." not in name else f"layers.{name}"
        state[f"{key}.weight"] = torch.from_numpy(value.astype(np.float32))
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of Flickr8k")
    parser.add_argument("--gguf", type=Path, required=True, help="SmolLM2-135M in GGUF")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--layers", type=int, default=12, help="how many of SmolLM2's 30 layers to keep, evenly spaced")
    arguments = parser.parse_args()

    flickr = data.load(arguments.data)
    tokenizer = fit_tokenizer([c for name in flickr.train for c in flickr.captions[name]])
    reader = gguf.GGUFReader(arguments.gguf)
    embeddings = next(t for t in reader.tensors if t.name == "token_embd.weight")
    weights = gguf.dequantize(embeddings.data, embeddings.tensor_type)
    layers = np.linspace(0, 29, arguments.layers).round().astype(int).tolist()
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(arguments.out / "tokenizer.json"))
    np.savez(arguments.out / "smollm2.npz", **trim(reader, layers, initial_embeddings(tokenizer, reader, weights)))
    lengths = [len(tokenizer.encode(c).ids) for name in flickr.train for c in flickr.captions[name]]
    print(f"{tokenizer.get_vocab_size()} pieces, {np.mean(lengths):.1f} a caption, layers {layers}")


if __name__ == "__main__":
    main()
