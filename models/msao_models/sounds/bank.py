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
GENERATED = {"train": 120, "test": 40}
# Recordings and spoken clips are drawn as often as generated ones.
RECORDED_SHARE = 0.5


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

    `file` is what `python -m msao_models.sounds` wrote; generated sounds are added here.
    """

    def __init__(self, file: Path, device: str = "cpu", seed: int = 1):
        clips = load(file)
        for split in SPLITS:
            clips += generated(GENERATED[split], split, seed)
        clips = [clip for clip in clips if len(clip.samples) > 0]
        lengths = np.array([len(clip.samples) for clip in clips])
        self.device = torch.device(device)
        self.starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        self.lengths = lengths
        # In 16 bits: half the memory, and the rounding is far below any noise.
        flat = np.concatenate([clip.samples for clip in clips])
        self.samples = torch.from_numpy(np.round(flat * 32767).astype(np.int16)).to(self.device)
        self.sustained = np.array([clip.label in SUSTAINED for clip in clips])
        self.loudness = np.array([_loudness(clip.samples) for clip in clips])
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
        wanted = np.asarray(labels, dtype=np.int64)
        if wanted.ndim == 1:
            wanted = wanted[:, None]
        n, k = wanted.shape
        noise = self._windows(np.full(n, QUIET), rng, split)
        if n > 0:
            second = self._windows(np.full(n, QUIET), rng, split)
            noise = noise + second * self._column(10 ** (rng.uniform(-30, -3, n) / 20))
        mix = noise / noise.square().mean(1, keepdim=True).sqrt().clamp(min=1e-6)
        for column in range(k):
            sound = self._windows(wanted[:, column], rng, split)
            level = 10 ** (rng.uniform(*snr, n) / 20) * (wanted[:, column] != QUIET)
            mix = mix + sound * self._column(level)
        # Background from -55 to -25 dB of full scale; what is too loud is turned down, not cut.
        mix = mix * self._column(10 ** (rng.uniform(-55, -25, n) / 20))
        return mix / mix.abs().amax(1, keepdim=True).clamp(min=1.0)

    def _column(self, values: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(self.device)[:, None]

    def _windows(self, labels: NDArray[np.int64], rng: np.random.Generator, split: str) -> Tensor:
        """One clip of each label, somewhere in a window of one second, its loud part at a level of 1: [n, 16000]."""
        n = len(labels)
        clips = np.array([self._clip(label, rng, split) for label in labels], dtype=np.int64)
        speed = 2 ** rng.uniform(-0.2, 0.2, n) if split == "train" else np.ones(n)
        heard = self.lengths[clips] / speed
        # A long clip is entered anywhere; a short one begins anywhere that leaves half of it, or half a window, in.
        early = np.maximum(heard - RATE, 0) + np.minimum(heard, RATE) * 0.25
        late = np.maximum(RATE - np.minimum(heard, RATE), 0) + np.minimum(heard, RATE) * 0.25
        begin = rng.uniform(-early, late)
        loop = self.sustained[clips]
        begin = np.where(loop, -rng.uniform(0, heard), begin)

        def on(values: NDArray[np.float64]) -> Tensor:
            return torch.from_numpy(values).to(self.device)[:, None]

        length = on(self.lengths[clips])
        place = (torch.arange(RATE, device=self.device, dtype=torch.float64) - on(begin)) * on(speed)
        looped = on(loop)
        place = torch.where(looped, place % length, place)
        inside = (place >= 0) & (place < length - 1)
        whole = place.floor().clamp(min=0)
        whole = torch.minimum(whole, length - 1.0)
        fraction = (place - whole).float()
        index = whole.long()
        start = on(self.starts[clips])
        following = torch.where(looped, (index + 1) % length, torch.minimum(index + 1, length - 1))
        here, there = self.samples[start + index].float(), self.samples[start + following].float()
        sound = torch.lerp(here, there, fraction) * (inside | looped)
        return sound * self._column(1 / (32767 * self.loudness[clips]))

    def _clip(self, label: int, rng: np.random.Generator, split: str) -> int:
        generated_clips, recorded = self.pools[split, int(label)]
        pool = recorded if len(generated_clips) == 0 or (len(recorded) and rng.random() < RECORDED_SHARE) else generated_clips
        return int(pool[rng.integers(len(pool))])


def _loudness(samples: NDArray[np.float32]) -> float:
    """The root mean square of the loudest fifth of a clip's 20 ms pieces."""
    pieces = samples[: len(samples) // 320 * 320].reshape(-1, 320) if len(samples) >= 320 else samples[None]
    levels = np.sort((pieces**2).mean(1))
    return float(np.sqrt(levels[-max(1, len(levels) // 5) :].mean()) + 1e-6)
