"""Small pictures: smooth colours, edges and noise, so that every part of a resize is felt."""

import numpy as np
from PIL import Image

# Name, width, height.
SIZES = [("wide", 90, 50), ("tall", 37, 83), ("tile", 32, 32), ("small", 20, 11)]


def build(seed: int) -> dict[str, Image.Image]:
    random = np.random.default_rng(seed)
    pictures = {}
    for name, width, height in SIZES:
        y, x = np.mgrid[0:height, 0:width].astype(float)
        planes = []
        for _ in range(3):
            fx, fy, phase = random.uniform(0.02, 0.25, 2).tolist() + [random.uniform(0, 6)]
            planes.append(127.5 + 110 * np.sin(fx * x + fy * y + phase))
        picture = np.stack(planes, -1)
        left, top = random.integers(0, width // 2), random.integers(0, height // 2)
        picture[top : top + height // 3, left : left + width // 4] = random.integers(0, 256, 3)
        picture += random.normal(0, 6, picture.shape)
        pictures[name] = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
    return pictures
