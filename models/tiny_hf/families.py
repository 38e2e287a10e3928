"""The two architectures, each as small as it still has all its parts."""

from pathlib import Path

import torch
from transformers import (
    GenerationConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    PreTrainedTokenizerFast,
    Qwen2TokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

from . import tokens
from .decoder import Decoder, Embeddings
from .vision import PatchEncoder, TileEncoder

TEMPLATES = Path(__file__).parent / "templates"
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rope_theta": 10000.0,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": False,
}


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Weights large enough that pictures and words are felt in every logit."""
    random = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if weight.dim() == 1:
            centre = 1.0 if "norm" in name and name.endswith("weight") or "ln_q.weight" in name else 0.0
            weight.data = centre + 0.1 * torch.randn(weight.shape, generator=random)
        elif "embed" in name and weight.dim() == 2:
            weight.data = torch.randn(weight.shape, generator=random)
        else:
            fan_in = weight[0].numel()
            weight.data = 1.3 * torch.randn(weight.shape, generator=random) / fan_in**0.5


class Smolvlm:
    name, tile, image_tokens = "smolvlm", 32, 4
    end = "<end_of_utterance>"
    # A piece that the model writes soon in one of the test's answers: some answers must end before others.
    also_end = 198
    keeps_logits = False
    vision_inputs = ["pixel_values", "pixel_attention_mask"]
    vision_axes = {
        "pixel_values": {0: "batch_size", 1: "num_images"},
        "pixel_attention_mask": {0: "batch_size", 1: "num_images"},
        "image_features": {0: "num_images"},
    }

    def __init__(self, seed: int):
        special = ["<|endoftext|>", "<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>"]
        special += ["<global-img>"] + [f"<row_{r}_col_{c}>" for r in range(1, 4) for c in range(1, 4)]
        raw = tokens.build(special)
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=raw, bos_token="<|im_start|>", eos_token=self.end, pad_token="<|endoftext|>",
            padding_side="left", model_input_names=["input_ids", "attention_mask"],
        )
        images = Idefics3ImageProcessor(
            size={"longest_edge": 3 * self.tile}, max_image_size={"longest_edge": self.tile},
            image_mean=[0.5] * 3, image_std=[0.5] * 3,
        )
        template = (TEMPLATES / "smolvlm.jinja").read_text()
        self.processor = Idefics3Processor(images, tokenizer, image_seq_len=self.image_tokens, chat_template=template)
        ids = {token: raw.token_to_id(token) for token in special}
        config = Idefics3Config(
            text_config={**TEXT, "model_type": "llama", "vocab_size": raw.get_vocab_size()},
            vision_config={
                "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                "image_size": self.tile, "patch_size": 8,
            },
            image_token_id=ids["<image>"], scale_factor=2, pad_token_id=ids["<|endoftext|>"],
        )
        self.model = Idefics3ForConditionalGeneration._from_config(config, attn_implementation="eager").eval()
        randomise(self.model, seed)
        self.model.generation_config = GenerationConfig(
            bos_token_id=ids["<|im_start|>"], eos_token_id=[ids[self.end], self.also_end],
            pad_token_id=ids["<|endoftext|>"],
        )

    def networks(self):
        inner = self.model.model
        return TileEncoder(inner), Embeddings(inner.text_model.embed_tokens), Decoder(
            inner.text_model, self.model.lm_head, None, self.keeps_logits
        )

    def vision_example(self):
        return torch.randn(1, 3, 3, self.tile, self.tile), torch.ones(1, 3, self.tile, self.tile, dtype=torch.bool)

    def positions(self, inputs):
        return (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)

    def forward_extra(self, inputs):
        """What the forward pass of transformers must be told of positions."""
        return {"position_ids": self.positions(inputs)}


class Qwen2vl:
    name, patch = "qwen2vl", 8
    end, also_end = "<|im_end|>", 44
    keeps_logits = True
    vision_inputs = ["pixel_values", "image_grid_thw"]
    vision_axes = {
        "pixel_values": {0: "num_patches"},
        "image_grid_thw": {0: "num_images"},
        "image_features": {0: "num_features"},
    }

    def __init__(self, seed: int):
        special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
        special += ["<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
        raw = tokens.build(special)
        tokenizer = Qwen2TokenizerFast(
            tokenizer_object=raw, eos_token=self.end, pad_token="<|endoftext|>", unk_token=None, padding_side="left"
        )
        sizes = {"patch_size": self.patch, "min_pixels": 32 * 32, "max_pixels": 64 * 96}
        images = Qwen2VLImageProcessor(**sizes)
        template = (TEMPLATES / "qwen2vl.jinja").read_text()
        self.processor = Qwen2VLProcessor(images, tokenizer, Qwen2VLVideoProcessor(**sizes), chat_template=template)
        ids = {token: raw.token_to_id(token) for token in special}
        config = Qwen2VLConfig(
            text_config={
                **TEXT, "vocab_size": raw.get_vocab_size(),
                "rope_scaling": {"type": "mrope", "mrope_section": [2, 1, 1]},
            },
            vision_config={
                "depth": 2, "embed_dim": 16, "hidden_size": TEXT["hidden_size"], "num_heads": 2, "mlp_ratio": 2,
                "patch_size": self.patch,
            },
            image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
            vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
            tie_word_embeddings=False,
        )
        self.model = Qwen2VLForConditionalGeneration._from_config(config, attn_implementation="eager").eval()
        randomise(self.model, seed)
        self.model.generation_config = GenerationConfig(
            bos_token_id=ids["<|endoftext|>"], eos_token_id=[ids[self.end], self.also_end],
            pad_token_id=ids["<|endoftext|>"],
        )

    def networks(self):
        inner = self.model.model
        return PatchEncoder(inner.visual), Embeddings(inner.language_model.embed_tokens), Decoder(
            inner.language_model, self.model.lm_head, [2, 1, 1], self.keeps_logits
        )

    def vision_example(self):
        return torch.randn(4 * 6 + 4 * 4, 3 * 2 * self.patch**2), torch.tensor([[1, 4, 6], [1, 4, 4]])

    def positions(self, inputs):
        positions, _ = self.model.model.get_rope_index(
            inputs["input_ids"], inputs.get("image_grid_thw"), None, inputs["attention_mask"]
        )
        return positions

    def forward_extra(self, inputs):
        return {"position_ids": self.positions(inputs)}


FAMILIES = [Smolvlm, Qwen2vl]
