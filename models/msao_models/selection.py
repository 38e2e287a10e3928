"""Which of a picture's tokens a rig sends, as the Rust crate `mas` chooses them (`mas::select::spread`), in batches."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .encoder import GRID

REACH, LEAST = 0.7, 1.0


def spread(weights: Tensor, counts: Tensor) -> Tensor:
    """Masks [n, 49] of the `counts` [n] positions that stand best for all, by `weights` [n, 49], at least 0."""
    lines = torch.arange(GRID, device=weights.device).float()
    places = torch.cartesian_prod(lines, lines)
    likeness = torch.exp(-torch.cdist(places, places).square() / (2 * REACH**2))
    weights = weights / weights.amax(1, keepdim=True).clamp(min=1e-9) + LEAST
    covered, chosen = torch.zeros_like(weights), torch.zeros_like(weights, dtype=torch.bool)
    for place in range(int(counts.max())):
        adds = torch.einsum("nqp,np->nq", F.relu(likeness - covered[:, None]), weights).masked_fill(chosen, -1)
        best = adds.argmax(1)
        more = place < counts
        chosen[more, best[more]] = True
        covered = torch.where(more[:, None], torch.maximum(covered, likeness[best]), covered)
    return chosen
