"""The language models: a Llama-style decoder with an explicit KV cache, and the projectors of tokens that it reads."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .encoder import GRID, TOKEN_SIZE

# Positions of each modality in a window, in the order in which they are read: 7 x 7 patches of a frame; 4 bands by 4
# quarters of 2 hops of sound; 7 channels by 2 halves of 2 hops of sensors.
PLACES = {"video": GRID * GRID, "audio": 2 * 16, "sensor": 2 * 14}
# Matrices of the full model's layers that are stored in 4 bits; the others are in 8.
FOUR_BITS = ("gate", "up")


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder; the defaults are SmolLM2-135M's."""

    vocabulary: int
    layers: int
    width: int = 576
    hidden: int = 1536
    heads: int = 9
    kv_heads: int = 3
    rope_base: float = 100_000.0
    positions: int = 256

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


def draft_shape(vocabulary: int) -> Shape:
    return Shape(vocabulary, layers=3, width=256, hidden=768, heads=4, kv_heads=4)


class RMSNorm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding (Su et al., 2021) on [N, heads, L, head_dim]."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


class Layer(nn.Module):
    def __init__(self, shape: Shape, dropout: float):
        super().__init__()
        self.shape, self.dropout = shape, dropout
        kv = shape.kv_heads * shape.head_dim
        self.attention_norm, self.feed_forward_norm = RMSNorm(shape.width), RMSNorm(shape.width)
        self.q, self.o = (nn.Linear(shape.width, shape.width, bias=False) for _ in range(2))
        self.k, self.v = (nn.Linear(shape.width, kv, bias=False) for _ in range(2))
        self.gate, self.up = (nn.Linear(shape.width, shape.hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor, past: tuple[Tensor, Tensor] | None, watch: bool):
        s = self.shape
        batch, length = x.shape[0], x.shape[1]
        h = self.attention_norm(x)
        q = self.q(h).view(batch, length, s.heads, s.head_dim).transpose(1, 2)
        k = self.k(h).view(batch, length, s.kv_heads, s.head_dim).transpose(1, 2)
        v = self.v(h).view(batch, length, s.kv_heads, s.head_dim).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if past is not None:
            k, v = torch.cat([past[0].to(k.dtype), k], 2), torch.cat([past[1].to(v.dtype), v], 2)
        present = (k, v)
        shared = s.heads // s.kv_heads
        if self.training and not watch:
            k, v = (t.repeat_interleave(shared, 1) for t in (k, v))
            mixed = F.scaled_dot_product_attention(q, k, v, bias[:, 0].to(q.dtype), self.dropout)
            return self.feed_forward(x + self.o(mixed.transpose(1, 2).reshape(batch, length, s.width))), present, None
        # Query heads that share a key head are folded into the query axis: no copy of the keys.
        q = q.reshape(batch, s.kv_heads, shared * length, s.head_dim)
        weights = q @ k.transpose(2, 3) * s.head_dim**-0.5
        weights = weights.view(batch, s.kv_heads, shared, length, k.shape[2]) + bias
        weights = weights.softmax(-1).to(v.dtype)
        seen = weights.mean((1, 2)) if watch else None
        mixed = weights.view(batch, s.kv_heads, shared * length, k.shape[2]) @ v
        mixed = mixed.view(batch, s.heads, length, s.head_dim).transpose(1, 2).reshape(batch, length, s.width)
        return self.feed_forward(x + self.o(mixed)), present, seen

    def feed_forward(self, x: Tensor) -> Tensor:
        h = self.feed_forward_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Decoder(nn.Module):
    """Embeddings [N, L, width] after a cache of P positions to logits [N, L, vocabulary] and the new cache.

    With `watch` also the attention [N, L, P + L] of each position to each: the mean over layers and heads.
    """

    def __init__(self, shape: Shape, dropout: float = 0.1):
        super().__init__()
        self.shape = shape
        self.embeddings = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape, dropout) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.width)
        nn.init.normal_(self.embeddings.weight, std=0.02)
        angles = torch.outer(
            torch.arange(shape.positions).float(),
            shape.rope_base ** (-torch.arange(0, shape.head_dim, 2).float() / shape.head_dim),
        ).repeat(1, 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, embeds: Tensor, mask: Tensor, positions: Tensor, past=None, watch: bool = False, last: int = 0):
        """`mask` [N, P + L] is 1 where a position may be looked at; `positions` [N, L] index the rotary table; with `last`
        logits are of the last so many positions only."""
        length, total = embeds.shape[1], mask.shape[1]
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        key, query = torch.arange(total, device=mask.device), torch.arange(length, device=mask.device)
        seen = (key[None, :] <= query[:, None] + (total - length)) & mask[:, None, :].bool()
        bias = torch.where(seen, 0.0, -1e4)[:, None, None]
        x, presents, attention = embeds, [], []
        for index, layer in enumerate(self.layers):
            x, present, seen = layer(x, cos, sin, bias, None if past is None else past[index], watch)
            presents.append(present)
            attention.append(seen)
        logits = self.norm(x[:, -last:] if last else x) @ self.embeddings.weight.T
        return (logits, presents, torch.stack(attention).mean(0)) if watch else (logits, presents)


