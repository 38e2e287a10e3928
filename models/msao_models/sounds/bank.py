"""The bank of sounds: windows of one second with one or more sounds and background noise, mixed in torch."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from msao_models.sounds.labels import LABELS, RATE, SPLITS, SUSTAINED
from msao_models.sounds.recordings import Clip
from msao_models.sounds.synthesis import generated

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
    """All sounds on one device. Samples windows of one second, the same for the same random state.

    `file` is what `python -m msao_models.sounds` wrote; generated sounds are added here, which takes some seconds.
    """

    def __init__(self, file: Path, device: str = "cpu", seed: int = 1):
        clips = load(file)
        for split in SPLITS:
            clips += generated(GENERATED[split], split, seed)
        self.device = torch.device(device)
        self.sustained = np.array([clip.label in SUSTAINED for clip in clips])
        self.lengths = np.array([len(clip.samples) for clip in clips])
        self.loudness = np.array([_loudness(clip.samples) for clip in clips])
        stored = [_with_margins(clip) for clip in clips]
        self.starts = np.cumsum([0, *(len(samples) for samples in stored[:-1])])
        self.samples = torch.from_numpy(np.concatenate(stored)).to(self.device)
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
    ) -> Tensor:
        """Windows float32 [n, 16000] in [-1, 1] that hold the sounds of `labels`: indices into LABELS, [n] or [n, k].

        `quiet` adds nothing: every window has background noise anyway. `snr` is the range of each sound's level over
        the noise in dB, measured where the sound is loud.
        """
        wanted = np.asarray(labels, dtype=np.int64).reshape(len(np.asarray(labels)), -1)
        n = len(wanted)
        mix = self._windows(np.full(n, QUIET), rng, split)
        mix /= mix.square().mean(1, keepdim=True).sqrt().clamp(min=1e-6)
        for column in wanted.T:
            rows = np.flatnonzero(column != QUIET)
            level = self._column(10 ** (rng.uniform(*snr, len(rows)) / 20))
            mix[torch.from_numpy(rows).to(self.device)] += level * self._windows(column[rows], rng, split)
        # Background from -55 to -25 dB of full scale; what is too loud is turned down, not cut.
        mix *= self._column(10 ** (rng.uniform(-55, -25, n) / 20))
        return mix / mix.abs().amax(1, keepdim=True).clamp(min=1.0)

    def _column(self, values: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(self.device)[:, None]

    def _windows(self, labels: NDArray[np.int64], rng: np.random.Generator, split: str) -> Tensor:
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
        begin = torch.from_numpy(self.starts[clips] + entry.astype(np.int64)).to(self.device)[:, None]
        place = torch.arange(RATE, device=self.device, dtype=torch.float32) * self._column(speed)
        whole = place.to(torch.int64)
        place -= whole
        whole += begin
        here, there = self.samples[whole].float(), self.samples[whole + 1].float()
        return torch.lerp(here, there, place).mul_(self._column(1 / (32767 * self.loudness[clips])))

    def _clip(self, label: int, rng: np.random.Generator, split: str) -> int:
        made, recorded = self.pools[split, int(label)]
        pool = recorded if len(made) == 0 or (len(recorded) and rng.random() < RECORDED_SHARE) else made
        return int(pool[rng.integers(len(pool))])


def _with_margins(clip: Clip) -> NDArray[np.int16]:
    """A clip as it lies in memory, in 16 bits: a sustained one goes on from its beginning, others have silence around."""
    samples = np.round(clip.samples * 32767).astype(np.int16)
    if clip.label in SUSTAINED:
        return np.resize(samples, len(samples) + MARGIN)
    return np.pad(samples, MARGIN)


def _loudness(samples: NDArray[np.float32]) -> float:
    """The root mean square of the loudest fifth of a clip's 20 ms pieces."""
    pieces = samples[: len(samples) // 320 * 320].reshape(-1, 320) if len(samples) >= 320 else samples[None]
    levels = np.sort((pieces**2).mean(1))
    return float(np.sqrt(levels[-max(1, len(levels) // 5) :].mean()) + 1e-6)
