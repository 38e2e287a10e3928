"""Questions about a scene, and how yes and no are kept even."""

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """A question with a short answer; `about` is the modality that the answer is in."""

    kind: str
    text: str
    answer: str
    about: str = "video"


@dataclass
class Scene:
    """A rendered scene: `frame` u8 [224, 224, 3], labels of its sound and motion, and what is said and asked of it."""

    frame: object
    sound: str | None
    motion: str
    caption: str
    questions: list[Question]


def yes_no(truth: bool) -> str:
    return "yes" if truth else "no"


def number(count: int, one: str, many: str) -> str:
    """"a red car", "two red cars": as a caption counts."""
    words = ["no", "a", "two", "three", "four", "five", "six", "seven", "eight"]
    article = "an" if one[0] in "aeiou" else "a"
    return f"{article if count == 1 else words[count]} {one if count == 1 else many}"


def balanced(rng: random.Random, true: list, false: list) -> tuple[object, bool] | None:
    """One thing to ask yes or no about, each half of the time where both are possible."""
    truth = rng.random() < 0.5
    pool = true if truth else false
    return (rng.choice(pool), truth) if pool else None
