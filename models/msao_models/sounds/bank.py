"""The bank of sounds: windows of one second with one or more sounds and background noise, mixed in numpy or in torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msao_models.sounds.clip import Clip
from msao_models.sounds.labels import LABELS, RATE, SPLITS, SUSTAINED
from msao_models.sounds.synthesis import generated

if TYPE_CHECKING:
    from torch import Tensor

QUIET = LABELS.index("quiet")
# Generated clips of each label.
GENERATED = {"train": 300, "test": 40}
# Recordings and spoken clips are drawn as often as generated ones.
RECORDED_SHARE = 0.5
# Training plays clips up to so many octaves faster or slower.
FASTEST = 0.2
# Room for the fastest window and the sample after it.
MARGIN = int(RATE * 2**FASTEST) + 2


def save(file: Path, clips: list[Clip]) -> None:
    """Writes clips as one flat int16 array with offsets."""
    np.savez_compressed(
        file,
        samples=np.concatenate([np.round(clip.samples * 32767).astype(np.int16) for clip in clips]),
        offsets=np.cumsum([0, *(len(clip.samples) for clip in clips)], dtype=np.int64),
        label=np.array([clip.label for clip in clips]),
        split=np.array([clip.split for clip in clips]),
        source=np.array([clip.source for clip in clips]),
    )


def load(file: Path) -> list[Clip]:
    """What `save` wrote."""
    with np.load(file) as data:
        samples, offsets = data["samples"].astype(np.float32) / 32767, data["offsets"]
        names = zip(data["label"], data["split"], data["source"], strict=True)
        return [
            Clip(samples[offsets[i] : offsets[i + 1]], str(label), str(split), str(source))
            for i, (label, split, source) in enumerate(names)
        ]


class SoundBank:
    """All sounds in one place. Samples windows of one second, the same for the same random state.

    `file` is what `python -m msao_models.sounds` wrote; generated sounds are added here, which takes some seconds, and are
    all there is without it: `labels` says of what there are any. On a torch `device` windows are tensors; without one
    they are arrays, and torch is not needed.
    """

    def __init__(self, file: Path | None, device: str | None = None, seed: int = 1):
        clips = load(file) if file else []
        for split in SPLITS:
            clips += generated(GENERATED[split], split, seed)
        self.labels = {clip.label for clip in clips}
        if device:
            import torch

            self.device = torch.device(device)
            self.put = lambda array: torch.from_numpy(array).to(self.device)
            self.whole, self.amax = lambda tensor: tensor.long(), torch.amax
        else:
            self.put, self.whole, self.amax = lambda array: array, lambda array: array.astype(np.int64), np.amax
        self.sustained = np.array([clip.label in SUSTAINED for clip in clips])
        self.lengths = np.array([len(clip.samples) for clip in clips])
        self.loudness = np.array([_loudness(clip.samples) for clip in clips])
        stored = [_with_margins(clip) for clip in clips]
        self.starts = np.cumsum([0, *(len(samples) for samples in stored[:-1])])
        self.samples = self.put(np.concatenate(stored))
        self.ticks = self.put(np.arange(RATE, dtype=np.float32))
        # Clips of each split and label: generated, recorded.
        self.pools: dict[tuple[str, int], tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        made = np.array([clip.source.startswith("generated") for clip in clips])
        for split in SPLITS:
            for label, name in enumerate(LABELS):
                fits = np.array([clip.label == name and clip.split == split for clip in clips])
                self.pools[split, label] = (np.flatnonzero(fits & made), np.flatnonzero(fits & ~made))

    def sample(
        self,
        labels: ArrayLike,
        rng: np.random.Generator,
        split: str,
        snr: tuple[float, float] = (0.0, 20.0),
    ) -> NDArray[np.float32] | Tensor:
        """Windows float32 [n, 16000] in [-1, 1] that hold the sounds of `labels`: indices into LABELS, [n] or [n, k].

        `quiet` adds nothing: every window has background noise anyway. `snr` is the range of each sound's level over
        the noise in dB, measured where the sound is loud.
        """
        wanted = np.asarray(labels, dtype=np.int64).reshape(len(np.asarray(labels)), -1)
        n = len(wanted)
        mix = self._windows(np.full(n, QUIET), rng, split)
        mix /= ((mix**2).mean(1)[:, None] ** 0.5).clip(1e-6)
        for column in wanted.T:
            rows = np.flatnonzero(column != QUIET)
            level = self._column(10 ** (rng.uniform(*snr, len(rows)) / 20))
            mix[self.put(rows)] += level * self._windows(column[rows], rng, split)
        # Background from -55 to -25 dB of full scale; what is too loud is turned down, not cut.
        mix *= self._column(10 ** (rng.uniform(-55, -25, n) / 20))
        return mix / self.amax(abs(mix), 1)[:, None].clip(1.0)

    def _column(self, values: NDArray[np.float64]) -> NDArray[np.float32] | Tensor:
        return self.put(values.astype(np.float32))[:, None]

    def _windows(self, labels: NDArray[np.int64], rng: np.random.Generator, split: str) -> NDArray[np.float32] | Tensor:
        """One clip of each label, somewhere in a window of one second, its loud part at a level of 1: [n, 16000]."""
        clips = np.array([self._clip(label, rng, split) for label in labels], dtype=np.int64)
        speed = 2 ** rng.uniform(-FASTEST, FASTEST, len(clips)) if split == "train" else np.ones(len(clips))
        length, span = self.lengths[clips], RATE * speed
        # Where in the clip the window begins. A sustained one is entered anywhere. Of another at least half is heard, or
        # half a window of it; before its first sample there is a margin of silence.
        half = np.minimum(length, span) / 2
        entry = np.where(
            self.sustained[clips], rng.uniform(0, length), MARGIN + rng.uniform(half - span, length - half)
        )
        begin = self.put(self.starts[clips] + entry.astype(np.int64))[:, None]
        place = self.ticks * self._column(speed)
        whole = self.whole(place)
        place -= whole
        whole += begin
        here, there = self.samples[whole], self.samples[whole + 1]
        return (here + place * (there - here)) * self._column(1 / self.loudness[clips])

    def _clip(self, label: int, rng: np.random.Generator, split: str) -> int:
        made, recorded = self.pools[split, int(label)]
        pool = recorded if len(made) == 0 or (len(recorded) and rng.random() < RECORDED_SHARE) else made
        return int(pool[rng.integers(len(pool))])


def _with_margins(clip: Clip) -> NDArray[np.float32]:
    """A clip as it lies in memory: a sustained one goes on from its beginning, others have silence around."""
    samples = clip.samples.astype(np.float32)
    if clip.label in SUSTAINED:
        return np.resize(samples, len(samples) + MARGIN)
    return np.pad(samples, MARGIN)


def _loudness(samples: NDArray[np.float32]) -> float:
    """The root mean square of the loudest fifth of a clip's 20 ms pieces."""
    pieces = samples[: len(samples) // 320 * 320].reshape(-1, 320) if len(samples) >= 320 else samples[None]
    levels = np.sort((pieces**2).mean(1))
    return float(np.sqrt(levels[-max(1, len(levels) // 5) :].mean()) + 1e-6)
