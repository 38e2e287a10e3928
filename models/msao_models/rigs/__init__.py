"""Seeded rig scenes with what is heard and felt in them, what is said of them, and questions with their answers.

Scenes are drawn, with surfaces cut from real photographs. The same seed and textures give the same scene. Training
takes seeds below 9,000,000, validation those below 10,000,000, tests those from there on.
"""

import random

from . import driving, inspection
from .asking import Question, Scene
from .drawing import Textures

__all__ = ["Question", "Scene", "Textures", "make_scene"]


def make_scene(seed: int, textures: Textures) -> Scene:
    """Six in ten scenes are on a road, the others show a belt or gauges."""
    rng = random.Random(seed)
    make = rng.choices([driving.make, inspection.belt, inspection.gauges], [6, 2.4, 1.6])[0]
    return make(rng, textures)
