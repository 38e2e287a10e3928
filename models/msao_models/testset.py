"""Writes test windows for `mllm/examples/evaluate.rs`: pictures, sounds and traces as files, and items.jsonl, one question
or prompt for a caption a line, with what is right.

    python -m msao_models.testset --sounds SOUNDS/sounds.npz --out TESTSET [--flickr FLICKR8K] [--daquar DAQUAR] \
        [--textures FOLDER_OF_PICTURES]

Scenes are of seeds that training never saw. Their textures are Flickr8k's test pictures, or those of a folder. Sounds
are from the test split. `score.py` compares what the evaluation writes.
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
from PIL import Image

from . import data, motion, questions, rigs, words
from .material import heard_in, motion_labels, some_sounds, sound_labels
from .pieces import PROMPT
from .sounds import SoundBank

TEST_SEED = 10_000_000


class Writer:
    """Files of windows, and the items that ask about them."""

    def __init__(self, out: Path, bank: SoundBank, seed: int):
        self.out, self.bank = out, bank
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
            samples = self.bank.sample(sound_labels([sounds]), self.noise, "test", (5.0, 20.0))
            (self.out / files["audio"]).write_bytes(samples[0].cpu().numpy().astype("<f4").tobytes())
        if felt is not None:
            files["sensor"] = f"{name}.imu"
            trace = motion.traces(motion_labels([felt]), self.noise)[0].T
            (self.out / files["sensor"]).write_bytes(np.ascontiguousarray(trace, "<f4").tobytes())
        return files

    def ask(self, window: dict, kind: str, prompt: str, right: list[str], about: str) -> None:
        """`about` is the modality that a question is about."""
        item = {"id": str(len(self.items)), **window, "prompt": prompt, "kind": kind, "right": right, "about": about}
        self.items.append(item)

    def close(self) -> None:
        (self.out / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in self.items))
        print(f"{len(self.items)} items in {self.out}")


def scenes(writer: Writer, textures: rigs.Textures, count: int) -> None:
    """Questions about generated scenes, with the sound and the trace that belong to each."""
    for i in range(count):
        scene = rigs.make_scene(TEST_SEED + i, textures)
        sounds, felt = heard_in(scene), scene.motion
        window = writer.window(f"scene-{i:05}", scene.frame, sounds, felt)
        for question in scene.questions:
            writer.ask(window, f"scene {question.kind}", question.text, [question.answer], question.about)
        for kind, text, answer in words.heard_questions(list(sounds), writer.rng):
            writer.ask(window, kind, text, [answer], "audio")
        for kind, text, answer in words.felt_questions(felt, writer.rng):
            writer.ask(window, kind, text, [answer], "sensor")


def photographs(writer: Writer, folder: Path, count: int, silent: bool) -> None:
    """Captions of, and questions about, test photographs of Flickr8k."""
    flickr = data.load(folder)
    names = flickr.test[:count]
    for i, (name, picture) in enumerate(zip(names, data.pictures(folder, names))):
        five = flickr.captions[name]
        window = writer.window(f"photo-{i:05}", picture, None, None)
        writer.ask(window, "caption", PROMPT, five, "video")
        for question in questions.about_captions(five, writer.rng):
            writer.ask(window, question.kind, question.text, [question.answer], "video")
        if not silent:
            sounds, felt = some_sounds(writer.rng), writer.rng.choice(list(words.FELT))
            window = writer.window(f"heard-{i:05}", picture, sounds, felt)
            for kind, text, answer in words.heard_questions(list(sounds), writer.rng):
                writer.ask(window, kind, text, [answer], "audio")
            for kind, text, answer in words.felt_questions(felt, writer.rng):
                writer.ask(window, kind, text, [answer], "sensor")


def rooms(writer: Writer, folder: Path, count: int) -> None:
    """DAQUAR's test questions."""
    daquar = questions.daquar(folder)
    windows: dict[int, dict] = {}
    for picture, question in daquar.test[:count]:
        if picture not in windows:
            windows[picture] = writer.window(f"room-{picture:05}", daquar.pictures[picture], None, None)
        writer.ask(windows[picture], question.kind, question.text, [question.answer], "video")


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
    parser.add_argument("--photographs", type=int, default=1000)
    parser.add_argument("--rooms", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if not (arguments.flickr or arguments.textures):
        raise SystemExit("scenes need textures: give --flickr or --textures")
    writer = Writer(arguments.out, SoundBank(arguments.sounds), arguments.seed)
    if arguments.textures:
        pictures = load_textures(arguments.textures)
    else:
        pictures = data.pictures(arguments.flickr, data.load(arguments.flickr).test)
    scenes(writer, rigs.Textures(pictures), arguments.scenes)
    if arguments.flickr:
        photographs(writer, arguments.flickr, arguments.photographs, silent=False)
    if arguments.daquar:
        rooms(writer, arguments.daquar, arguments.rooms)
    writer.close()


if __name__ == "__main__":
    main()
