"""Questions with short answers about photographs: made from Flickr8k's captions, and DAQUAR's own."""

import collections
import csv
import io
import random
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .data import SIZE

COLOURS = "black white red blue green yellow orange pink purple brown grey gray tan".split()
NUMBERS = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6"}
# What is asked about, with the words that show it is there. A picture whose captions use a word of the second list is
# not asked about the thing at all: it may well be there.
THINGS: dict[str, tuple[str, str]] = {
    "dog": ("dog dogs puppy puppies", "animal animals"),
    "horse": ("horse horses", "animal animals rider cowboy rodeo"),
    "man": ("man men guy", "person people someone player rider biker climber skier surfer crowd team group he his"),
    "woman": ("woman women lady girl girls", "person people someone player rider biker climber crowd team group she her"),
    "child": ("child children kid kids boy boys girl girls toddler baby", "person people crowd group family"),
    "ball": ("ball balls football basketball baseball soccer tennis volleyball", "game player players team sport"),
    "bicycle": ("bicycle bicycles bike bikes bicyclist cyclist", "biker rider motorcycle race"),
    "motorcycle": ("motorcycle motorcycles motorbike", "bike biker rider race racer"),
    "car": ("car cars", "street road traffic vehicle race parking"),
    "boat": ("boat boats kayak canoe raft ship", "water sailing"),
    "skateboard": ("skateboard skateboards skateboarder skateboarding", "ramp trick skater"),
    "surfboard": ("surfboard surfer surfing", "wave board"),
    "snow": ("snow snowy skier skiing snowboard snowboarder", "winter ice mountain"),
    "water": ("water ocean lake river pool sea pond beach wave waves splash splashing swimming", "boat wet"),
    "grass": ("grass grassy lawn field", "park yard outside garden"),
    "tree": ("tree trees forest woods", "park outside yard"),
    "hat": ("hat hats cap helmet", ""),
    "mountain": ("mountain mountains cliff", "rock climber climbing hill snow"),
    "fence": ("fence", "gate yard"),
    "swing": ("swing swings swinging", "playground"),
}
PLURALS = {"dog": "dogs", "man": "men", "woman": "women", "child": "children", "boy": "boys", "girl": "girls", "person": "people"}


@dataclass(frozen=True)
class Question:
    """A question about one picture."""

    kind: str
    text: str
    answer: str


def about_captions(captions: list[str], rng: random.Random) -> list[Question]:
    """Questions about what a picture's five captions agree on: what is there, its colour, how many."""
    words = collections.Counter(w for c in captions for w in set(c.split()))
    found = []
    present = [t for t, (names, _) in THINGS.items() if sum(words[n] for n in names.split()) >= 2]
    absent = [t for t, (names, near) in THINGS.items() if not any(words[n] for n in f"{names} {near}".split())]
    article = lambda thing: thing if thing in ("snow", "water", "grass") else f"a {thing}"
    for answer, things in (("yes", present), ("no", absent)):
        for thing in rng.sample(things, min(2, len(things))):
            found.append(Question("flickr presence", rng.choice(["Is there {}?", "Do you see {}?"]).format(article(thing)), answer))
    colours = collections.defaultdict(collections.Counter)
    for caption in captions:
        for colour, noun in re.findall(rf"\b({'|'.join(COLOURS)}) (\w+)", caption):
            if noun not in COLOURS and noun not in ("and", "in", "is", "with", "haired"):
                colours[noun][colour.replace("gray", "grey")] += 1
    for noun, counts in colours.items():
        if len(counts) == 1 and counts.total() >= 2:
            found.append(Question("flickr colour", f"What colour is the {noun}?", next(iter(counts))))
    for one, many in PLURALS.items():
        votes = collections.Counter()
        for caption in captions:
            for number in re.findall(rf"\b({'|'.join(NUMBERS)}) (?:\w+ )?{many}\b", caption):
                votes[NUMBERS[number]] += 1
            if re.search(rf"\b(?:a|an|one) (?:\w+ )?{one}\b", caption) and many not in caption:
                votes["1"] += 1
        answer, count = votes.most_common(1)[0] if votes else ("", 0)
        if count >= 3 and count == votes.total():
            found.append(Question("flickr count", f"How many {many} are there?", answer))
    return found


@dataclass
class Daquar:
    """Pictures u8 [n, 224, 224, 3], and for each split the pairs of a picture's index and its question."""

    pictures: np.ndarray
    train: list[tuple[int, Question]]
    test: list[tuple[int, Question]]


def daquar(folder: Path) -> Daquar:
    """DAQUAR (Malinowski and Fritz, 2014); answers are compared as sets where several are asked for."""
    raw = {}
    with tarfile.open(folder / "images.tar") as tar:
        for member in tar.getmembers():
            if member.isfile() and member.name.endswith(".jpg"):
                raw[Path(member.name).stem] = tar.extractfile(member).read()
    index = {name: i for i, name in enumerate(sorted(raw))}
    size = (SIZE, SIZE)
    decode = lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize(size, Image.Resampling.BILINEAR))
    pictures = np.stack([decode(raw[name]) for name in index])

    def split(name: str) -> list[tuple[int, Question]]:
        with (folder / name).open(encoding="utf-8") as file:
            return [
                (index[row["image_id"]], Question("daquar", row["question"].strip() + "?", row["answer"].replace("_", " ")))
                for row in csv.DictReader(file)
            ]

    return Daquar(pictures, split("train.csv"), split("eval.csv"))


def same(answer: str, wanted: str) -> bool:
    """Whether an answer is right: equal but for case and, in a list, order."""
    parts = lambda text: sorted(part.strip() for part in text.lower().split(","))
    return parts(answer) == parts(wanted)
