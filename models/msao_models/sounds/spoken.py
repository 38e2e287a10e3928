"""Speech from speech synthesisers: eSpeak NG to train with, its other languages and variants and Flite to test with."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from msao_models.sounds.clip import Clip
from msao_models.sounds.labels import RATE
from msao_models.sounds.recordings import decode

# Any text does: only that it is speech is learned.
TRAIN_TEXTS = (
    "Please stand clear of the doors.",
    "Can you hear me? I am over here, next to the gate.",
    "We should turn left after the second bridge.",
    "Bonjour, avez-vous vu le camion rouge?",
    "Der Zug nach Hamburg fährt heute von Gleis sieben.",
    "Hola, estamos esperando en la esquina.",
)
TEST_TEXTS = (
    "Wait a moment, somebody is crossing the road.",
    "The machine on line four has stopped again.",
    "Buongiorno, dove posso parcheggiare?",
    "Dzień dobry, gdzie jest przystanek?",
)
TRAIN_VOICES = ("en-us", "en-gb", "fr", "de", "es", "pt")
TEST_VOICES = ("en-gb-scotland", "it", "pl", "sv")
TRAIN_VARIANTS = ("m1", "m2", "m3", "m4", "f1", "f2", "f3", "croak")
TEST_VARIANTS = ("m5", "m7", "f4", "f5")
FLITE_VOICES = ("kal16", "slt", "rms", "awb")
LONGEST = 5 * RATE // 2


def spoken(count: int, split: str, seed: int) -> Iterator[Clip]:
    """`count` clips from eSpeak NG at several speeds and pitches; for testing also each Flite voice with each text."""
    rng = np.random.default_rng([seed, split == "test"])
    test = split == "test"
    texts, voices = (TEST_TEXTS, TEST_VOICES) if test else (TRAIN_TEXTS, TRAIN_VOICES)
    variants = TEST_VARIANTS if test else TRAIN_VARIANTS
    for _ in range(count):
        voice = f"{rng.choice(voices)}+{rng.choice(variants)}"
        speed, pitch = str(rng.integers(120, 220)), str(rng.integers(25, 80))
        command = ["espeak-ng", "-v", voice, "-s", speed, "-p", pitch, "--stdout", str(rng.choice(texts))]
        said = subprocess.run(command, capture_output=True, check=True).stdout
        yield Clip(decode(said)[:LONGEST], "speech", split, f"espeak-ng {voice} {speed} {pitch}")
    if test:
        yield from _flite(texts)


def _flite(texts: tuple[str, ...]) -> Iterator[Clip]:
    with tempfile.TemporaryDirectory() as folder:
        for voice in FLITE_VOICES:
            for number, text in enumerate(texts[:2]):
                file = Path(folder) / f"{voice}{number}.wav"
                subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(file)], check=True)
                yield Clip(decode(file.read_bytes())[:LONGEST], "speech", "test", f"flite {voice} {number}")
