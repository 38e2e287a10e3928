"""Writes windows for `mllm/examples/evaluate`: pictures, sounds and traces as files, and items.jsonl, one question or
prompt for a caption a line, with what is right.

    python -m msao_models.testset --out TESTSET [--sounds SOUNDS/sounds.npz] [--flickr FLICKR8K] [--daquar DAQUAR] \\
        [--textures FOLDER_OF_PICTURES] [--split validation]

Scenes are of seeds that training never saw. Their textures are Flickr8k's pictures of the split, or those of a folder.
Sounds are of the test split for test windows, and of the training split for validation windows. DAQUAR has no
validation split that training leaves out whole, so rooms are for tests only. `score.py` compares what the evaluation
writes. Neither torch nor a GPU is needed.
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
from PIL import Image

from . import data, motion, questions, rigs, words
from .pieces import PROMPT
from .sounds import SoundBank
from .windows import heard_in, motion_labels, some_sounds, sound_labels

# First seeds of scenes; training's are below both. Those of `material.py`'s validation come first.
SEEDS = {"validation": 9_500_000, "test": 10_000_000}
SOUNDS = {"validation": "train", "test": "test"}


class Writer:
    """Files of windows, and the items that ask about them: at most `most` questions a window, drawn at random."""

    def __init__(self, out: Path, bank: SoundBank, split: str, most: int | None, seed: int):
        self.out, self.bank, self.split, self.most = out, bank, split, most
        self.rng, self.noise = random.Random(seed), np.random.default_rng(seed)
        self.items: list[dict] = []
        out.mkdir(parents=True, exist_ok=True)

    def window(self, name: str, picture: np.ndarray | None, sounds: tuple[str, ...] | None, felt: str | None) -> dict:
        """A window's files. Pictures are PNG: what is tested is the model, not a JPEG codec."""
        files = {"image": None, "audio": None, "sensor": None}
        if picture is not None:
            files["image"] = f"{name}.png"
            Image.fromarray(picture).save(self.out / files["image"])
        if sounds is not None:
            files["audio"] = f"{name}.f32"
            samples = self.bank.sample(sound_labels([sounds]), self.noise, SOUNDS[self.split], (5.0, 20.0))
            (self.out / files["audio"]).write_bytes(samples[0].astype("<f4").tobytes())
        if felt is not None:
            files["sensor"] = f"{name}.imu"
            trace = motion.traces(motion_labels([felt]), self.noise)[0].T
            (self.out / files["sensor"]).write_bytes(np.ascontiguousarray(trace, "<f4").tobytes())
        return files

    def ask(self, window: dict, asked: list[tuple[str, str, str, str]]) -> None:
        """Questions about a window: (kind, question, answer, the modality that the answer is in)."""
        if self.most is not None and len(asked) > self.most:
            asked = self.rng.sample(asked, self.most)
        for kind, prompt, answer, about in asked:
            self.add(window, kind, prompt, [answer], about)

    def add(self, window: dict, kind: str, prompt: str, right: list[str], about: str) -> None:
        item = {"id": str(len(self.items)), **window, "prompt": prompt, "kind": kind, "right": right, "about": about}
        self.items.append(item)

    def senses(self, sounds: tuple[str, ...], felt: str) -> list[tuple[str, str, str, str]]:
        heard = [(*question, "audio") for question in words.heard_questions(list(sounds), self.rng)]
        return heard + [(*question, "sensor") for question in words.felt_questions(felt, self.rng)]

    def can_play(self, sounds: tuple[str, ...]) -> bool:
        """Speech is never generated: without recordings there is none."""
        return set(sounds) <= self.bank.labels

    def close(self) -> None:
        (self.out / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in self.items))
        print(f"{len(self.items)} items in {self.out}")


