"""What is heard and felt in a window: drawn at random or a scene's, and as labels. Needs neither torch nor a GPU."""

import random

import numpy as np

from . import motion, rigs, words
from .sounds import LABELS


def some_sounds(rng: random.Random) -> tuple[str, ...]:
    """Quiet, one sound, or two of which one is often an engine."""
    kind, all_sounds = rng.random(), list(words.HEARD)
    if kind < 0.3:
        return ()
    if kind < 0.8:
        return (rng.choice(all_sounds),)
    return ordered({"engine" if rng.random() < 0.5 else rng.choice(all_sounds), rng.choice(all_sounds)})


def ordered(sounds: set[str]) -> tuple[str, ...]:
    return tuple(s for s in words.HEARD if s in sounds)


def sound_labels(windows: list[tuple[str, ...]]) -> np.ndarray:
    """Indices [n, 2] of at most two sounds a window."""
    return np.array([[LABELS.index(s) for s in (*sounds, "quiet", "quiet")[:2]] for sounds in windows])


def motion_labels(names: list[str]) -> np.ndarray:
    return np.array([motion.LABELS.index(name) for name in names])


def heard_in(scene: rigs.Scene) -> tuple[str, ...]:
    return () if scene.sound in (None, "quiet") else (scene.sound,)
