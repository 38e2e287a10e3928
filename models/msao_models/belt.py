"""The clip of configs/inspection.toml: parts on a belt that stops for each, drawn as the tests of the models are.

    python -m msao_models.belt --out ../testdata/belt.mkv

Needs gst-launch-1.0 with x264enc. The same seed gives the same pictures.
"""

import argparse
import random
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from .rigs import inspection
from .rigs.drawing import SIZE, Textures

RATE = 10
STANDS = 15
SLIDES = 5


def grain(seed: int, count: int = 8) -> Textures:
    """Smooth noise in place of photographs, so that the clip holds nothing of others."""
    generator = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        layers = np.zeros((SIZE, SIZE), np.float32)
        for cells in (4, 16, 56):
            noise = Image.fromarray(generator.uniform(0, 255, (cells, cells)).astype(np.uint8))
            layers += np.asarray(noise.resize((SIZE, SIZE), Image.Resampling.BICUBIC), np.float32) / 3
        pictures.append(np.repeat(layers.astype(np.uint8)[..., None], 3, 2))
    return Textures(np.stack(pictures))


def frames(seed: int, scenes: int):
    """Each scene stands still under the camera; then the next one slides in from the left."""
    textures = grain(seed)
    before = None
    for number in range(scenes):
        scene = inspection.belt(random.Random(seed + number), textures)
        print(f"{number}: {scene.caption}")
        if before is not None:
            for step in range(1, SLIDES + 1):
                cut = SIZE * step // (SLIDES + 1)
                yield np.concatenate([scene.frame[:, SIZE - cut :], before[:, : SIZE - cut]], 1)
        for _ in range(STANDS):
            yield scene.frame
        before = scene.frame


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=10_000_100)
    parser.add_argument("--scenes", type=int, default=12)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for number, frame in enumerate(frames(arguments.seed, arguments.scenes)):
            Image.fromarray(frame).resize((2 * SIZE, 2 * SIZE), Image.Resampling.BICUBIC).save(f"{folder}/{number:05}.png")
        line = f"multifilesrc location={folder}/%05d.png caps=image/png,framerate={RATE}/1 ! pngdec ! videoconvert ! video/x-raw,format=I420 ! x264enc speed-preset=slow quantizer=26 pass=quant key-int-max={2 * RATE} ! h264parse ! matroskamux ! filesink location={arguments.out}"
        subprocess.run(["gst-launch-1.0", "-q", *line.split()], check=True)


if __name__ == "__main__":
    main()
