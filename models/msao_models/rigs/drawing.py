"""What all scenes are drawn with: a canvas of twice the size, colours, textures of real photographs, and the camera."""

import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = 224
CANVAS = 2 * SIZE
COLOURS = {
    "red": (200, 30, 30),
    "blue": (35, 70, 200),
    "green": (30, 140, 60),
    "yellow": (235, 200, 30),
    "white": (240, 240, 240),
    "black": (25, 25, 28),
    "orange": (240, 130, 25),
    "grey": (130, 132, 136),
}


@dataclass(frozen=True)
class Textures:
    """Real photographs u8 [n, 224, 224, 3] that surfaces are cut from."""

    pictures: np.ndarray

    def cut(self, rng: random.Random, width: int, height: int, zoom: tuple[float, float] = (1, 4)) -> Image.Image:
        """A random piece of a photograph, `zoom` times enlarged at random, as large as asked."""
        picture = self.pictures[rng.randrange(len(self.pictures))]
        side = int(SIZE / rng.uniform(*zoom))
        x, y = rng.randint(0, SIZE - side), rng.randint(0, SIZE - side)
        piece = Image.fromarray(picture[y : y + side, x : x + side])
        return piece.resize((width, height), Image.Resampling.BILINEAR)

    def surface(self, rng: random.Random, colour: tuple[int, int, int], width: int, height: int, strength: float) -> Image.Image:
        """A surface of one colour with the light and dark of a photograph on it; `strength` 0 to 1."""
        grain = np.asarray(self.cut(rng, width, height, (1, 2)).convert("L"), np.float32)
        grain = (grain - grain.mean()) * strength
        return Image.fromarray((np.array(colour, np.float32) + grain[..., None]).clip(0, 255).astype(np.uint8))


def varied(rng: random.Random, colour: tuple[int, int, int], spread: int = 14) -> tuple[int, int, int]:
    """A colour a little off the named one."""
    return tuple(max(0, min(255, c + rng.randint(-spread, spread))) for c in colour)


def shade(colour: tuple[int, int, int], factor: float) -> tuple[int, int, int]:
    return tuple(max(0, min(255, int(c * factor))) for c in colour)


def polygon(draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], colour: tuple[int, int, int]) -> None:
    draw.polygon([(int(x), int(y)) for x, y in points], fill=colour)


def camera(canvas: Image.Image, rng: random.Random, blur: float) -> np.ndarray:
    """What a camera makes of a canvas: u8 [224, 224, 3]; `blur` is the length of motion blur in pixels of the result."""
    if rng.random() < 0.5:
        canvas = canvas.rotate(rng.uniform(-2, 2), Image.Resampling.BILINEAR, fillcolor=canvas.getpixel((2, 2)))
    picture = canvas.resize((SIZE, SIZE), Image.Resampling.BOX)
    if rng.random() < 0.3:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.7)))
    values = np.asarray(picture, np.float32)
    if blur >= 1:
        steps = int(blur) + 1
        values = sum(np.roll(values, shift - steps // 2, 1) for shift in range(steps)) / steps
    values = values * rng.uniform(0.85, 1.15) + rng.uniform(-8, 8)
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(1, 6), values.shape)
    return (values + noise).clip(0, 255).astype(np.uint8)
