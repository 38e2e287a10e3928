"""The encoders of sound and of motion: half a second of either to a grid (for MAS) and tokens, and their training.

`python -m msao_models.senses --sounds FOLDER/sounds.npz --out FOLDER` trains both on labels; the heads that learned
the labels are not kept.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from msao_models import motion
from msao_models.encoder import TOKEN_SIZE, quantise
from msao_models.sounds import LABELS, SoundBank
from msao_models.sounds.bank import QUIET

RATE = 16_000
HOP, CONTEXT, FRAME, STEP, FFT, MELS = 8_000, 240, 400, 160, 512, 64
HOPS = 2
CHANNELS, SENSOR_HOP = 7, 50
AUDIO_TOKENS, SENSOR_TOKENS = 16, 14
GRID = 24
SENSOR_GRID = 16

Batches = Callable[[], tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Tensor], Tensor]
Scores = dict[str, float | dict[str, float] | dict[str, int]]


@cache
def mel_filters(device: torch.device) -> Tensor:
    """Triangular filters with peak 1, [257, 64]: edges equally spaced on HTK's mel scale from 20 to 8,000 Hz."""

    def mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
        return 2595 * np.log10(1 + hertz / 700)

    low, high = mel(np.array([20.0, 8000.0]))
    edges = 700 * (10 ** (np.linspace(low, high, MELS + 2) / 2595) - 1)
    bins = np.arange(FFT // 2 + 1)[:, None] * (RATE / FFT)
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.from_numpy(np.maximum(0, np.minimum(rise, fall)).astype(np.float32)).to(device)


def log_mel(samples: Tensor) -> Tensor:
    """Samples [n, 8240] in [-1, 1] (240 of the hop before, 8,000 of the hop) to log-mel [n, 50, 64]."""
    window = torch.hann_window(FRAME, periodic=True, device=samples.device)
    frames = samples.unfold(1, FRAME, STEP) * window
    spectrum = torch.view_as_real(torch.fft.rfft(frames, FFT))
    return torch.log(spectrum.square().sum(-1) @ mel_filters(samples.device) + 1e-6)


def hops(windows: Tensor) -> Tensor:
    """Windows [n, 16000] to the log-mel of their hops [n, 2, 50, 64]; before the first hop there was silence."""
    padded = functional.pad(windows, (CONTEXT, 0))
    pieces = padded.unfold(1, CONTEXT + HOP, HOP)
    return log_mel(pieces.reshape(-1, CONTEXT + HOP)).reshape(-1, HOPS, HOP // STEP, MELS)


def block(inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int], spread: int = 1) -> nn.Sequential:
    """A convolution that keeps the size but for its stride, batch norm and ReLU; `spread` is the dilation of columns."""
    padding = (kernel[0] // 2, kernel[1] // 2 * spread)
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation=(1, spread), bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class Mixer(nn.Module):
    """Features of every position, [N, P, inputs], to tokens [N, P, 256] that know of each other."""

    def __init__(self, inputs: int, positions: int, width: int = 128):
        super().__init__()
        self.enter = nn.Linear(inputs, width)
        self.place = nn.Parameter(0.02 * torch.randn(positions, width))
        self.across_norm, self.within_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.across = nn.Sequential(nn.Linear(positions, 2 * positions), nn.GELU(), nn.Linear(2 * positions, positions))
        self.within = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.leave = nn.Sequential(nn.Linear(width, TOKEN_SIZE), nn.LayerNorm(TOKEN_SIZE))

    def forward(self, features: Tensor) -> Tensor:
        x = self.enter(features) + self.place
        x = x + self.across(self.across_norm(x).transpose(1, 2)).transpose(1, 2)
        return self.leave(x + self.within(self.within_norm(x)))


class AudioEncoder(nn.Module):
    """Log-mel [N, 50, 64] to the grid [N, 16, 24] and audio tokens [N, 16, 256].

    Position y * 4 + x: y the quarter of the mel bands, low first; x the quarter of the hop. A position also sees a
    frame or two of its neighbours: 25 columns make four windows of 7, 6 apart.
    """

    def __init__(self) -> None:
        super().__init__()
        self.probe = nn.Sequential(block(1, 16, (3, 3), (2, 2)), block(16, GRID, (3, 3), (2, 1)))  # [N, 24, 16, 25]
        self.trunk = nn.Sequential(
            block(GRID, 48, (3, 3), (2, 1)), block(48, 64, (3, 3), (2, 1), 2), block(64, 64, (3, 3), (1, 1), 3)
        )  # [N, 64, 4, 25]
        self.mix = Mixer(2 * 64, AUDIO_TOKENS)

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        early = self.probe(((log_mel + 5) / 5).transpose(1, 2).unsqueeze(1))
        late = self.trunk(early)
        grid = functional.avg_pool2d(early, (4, 7), (4, 6))
        pooled = functional.avg_pool2d(late, (1, 7), (1, 6)), functional.max_pool2d(late, (1, 7), (1, 6))
        return rows(grid), self.mix(rows(torch.cat(pooled, 1)))


class SensorEncoder(nn.Module):
    """Samples [N, 7, 50] in m/s2, rad/s and m/s to the grid [N, 14, 16] and sensor tokens [N, 14, 256].

    Position y * 2 + x: y the channel, x the half of the hop.
    """

    middle: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Gravity lies on accel_z; a car's speed is about 10 m/s.
        self.register_buffer("middle", torch.tensor([0, 0, 9.81, 0, 0, 0, 10.0])[:, None])
        self.register_buffer("spread", torch.tensor([2, 2, 2, 0.3, 0.3, 0.3, 8.0])[:, None])
        self.probe = nn.Sequential(block(1, 16, (1, 5), (1, 1)), block(16, SENSOR_GRID, (1, 5), (1, 2)))
        self.trunk = nn.Sequential(block(SENSOR_GRID, 32, (1, 5), (1, 1)), block(32, 48, (1, 5), (1, 1), 2))
        self.mix = Mixer(2 * 48, SENSOR_TOKENS)

    def forward(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        early = self.probe(((samples - self.middle) / self.spread).unsqueeze(1))  # [N, 16, 7, 25]
        late = self.trunk(early)
        grid = functional.avg_pool2d(early, (1, 13), (1, 12))
        pooled = functional.avg_pool2d(late, (1, 13), (1, 12)), functional.max_pool2d(late, (1, 13), (1, 12))
        return rows(grid), self.mix(rows(torch.cat(pooled, 1)))


def rows(maps: Tensor) -> Tensor:
    """Maps [N, C, rows, columns] to one row of C values a position, [N, rows * columns, C]."""
    return maps.flatten(2).transpose(1, 2)


class Head(nn.Module):
    """Tokens of a window [N, T, 256], any subset of them, to logits [N, labels]: each label looks for its own tokens."""

    def __init__(self, tokens: int, labels: int):
        super().__init__()
        self.place = nn.Parameter(0.02 * torch.randn(tokens, TOKEN_SIZE))
        self.look, self.say = nn.Linear(TOKEN_SIZE, labels), nn.Linear(TOKEN_SIZE, labels)

    def forward(self, tokens: Tensor, kept: Tensor) -> Tensor:
        x = tokens + self.place
        weight = self.look(x).masked_fill(~kept[..., None], -1e4).softmax(1)
        return (weight * self.say(x)).sum(1)


class Listener(nn.Module):
    """An encoder and a head over the tokens of both hops of a window."""

    def __init__(self, encoder: nn.Module, tokens: int, labels: int):
        super().__init__()
        self.encoder, self.tokens, self.head = encoder, tokens, Head(HOPS * tokens, labels)

    def forward(self, samples: Tensor, keep: float = 1.0) -> Tensor:
        """Samples of hops [N, 2, ...] to logits; from each window a random share of tokens is kept, at least `keep`."""
        n = samples.shape[0]
        tokens = quantise(self.encoder(samples.flatten(0, 1))[1]).reshape(n, HOPS * self.tokens, TOKEN_SIZE)
        share = keep + (1 - keep) * torch.rand(n, 1, device=tokens.device)
        order = torch.rand(n, HOPS * self.tokens, device=tokens.device)
        kept = (order < share) | (order == order.amin(1, keepdim=True))
        return self.head(functional.dropout(tokens, 0.2, self.training), kept)


def sensor_hops(traces: Tensor) -> Tensor:
    """Traces [n, 7, 100] to their hops [n, 2, 7, 50]."""
    return traces.unfold(2, SENSOR_HOP, SENSOR_HOP).transpose(1, 2)


def audio_batch(bank: SoundBank, n: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Training windows with no, one or two sounds: hops [n, 2, 50, 64] and targets [n, 10]; `quiet` means none."""
    first = rng.integers(0, len(LABELS), n)
    second = np.where(rng.random(n) < 0.35, rng.integers(0, len(LABELS), n), QUIET)
    windows = bank.sample(np.stack([first, np.where(second == first, QUIET, second)], 1), rng, "train")
    targets = torch.zeros(n, len(LABELS))
    targets[torch.arange(n), torch.from_numpy(first)] = 1
    targets[torch.arange(n), torch.from_numpy(second)] = 1
    targets[:, QUIET] = (targets.sum(1) == targets[:, QUIET]).float()
    return hops(windows) + colouring(n, windows.device), targets.to(windows.device)


def colouring(n: int, device: torch.device) -> Tensor:
    """Random curves to add to log-mel, [n, 1, 1, 64]: another microphone and another room, 3 dB at six knots."""
    knots = 0.7 * torch.randn(n, 1, 6, device=device)
    return functional.interpolate(knots, MELS, mode="linear", align_corners=True).unsqueeze(1)


def fit(listener: Listener, batches: Batches, loss: Loss, steps: int, rate: float = 2e-3) -> None:
    """Trains with AdamW, the rate rising over the first steps and falling to nothing over the rest."""
    listener.train()
    optimiser = torch.optim.AdamW(listener.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    began = time.monotonic()
    for step in range(steps):
        samples, targets = batches()
        value = loss(listener(samples, keep=0.3), targets)
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(listener.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            print(f"step {step}: loss {value.item():.3f}, {time.monotonic() - began:.0f} s", flush=True)


def train_audio(bank: SoundBank, steps: int, batch: int, seed: int) -> Listener:
    """Trains the audio encoder on windows of `bank`, on its device."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    listener = Listener(AudioEncoder(), AUDIO_TOKENS, len(LABELS)).to(bank.device)
    fit(listener, lambda: audio_batch(bank, batch, rng), functional.binary_cross_entropy_with_logits, steps)
    return listener.eval()


def train_sensor(steps: int, batch: int, seed: int, device: str = "cpu") -> Listener:
    """Trains the sensor encoder on generated traces."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 1])
    listener = Listener(SensorEncoder(), SENSOR_TOKENS, len(motion.LABELS)).to(device)

    def batches() -> tuple[Tensor, Tensor]:
        labels = rng.integers(0, len(motion.LABELS), batch)
        traces = torch.from_numpy(motion.traces(labels, rng)).to(device)
        return sensor_hops(traces), torch.from_numpy(labels).to(device)

    fit(listener, batches, functional.cross_entropy, steps)
    return listener.eval()


@torch.no_grad()
def test_audio(listener: Listener, bank: SoundBank, each: int, seed: int, snr: tuple[float, float]) -> Scores:
    """The share of test windows of one sound whose label comes first, by label, over all, and what is taken for what."""
    rng = np.random.default_rng([seed, 2])
    labels = np.repeat(np.arange(len(LABELS)), each)
    found = [listener(hops(bank.sample(part, rng, "test", snr))).argmax(1) for part in np.array_split(labels, len(LABELS))]
    return scores(labels, torch.cat(found).cpu().numpy(), LABELS)


@torch.no_grad()
def test_sensor(listener: Listener, each: int, seed: int, device: str = "cpu") -> Scores:
    """The same for traces of one motion, from another random state than training's."""
    rng = np.random.default_rng([seed, 3])
    labels = np.repeat(np.arange(len(motion.LABELS)), each)
    traces = torch.from_numpy(motion.traces(labels, rng)).to(device)
    return scores(labels, listener(sensor_hops(traces)).argmax(1).cpu().numpy(), motion.LABELS)


def scores(labels: NDArray[np.int64], found: NDArray[np.int64], names: tuple[str, ...]) -> Scores:
    """Accuracy over all and by label, and the most frequent mistakes as "label > found"."""
    by_label = {name: round(float((found[labels == i] == i).mean()), 4) for i, name in enumerate(names)}
    pairs, counts = np.unique(np.stack([labels, found], 1)[labels != found], axis=0, return_counts=True)
    worst = np.argsort(-counts)[:8]
    mistakes = {f"{names[pairs[i, 0]]} > {names[pairs[i, 1]]}": int(counts[i]) for i in worst}
    return {"accuracy": round(float((labels == found).mean()), 4), "by_label": by_label, "mistakes": mistakes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sounds", type=Path, required=True, help="sounds.npz of msao_models.sounds")
    parser.add_argument("--out", type=Path, required=True, help="folder for senses.pt and metrics.json")
    parser.add_argument("--steps", type=int, default=4000, help="training steps of the audio encoder; the sensors' has half")
    parser.add_argument("--batch", type=int, default=192)
    parser.add_argument("--each", type=int, default=300, help="test windows of each label")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    bank = SoundBank(args.sounds, args.device)
    sensor = train_sensor(args.steps // 2, args.batch, args.seed, args.device)
    audio = train_audio(bank, args.steps, args.batch, args.seed)
    torch.save({"audio": audio.encoder.state_dict(), "sensor": sensor.encoder.state_dict()}, args.out / "senses.pt")
    metrics = {
        "audio": {
            "snr 5 to 20 dB": test_audio(audio, bank, args.each, args.seed, (5, 20)),
            "snr 0 to 5 dB": test_audio(audio, bank, args.each, args.seed, (0, 5)),
        },
        "sensor": test_sensor(sensor, args.each, args.seed, args.device),
        "parameters": {
            name: sum(p.numel() for p in listener.encoder.parameters())
            for name, listener in (("audio", audio), ("sensor", sensor))
        },
    }
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(json.dumps(metrics, indent=2))


if __name__ == "__main__":
    main()
