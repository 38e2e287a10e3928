"""Gathers the sounds that can't be generated: `python -m msao_models.sounds --out FOLDER`.

Writes sounds.npz (int16 samples at 16 kHz, all clips one after another, with offsets, labels, splits and sources) and
sounds.tsv (where each clip is from, and its licence). Needs apt-get, dpkg-deb, espeak-ng and flite.
"""

import argparse
import csv
from collections import Counter
from pathlib import Path

from msao_models.sounds.bank import save
from msao_models.sounds.clip import Clip
from msao_models.sounds.recordings import recordings, table
from msao_models.sounds.spoken import spoken


def licence(clip: Clip, licences: dict[str, str]) -> str:
    """The licence of a clip's package; what a synthesiser said is ours."""
    return licences.get(clip.source.split()[0], "own work, said by a synthesiser")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for sounds.npz and sounds.tsv")
    parser.add_argument("--cache", type=Path, help="folder that keeps the packages, about 2.3 GiB")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    clips = [*recordings(args.cache), *spoken(90, "train", args.seed), *spoken(24, "test", args.seed)]
    save(args.out / "sounds.npz", clips)
    licences = {row["package"]: row["licence"] for row in table("packages.tsv")}
    with open(args.out / "sounds.tsv", "w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["label", "split", "seconds", "source", "licence"])
        for clip in clips:
            seconds = f"{len(clip.samples) / 16000:.2f}"
            writer.writerow([clip.label, clip.split, seconds, clip.source, licence(clip, licences)])
    for (label, split), count in sorted(Counter((clip.label, clip.split) for clip in clips).items()):
        print(f"{label}\t{split}\t{count}")


if __name__ == "__main__":
    main()
