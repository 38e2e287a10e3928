"""One sound, and how all are brought to one length and level. Needs nothing but numpy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msao_models.sounds.labels import RATE

# The longest part of one recording that is kept, in samples.
LONGEST = 5 * RATE


@dataclass(frozen=True)
class Clip:
    """One sound: samples in [-1, 1] at 16 kHz, peak 0.9; its label, split, and where it is from."""

    samples: NDArray[np.float32]
    label: str
    split: str
    source: str


def normalise(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cuts silence off both ends and everything after 5 s; peak 0.9. Empty if there is nothing to hear."""
    loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max(initial=1e-6))
    if len(loud) == 0:
        return samples[:0]
    samples = samples[loud[0] : loud[-1] + 1][:LONGEST]
    return samples * (0.9 / np.abs(samples).max())
