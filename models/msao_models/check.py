"""Captions pictures with exported model folders in batches, and scores them as training does: a quick look at what
quantisation costs. The figures of the model cards come from the Rust program and `score.py`.

    python -m msao_models.check --data FLICKR8K --models ../testdata/models --split validation
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from tokenizers import Tokenizer
from torch import Tensor

from . import data, rewards
from .encoder import GRID, MEAN, STD, quantise
from .generate import generate
from .pieces import ANSWER, BOS


class OnnxCaptioner:
    """A model folder behind the interface of `decoder.Captioner` that `generate` uses."""

    def __init__(self, folder: Path):
        self.config = json.loads((folder / "config.json").read_text())
        self.sessions = {
            name: onnxruntime.InferenceSession(folder / f"{name}.onnx")
            for name in ("vision_projector", "embed_tokens", "decoder_model_merged")
        }
        self.decoder = self
        names = [f"{i}.{part}" for i in range(self.config["num_hidden_layers"]) for part in ("key", "value")]
        self.past_names = [f"past_key_values.{name}" for name in names]

    def embed(self, tokens: Tensor) -> Tensor:
        positions = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape[:2])
        feeds = {"image_tokens": tokens.numpy(), "positions": positions}
        return torch.from_numpy(self.sessions["vision_projector"].run(None, feeds)[0])

    def embeddings(self, ids: Tensor) -> Tensor:
        return torch.from_numpy(self.sessions["embed_tokens"].run(None, {"input_ids": np.atleast_2d(ids.numpy())})[0]).view(*ids.shape, -1)

    def __call__(self, embeds: Tensor, mask: Tensor, positions: Tensor, past=None):
        shape = (embeds.shape[0], self.config["num_key_value_heads"], 0, self.config["head_dim"])
        flat = [t.numpy() for pair in past for t in pair] if past else [np.zeros(shape, np.float32)] * len(self.past_names)
        feeds = {"inputs_embeds": embeds.numpy(), "attention_mask": mask.numpy(), "position_ids": positions.numpy()}
        logits, *present = map(torch.from_numpy, self.sessions["decoder_model_merged"].run(None, feeds | dict(zip(self.past_names, flat))))
        return logits, list(zip(present[::2], present[1::2]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    arguments = parser.parse_args()
    flickr = data.load(arguments.data)
    names = getattr(flickr, arguments.split)
    reward = rewards.Rewards({n: flickr.captions[n] for n in names}, 0.0)
    pictures = data.pictures(arguments.data, names)
    edge, cloud = arguments.models / "msao-edge", arguments.models / "msao-cloud"
    probe, trunk = (onnxruntime.InferenceSession(edge / f"vision_{part}.onnx") for part in ("probe", "trunk"))
    tokenizer = Tokenizer.from_file(str(edge / "tokenizer.json"))
    models = {"draft": OnnxCaptioner(edge), "full": OnnxCaptioner(cloud)}
    prefix = [BOS, *tokenizer.encode(models["full"].config["default_prompt"]).ids, ANSWER]
    texts = {name: [] for name in models}
    for start in range(0, len(names), 50):
        pixels = (pictures[start : start + 50].transpose(0, 3, 1, 2).astype(np.float32) / 255 - MEAN) / STD
        features = probe.run(["features"], {"pixel_values": pixels.astype(np.float32)})[0]
        tokens = quantise(torch.from_numpy(trunk.run(None, {"features": features})[0]))
        kept = torch.ones(tokens.shape[0], GRID * GRID, dtype=torch.long)
        for name, model in models.items():
            pieces = generate(model, tokens, kept, prefix)
            texts[name] += [t.strip() for t in tokenizer.decode_batch(pieces.tolist(), skip_special_tokens=True)]
    for name, captions in texts.items():
        scores = [reward.one(caption, True, picture) for caption, picture in zip(captions, names)]
        print(f"{name}: CIDEr-D {np.mean(scores):.4f} (end counted)")
    same = np.mean([a == b for a, b in zip(texts["draft"], texts["full"])])
    print(f"same caption: {same:.3f}")
    for i in range(0, len(names), 50):
        print(f"  full: {texts['full'][i]!r}  draft: {texts['draft'][i]!r}  reference: {flickr.captions[names[i]][0]!r}")


if __name__ == "__main__":
    main()