class Projector(nn.Module):
    """Tokens [N, n, 256] at positions [N, n] of their modality to embeddings [N, n, width]."""

    def __init__(self, width: int, places: int):
        super().__init__()
        self.norm = nn.LayerNorm(TOKEN_SIZE)
        self.first, self.second = nn.Linear(TOKEN_SIZE, width), nn.Linear(width, width)
        self.place = nn.Embedding(places, width)
        nn.init.normal_(self.place.weight, std=0.02)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        return self.second(F.gelu(self.first(self.norm(tokens)))) + self.place(positions)


class Captioner(nn.Module):
    """Projectors and decoder: what a model folder holds besides the encoders."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.decoder = Decoder(shape)
        self.projectors = nn.ModuleDict({name: Projector(shape.width, places) for name, places in PLACES.items()})

    @property
    def parameter_count(self) -> int:
        return sum(p.numel() for p in self.parameters())

    def embed(self, tokens: Tensor) -> Tensor:
        """Embeddings of all of a window's positions [N, 109, 256], or of its first ones [N, 49, 256]: the picture's."""
        result, start = [], 0
        for name, places in PLACES.items():
            if start < tokens.shape[1]:
                positions = torch.arange(places, device=tokens.device).expand(tokens.shape[0], -1)
                result.append(self.projectors[name](tokens[:, start : start + places], positions))
                start += places
        return torch.cat(result, 1)

    def forward(self, tokens: Tensor, kept: Tensor, text: Tensor, written: Tensor | None = None) -> Tensor:
        """Logits [N, L, vocabulary] after each piece of `text` [N, L]; `kept` [N, 109 or 49] masks tokens, `written`
        [N, L] masks padding in the text."""
        return self.decoder(*self.read(tokens, kept, text, written), last=text.shape[1])[0]

    def read(self, tokens: Tensor, kept: Tensor, text: Tensor, written: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings, mask and positions of a window and a text about it."""
        embeds = torch.cat([self.embed(tokens), self.decoder.embeddings(text)], 1)
        mask = torch.cat([kept, torch.ones_like(text) if written is None else written], 1)
        return embeds, mask, (mask.cumsum(1) - 1).clamp(min=0)

    def attention(self, tokens: Tensor, kept: Tensor, text: Tensor, written: Tensor | None = None) -> Tensor:
        """How much each piece of `text` attends to each token [N, L, 109 or 49]: the mean over layers and heads."""
        attention = self.decoder(*self.read(tokens, kept, text, written), watch=True)[2]
        return attention[:, tokens.shape[1] :, : tokens.shape[1]]
