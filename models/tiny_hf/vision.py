"""The vision encoders as networks to export, with the modules of transformers and no loop over pictures."""

import torch
from torch import nn

from .decoder import UNSEEN


class TileEncoder(nn.Module):
    """Idefics3: every tile alone, pixel shuffle and projection inside."""

    def __init__(self, model):
        super().__init__()
        self.tower, self.connector = model.vision_model, model.connector
        self.patch, self.side = self.tower.patch_size, self.tower.embeddings.num_patches_per_side

    def forward(self, pixel_values, pixel_attention_mask):
        pixels, mask = pixel_values.flatten(0, 1), pixel_attention_mask.flatten(0, 1)
        # A patch is seen if any of its pixels is.
        seen = nn.functional.max_pool2d(mask[:, None].to(pixels.dtype), self.patch)[:, 0] > 0
        places = []
        for count in (seen[:, :, 0].sum(1), seen[:, 0].sum(1)):
            # As transformers has it: a patch that begins on a boundary counts to what is before it.
            steps = (torch.arange(self.side)[None] * self.side - 1).clamp(min=0)
            places.append((steps // count[:, None].clamp(min=1)).clamp(max=self.side - 1))
        rows, columns = places
        positions = rows[:, :, None] * self.side + columns[:, None, :]
        positions = torch.where(seen, positions, 0).flatten(1)

        embeddings = self.tower.embeddings
        x = embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
        x = x + embeddings.position_embedding(positions)
        bias = (~seen.flatten(1))[:, None, None].to(x.dtype) * UNSEEN
        for layer in self.tower.encoder.layers:
            x = x + attend(layer.self_attn, layer.layer_norm1(x), bias)
            x = x + layer.mlp(layer.layer_norm2(x))
        return self.connector(self.tower.post_layernorm(x))


def attend(attention, x, bias):
    batch, length, width = x.shape
    shape = (batch, length, attention.num_heads, width // attention.num_heads)
    query, key, value = (
        project(x).view(shape).transpose(1, 2) for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    weights = (query @ key.transpose(2, 3) * attention.scale + bias).softmax(-1)
    return attention.out_proj((weights @ value).transpose(1, 2).reshape(batch, length, width))


class PatchEncoder(nn.Module):
    """Qwen2-VL: the patches of all pictures one after another, each picture looking only at itself."""

    def __init__(self, tower):
        super().__init__()
        self.tower, self.merge = tower, tower.spatial_merge_size
        head_dim = tower.config.embed_dim // tower.config.num_heads
        powers = torch.arange(0, head_dim // 2, 2, dtype=torch.float32) / (head_dim // 2)
        self.frequencies = 1.0 / 10000.0**powers

    def forward(self, pixel_values, image_grid_thw):
        frames = image_grid_thw[:, 1] * image_grid_thw[:, 2]
        counts = image_grid_thw[:, 0] * frames
        ends = counts.cumsum(0)
        at = torch.arange(pixel_values.shape[0])
        # Of each patch: its picture, its place in it, and so its frame.
        picture = (at[:, None] >= ends[None]).sum(1)
        place = at - (ends - counts)[picture]
        frame, place = place // frames[picture], place % frames[picture]
        # Patches come in blocks of merge x merge.
        block, inner = place // self.merge**2, place % self.merge**2
        blocks = image_grid_thw[:, 2][picture] // self.merge
        row = block // blocks * self.merge + inner // self.merge
        column = block % blocks * self.merge + inner % self.merge

        angles = torch.cat([p[:, None].to(torch.float32) * self.frequencies for p in (row, column)], -1)
        angles = torch.cat([angles, angles], -1)[:, None]
        cos, sin = angles.cos().to(pixel_values.dtype), angles.sin().to(pixel_values.dtype)
        alike = (picture[:, None] == picture[None]) & (frame[:, None] == frame[None])
        bias = (~alike).to(pixel_values.dtype) * UNSEEN

        embed = self.tower.patch_embed
        x = pixel_values @ embed.proj.weight.flatten(1).t()
        for layer in self.tower.blocks:
            x = x + turn_and_attend(layer.attn, layer.norm1(x), cos, sin, bias)
            x = x + layer.mlp(layer.norm2(x))
        return self.tower.merger(x)


def turn_and_attend(attention, x, cos, sin, bias):
    length, width = x.shape
    query, key, value = attention.qkv(x).view(length, 3, attention.num_heads, -1).unbind(1)

    def turned(x):
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat([-b, a], -1) * sin

    query, key, value = turned(query).transpose(0, 1), turned(key).transpose(0, 1), value.transpose(0, 1)
    weights = (query @ key.transpose(1, 2) * query.shape[-1] ** -0.5 + bias).softmax(-1)
    return attention.proj((weights @ value).transpose(0, 1).reshape(length, width))
