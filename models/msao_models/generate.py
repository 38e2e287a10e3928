"""Greedy decoding and sampling with a KV cache, in batches, for training and validation."""

import torch
from torch import Tensor

from .decoder import Captioner
from .pieces import ANSWER, BOS, EOS, PAD

MAX_CAPTION = 40
SUPPRESSED = [PAD, BOS, ANSWER]


@torch.no_grad()
def generate(model: Captioner, tokens: Tensor, kept: Tensor, prefix: list[int] | Tensor, samples: int = 0, longest: int = MAX_CAPTION) -> Tensor:
    """Answer pieces [N * max(samples, 1), longest], ended by EOS and padded: greedy, or `samples` drawn a window.

    `prefix` is one for all, or [N, L] padded on the left.
    """
    batch, device = tokens.shape[0], tokens.device
    text = prefix.to(device) if isinstance(prefix, Tensor) else torch.tensor(prefix, device=device).expand(batch, -1)
    embeds = torch.cat([model.embed(tokens), model.decoder.embeddings(text)], 1)
    mask = torch.cat([kept, (text != PAD).long()], 1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits, past = model.decoder(embeds, mask, positions)
    logits, position = logits[:, -1], positions[:, -1:]
    if samples:
        repeat = lambda x: x.repeat_interleave(samples, 0)
        logits, position, mask = repeat(logits), repeat(position), repeat(mask)
        past = [(repeat(k), repeat(v)) for k, v in past]
    pieces, ended = [], torch.zeros(logits.shape[0], dtype=torch.bool, device=device)
    for step in range(longest):
        logits = logits.float()
        logits[:, SUPPRESSED] = -1e4
        piece = torch.multinomial(logits.softmax(-1), 1)[:, 0] if samples else logits.argmax(-1)
        piece = torch.where(ended, PAD, piece)
        ended = ended | (piece == EOS)
        pieces.append(piece)
        if step == longest - 1 or (step % 4 == 3 and bool(ended.all())):
            break
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        position = position + 1
        logits, past = model.decoder(model.decoder.embeddings(piece)[:, None], mask, position, past)
        logits = logits[:, -1]
    result = torch.full((logits.shape[0], longest), PAD, device=device)
    result[:, : len(pieces)] = torch.stack(pieces, 1)
    return result
