"""Embeddings and decoder as networks to export: Llama and Qwen2 layers with a KV cache, and a merged first pass."""

import torch
from torch import nn


# What is added to the weight of a position that is not looked at: 0 after the softmax, and within f16.
UNSEEN = -1e4


class Embeddings(nn.Module):
    def __init__(self, table: nn.Embedding):
        super().__init__()
        self.table = table

    def forward(self, input_ids):
        return self.table(input_ids)


def half_turned(x):
    a, b = x.chunk(2, -1)
    return torch.cat([-b, a], -1)


class Decoder(nn.Module):
    """`model` is a text model of transformers (Llama or Qwen2-VL), `sections` the parts of M-RoPE, if it is used.

    With `keeps` it is told, as newer exports are, of how many last positions logits are wanted; 0 is all. Without `masks`
    it looks at padding, as some exports do.
    """

    def __init__(self, model, head: nn.Linear, sections: list[int] | None, keeps: bool, masks: bool = True):
        super().__init__()
        config = model.config
        self.layers, self.norm, self.head = model.layers, model.norm, head
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.sections, self.keeps, self.masks = sections, keeps, masks
        powers = torch.arange(0, self.head_dim, 2, dtype=torch.float32) / self.head_dim
        # Not a buffer: f16 is too coarse for angles.
        self.frequencies = 1.0 / config.rope_theta**powers

    def turns(self, position_ids):
        """cos and sin, [batch, 1, length, head_dim]."""
        angles = position_ids.to(torch.float32)[..., None] * self.frequencies
        if self.sections:
            # Time, row and column turn a part of the frequencies each.
            parts = angles.split(self.sections, -1)
            angles = torch.cat([part[axis] for axis, part in enumerate(parts)], -1)
        angles = torch.cat([angles, angles], -1)[:, None]
        return angles.cos(), angles.sin()

    def forward(self, inputs_embeds, attention_mask, position_ids, *rest):
        kept, past = (rest[0], rest[1:]) if self.keeps else (0, rest)
        batch, length, _ = inputs_embeds.shape
        before = past[0].shape[2]
        keys = torch.arange(before + length)
        queries = torch.arange(length) + before
        # A mask without effect must stay an input.
        seen = (keys[None, :] <= queries[:, None])[None] & (attention_mask[:, None, :] > (0 if self.masks else -1))
        bias = (~seen)[:, None].to(inputs_embeds.dtype) * UNSEEN
        cos, sin = (part.to(inputs_embeds.dtype) for part in self.turns(position_ids))

        x, present = inputs_embeds, []
        for index, layer in enumerate(self.layers):
            attention = layer.self_attn
            normed = layer.input_layernorm(x)
            query = attention.q_proj(normed).view(batch, length, self.heads, self.head_dim).transpose(1, 2)
            key = attention.k_proj(normed).view(batch, length, self.kv_heads, self.head_dim).transpose(1, 2)
            value = attention.v_proj(normed).view(batch, length, self.kv_heads, self.head_dim).transpose(1, 2)
            query = query * cos + half_turned(query) * sin
            key = key * cos + half_turned(key) * sin
            key = torch.cat([past[2 * index], key], 2)
            value = torch.cat([past[2 * index + 1], value], 2)
            present += [key, value]
            groups = self.heads // self.kv_heads
            wide_key, wide_value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
            weights = query @ wide_key.transpose(2, 3) * self.head_dim**-0.5 + bias
            mixed = weights.softmax(-1) @ wide_value
            x = x + attention.o_proj(mixed.transpose(1, 2).reshape(batch, length, self.heads * self.head_dim))
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        x = x[:, -kept:] if self.keeps else x
        return self.head(self.norm(x)), *present
