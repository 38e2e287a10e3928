"""Flickr8k: pictures from its tar files, captions from its CSV, and a split by the picture's name."""

import collections
import csv
import gzip
import hashlib
import io
import re
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 224
TEST, VALIDATION = 1000, 500


def normalise(caption: str) -> str:
    """Lower case, letters, digits and apostrophes only: the text that models write and scores compare."""
    words = re.sub(r"[^a-z0-9' ]", " ", caption.lower())
    return re.sub(r"\s+", " ", words).strip()


@dataclass
class Flickr8k:
    """Picture names in split order, and five normalised captions for each."""

    names: list[str]
    captions: dict[str, list[str]]

    @property
    def test(self) -> list[str]:
        return self.names[:TEST]

    @property
    def validation(self) -> list[str]:
        return self.names[TEST : TEST + VALIDATION]

    @property
    def train(self) -> list[str]:
        return self.names[TEST + VALIDATION :]


def load(folder: Path) -> Flickr8k:
    """Names sorted by the SHA-1 of the name: 1,000 test, 500 validation, the rest training."""
    captions = collections.defaultdict(list)
    with gzip.open(folder / "captions.csv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            captions[row["image"]].append(normalise(row["caption"]))
    names = sorted(captions, key=lambda name: hashlib.sha1(name.encode()).hexdigest())
    return Flickr8k(names, dict(captions))


def pictures(folder: Path, names: list[str]) -> np.ndarray:
    """All pictures as u8 [len(names), 224, 224, 3], in the order of `names`."""
    raw = {}
    for path in sorted(folder.glob("images-*.tar")):
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                if member.isfile():
                    raw[Path(member.name).name] = tar.extractfile(member).read()

    def decode(name: str) -> np.ndarray:
        picture = Image.open(io.BytesIO(raw[name])).convert("RGB")
        return np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR))

    with ThreadPoolExecutor(16) as pool:
        return np.stack(list(pool.map(decode, names)))