def scenes(writer: Writer, textures: rigs.Textures, count: int, captions: bool) -> None:
    """Questions about generated scenes, with the sound and the trace that belong to each, and captions if these are
    asked for."""
    made, seed = 0, SEEDS[writer.split]
    while made < count:
        scene = rigs.make_scene(seed, textures)
        seed += 1
        sounds, felt = heard_in(scene), scene.motion
        if not writer.can_play(sounds):
            continue
        window = writer.window(f"scene-{made:05}", scene.frame, sounds, felt)
        asked = [(f"scene {q.kind}", q.text, q.answer, q.about) for q in scene.questions]
        writer.ask(window, asked + writer.senses(sounds, felt))
        if captions:
            writer.add(window, "caption", PROMPT, [words.caption(scene.caption, list(sounds), felt)], "video")
        made += 1


def photographs(writer: Writer, folder: Path, count: int) -> None:
    """Captions of, and questions about, photographs of Flickr8k, and the same photographs with a sound and a trace."""
    flickr = data.load(folder)
    names = getattr(flickr, writer.split)[:count]
    for i, (name, picture) in enumerate(zip(names, data.pictures(folder, names))):
        five = flickr.captions[name]
        window = writer.window(f"photo-{i:05}", picture, None, None)
        writer.add(window, "caption", PROMPT, five, "video")
        about = questions.about_captions(five, writer.rng)
        writer.ask(window, [(q.kind, q.text, q.answer, "video") for q in about])
        sounds, felt = some_sounds(writer.rng), writer.rng.choice(list(words.FELT))
        if writer.can_play(sounds):
            window = writer.window(f"heard-{i:05}", picture, sounds, felt)
            writer.ask(window, writer.senses(sounds, felt) + [(q.kind, q.text, q.answer, "video") for q in about])


def rooms(writer: Writer, folder: Path, count: int) -> None:
    """DAQUAR's test questions."""
    daquar = questions.daquar(folder)
    windows: dict[int, dict] = {}
    for picture, question in daquar.test[:count]:
        if picture not in windows:
            windows[picture] = writer.window(f"room-{picture:05}", daquar.pictures[picture], None, None)
        writer.add(windows[picture], question.kind, question.text, [question.answer], "video")


def load_textures(folder: Path) -> np.ndarray:
    """Pictures of a folder as u8 [n, 224, 224, 3]."""
    files = sorted(p for p in folder.iterdir() if p.suffix in (".png", ".jpg"))
    if not files:
        raise SystemExit(f"{folder} holds no .png or .jpg pictures to take textures from")
    size = (data.SIZE, data.SIZE)
    return np.stack([np.asarray(Image.open(p).convert("RGB").resize(size, Image.Resampling.BILINEAR)) for p in files])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sounds", type=Path, help="sounds.npz; generated sounds alone if left out")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--flickr", type=Path)
    parser.add_argument("--daquar", type=Path)
    parser.add_argument("--textures", type=Path)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--captions", action="store_true", help="also of scenes: their generator's own")
    parser.add_argument("--photographs", type=int, default=1000)
    parser.add_argument("--rooms", type=int, default=5000)
    parser.add_argument("--questions", type=int, help="at most so many a window, but all of a room's")
    parser.add_argument("--split", choices=list(SEEDS), default="test")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if not (arguments.flickr or arguments.textures):
        raise SystemExit("scenes need textures: give --flickr or --textures")
    if arguments.daquar and arguments.split != "test":
        raise SystemExit("rooms are for tests only: leave out --daquar")
    split = arguments.split
    writer = Writer(arguments.out, SoundBank(arguments.sounds), split, arguments.questions, arguments.seed)
    if arguments.textures:
        pictures = load_textures(arguments.textures)
    else:
        pictures = data.pictures(arguments.flickr, getattr(data.load(arguments.flickr), split))
    scenes(writer, rigs.Textures(pictures), arguments.scenes, arguments.captions)
    if arguments.flickr:
        photographs(writer, arguments.flickr, arguments.photographs)
    if arguments.daquar:
        rooms(writer, arguments.daquar, arguments.rooms)
    writer.close()


if __name__ == "__main__":
    main()
