"""What `joint.py` trains on: pictures, questions, sounds and traces, and how they are mixed in a step."""

import argparse
import json
import multiprocessing
import os
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from . import data, motion, parallel, questions, rewards, rigs, words
from .encoder import MEAN, STD, quantise
from .pieces import PROMPT
from .senses import AudioEncoder, SensorEncoder, colouring, hops, sensor_hops
from .sounds import SoundBank
from .train import augment
from .windows import heard_in, motion_labels, ordered, some_sounds, sound_labels

# Validation scenes come after those to train on and before the test scenes.
VALIDATION_SEED = 9_000_000
# Shares of windows without a microphone, and without sensors.
DEAF, NUMB = 0.25, 0.25
# A question about what is heard or felt is asked without a picture in this share of windows; and one about the picture,
# where the right answer is that it is not known.
BLIND, UNSEEN = 0.15, 0.04
# How many questions about what a scene shows are asked in a step, beside one about what is heard and felt or a caption.
QUESTIONS = 3


@dataclass(frozen=True)
class Sample:
    """One question, or the prompt for a caption, about one window."""

    picture: int
    kind: str
    prompt: str
    answer: str
    sounds: tuple[str, ...] | None = None
    motion: str | None = None
    sees: bool = True
    name: str = ""

    @property
    def caption(self) -> bool:
        return self.prompt == PROMPT

    def right(self, answer: str) -> bool:
        return questions.same(answer, self.answer)


class SenseBank:
    """Tokens of many windows of one sense, by what is in them."""

    def __init__(self, keys: list, tokens: Tensor):
        self.tokens, self.index = tokens, defaultdict(list)
        for i, key in enumerate(keys):
            self.index[key].append(i)

    def draw(self, keys: list) -> tuple[Tensor, Tensor]:
        """Tokens [n, P, 256], zeros for `None`, and a mask [n] of those that are there."""
        chosen = [0 if key is None else random.choice(self.index[key]) for key in keys]
        there = torch.tensor([key is not None for key in keys], device=self.tokens.device)
        tokens = self.tokens[torch.tensor(chosen, device=self.tokens.device)].float()
        return tokens * there[:, None, None], there


# What forked workers cut surfaces from: given to each with its task it would be copied each time.
_textures: rigs.Textures | None = None


def render_one(seed: int) -> tuple[np.ndarray, dict]:
    scene = rigs.make_scene(seed, _textures)
    about = {"caption": scene.caption, "sounds": heard_in(scene), "felt": scene.motion, "questions": scene.questions}
    return scene.frame, about


class Material:
    """Everything on the training device, and random batches of it."""

    def __init__(self, arguments: argparse.Namespace):
        self.rng = random.Random(arguments.seed + parallel.rank())
        self.flickr = data.load(arguments.flickr)
        names = self.flickr.names
        self.first_train = data.TEST + data.VALIDATION
        self.validation_reward = rewards.Rewards({n: self.flickr.captions[n] for n in self.flickr.validation}, 0.0)
        photographs = data.pictures(arguments.flickr, names)
        rooms = questions.daquar(arguments.daquar)
        global _textures
        _textures = rigs.Textures(photographs[self.first_train :])
        # Drawing gives way to training.
        pool = multiprocessing.get_context("fork").Pool(arguments.workers, os.nice, (10,))
        checks = pool.map(render_one, range(VALIDATION_SEED, VALIDATION_SEED + arguments.validation), chunksize=16)
        first = parallel.rank() * arguments.scenes
        # They go on drawing while training goes on.
        self.drawing = pool.imap_unordered(render_one, range(first, first + arguments.scenes))

        # Nothing above touches the device: a fork after its first use is not safe.
        self.device = parallel.start()
        self.checks = [facts for _, facts in checks]
        parts = [photographs, rooms.pictures, *(frame[None] for frame, _ in checks)]
        starts = np.cumsum([0] + [len(part) for part in parts])
        self.first_room, self.first_check, self.first_rig = int(starts[1]), int(starts[2]), int(starts[-1])
        self.pictures = torch.empty((self.first_rig + arguments.scenes, data.SIZE, data.SIZE, 3), dtype=torch.uint8, device=self.device)
        for start, part in zip(starts, parts):
            self.pictures[start : start + len(part)] = torch.from_numpy(part).to(self.device)
        self.rigs: list[dict] = []
        self.tokenizer = Tokenizer.from_file(str(arguments.models / "msao-edge" / "tokenizer.json"))
        self.hear_and_feel(arguments)
        self.ask(rooms, arguments.validation)
        self.own_captions: dict[int, str] = {}
        self.mix = arguments.pictures
        self.draw(min(2000, arguments.scenes), wait=True)

    def draw(self, most: int, wait: bool = False) -> None:
        """Takes in scenes that have been drawn, with `wait` just as many as asked for."""
        drawn = []
        while len(drawn) < most:
            try:
                drawn.append(self.drawing.next(None if wait else 0))
            except (StopIteration, multiprocessing.TimeoutError):
                break
        if drawn:
            start = self.first_rig + len(self.rigs)
            frames = torch.from_numpy(np.stack([frame for frame, _ in drawn]))
            self.pictures[start : start + len(drawn)] = frames.to(self.device)
            self.rigs += [facts for _, facts in drawn]

    def hear_and_feel(self, arguments: argparse.Namespace) -> None:
        state = torch.load(arguments.senses, map_location="cpu", weights_only=True)
        audio, sensor = AudioEncoder().eval(), SensorEncoder().eval()
        audio.load_state_dict(state["audio"]), sensor.load_state_dict(state["sensor"])
        audio.to(self.device), sensor.to(self.device)
        rng = np.random.default_rng([arguments.seed, parallel.rank()])
        bank = SoundBank(arguments.sounds, str(self.device))
        heard = [some_sounds(self.rng) for _ in range(arguments.windows)] + [(s,) for s in words.HEARD] + [()]
        pairs = {ordered({a, b}) for a in words.HEARD for b in words.HEARD if a != b}
        heard += [pair for pair in sorted(pairs) for _ in range(8)]
        felt = [self.rng.choice(list(words.FELT)) for _ in range(arguments.windows)] + list(words.FELT)
        both = lambda encoder, pieces: encoder(pieces.flatten(0, 1))[1].unflatten(0, (-1, 2)).flatten(1, 2)
        hear = lambda some: both(audio, hops(bank.sample(sound_labels(some), rng, "train")) + colouring(len(some), self.device))
        feel = lambda some: both(sensor, sensor_hops(torch.from_numpy(motion.traces(motion_labels(some), rng)).to(self.device)))
        self.audio_bank = SenseBank(heard, self.encode(heard, 500, hear))
        self.sensor_bank = SenseBank(felt, self.encode(felt, 2000, feel))

    def encode(self, keys: list, batch: int, tokens: Callable[[list], Tensor]) -> Tensor:
        with torch.no_grad():
            return torch.cat([quantise(tokens(keys[i : i + batch]).float()).half() for i in range(0, len(keys), batch)])

    def ask(self, rooms: questions.Daquar, validation: int) -> None:
        """Questions by picture to train on, and those for validation."""
        self.photograph_questions = {
            self.first_train + i: questions.about_captions(self.flickr.captions[n], self.rng) for i, n in enumerate(self.flickr.train)
        }
        held = set(random.Random(0).sample(range(len(rooms.train)), 500))
        self.room_questions, checks = defaultdict(list), []
        for i, (picture, question) in enumerate(rooms.train):
            if i in held:
                checks.append(Sample(self.first_room + picture, question.kind, question.text, question.answer))
            else:
                self.room_questions[self.first_room + picture].append(question)
        self.rooms = list(self.room_questions)
        for i, name in enumerate(self.flickr.validation):
            for question in questions.about_captions(self.flickr.captions[name], self.rng):
                checks.append(Sample(data.TEST + i, question.kind, question.text, question.answer))
        for i, facts in enumerate(self.checks):
            checks += [self.scene_sample(self.first_check + i, facts, q) for q in facts["questions"]]
        for i in range(validation):
            sounds, felt = some_sounds(self.rng), self.rng.choice(list(words.FELT))
            window = Sample(data.TEST + i % data.VALIDATION, "", "", "", sounds, felt)
            checks += [replace(window, kind=k, prompt=q, answer=a) for k, q, a in self.sense_questions(sounds, felt)]
        self.validation_questions = checks
        self.validation_captions = [Sample(data.TEST + i, "caption", PROMPT, "", name=n) for i, n in enumerate(self.flickr.validation)]

    def write_captions(self, write: Callable[[list[Sample]], list[str]], file: Path | None) -> None:
        """Has a model caption the training photographs as they are, unless `file` (JSON: a caption a name) has them."""
        names = list(enumerate(self.flickr.train, self.first_train))
        if file:
            texts = json.loads(file.read_text())
            self.own_captions = {i: texts[name] for i, name in names}
        else:
            samples = [Sample(i, "caption", PROMPT, "", name=name) for i, name in names]
            self.own_captions = {s.picture: text for s, text in zip(samples, write(samples))}

    def captioned(self, n: int) -> list[Sample]:
        """Random training photographs with the prompt for a caption."""
        chosen = self.rng.sample(range(self.first_train, self.first_room), n)
        return [Sample(i, "caption", PROMPT, "", name=self.flickr.names[i]) for i in chosen]

    def sense_questions(self, sounds: tuple[str, ...] | None, felt: str | None) -> list[tuple[str, str, str]]:
        return words.heard_questions(None if sounds is None else list(sounds), self.rng) + words.felt_questions(felt, self.rng)

    def scene_sample(self, picture: int, facts: dict, question) -> Sample:
        return Sample(picture, f"scene {question.kind}", question.text, question.answer, facts["sounds"], facts["felt"])

    def window(self, picture: int, sounds: tuple[str, ...] | None, felt: str | None) -> Sample:
        """A window whose microphone or sensors may be missing."""
        deaf, numb = self.rng.random() < DEAF, self.rng.random() < NUMB
        return Sample(picture, "", "", "", None if deaf else sounds, None if numb else felt)

    def sense_sample(self, window: Sample) -> Sample:
        kind, prompt, answer = self.rng.choice(self.sense_questions(window.sounds, window.motion))
        there = window.sounds is not None or window.motion is not None
        return replace(window, kind=kind, prompt=prompt, answer=answer, sees=not there or self.rng.random() >= BLIND)

    def caption_sample(self, window: Sample, seen: str) -> Sample:
        there = window.sounds is not None or window.motion is not None
        sees = not there or self.rng.random() >= 0.05
        sounds = None if window.sounds is None else list(window.sounds)
        return replace(window, kind="caption", prompt=PROMPT, answer=words.caption(seen if sees else None, sounds, window.motion), sees=sees)

    def random_window(self, picture: int) -> Sample:
        return self.window(picture, some_sounds(self.rng), self.rng.choice(list(words.FELT)))

    def batch(self) -> tuple[list[int], list[Sample]]:
        """Distinct pictures of a step, and its samples: four of a scene, two of a photograph or a room."""
        self.draw(64)
        samples, rng = [], self.rng
        scenes, photographs, rooms = self.mix
        for i in rng.sample(range(len(self.rigs)), min(scenes, len(self.rigs))):
            facts = self.rigs[i]
            picture = self.first_rig + i
            for question in rng.sample(facts["questions"], min(QUESTIONS, len(facts["questions"]))):
                sample = self.drop(self.scene_sample(picture, facts, question), question)
                samples.append(self.unseen(sample) if question.about == "video" else sample)
            window = self.window(picture, facts["sounds"], facts["felt"])
            samples.append(self.caption_sample(window, facts["caption"]) if rng.random() < 0.5 else self.sense_sample(window))
        for sample in self.captioned(photographs):
            window, asked = self.random_window(sample.picture), self.photograph_questions[sample.picture]
            samples.append(self.caption_sample(window, self.own_captions.get(sample.picture, "")))
            if asked and rng.random() < 0.7:
                question = rng.choice(asked)
                samples.append(self.unseen(replace(window, kind=question.kind, prompt=question.text, answer=question.answer)))
            else:
                samples.append(self.sense_sample(window))
        for picture in rng.sample(self.rooms, min(rooms, len(self.rooms))):
            window = self.random_window(picture)
            for question in rng.sample(self.room_questions[picture], min(2, len(self.room_questions[picture]))):
                samples.append(self.unseen(replace(window, kind="daquar", prompt=question.text, answer=question.answer)))
        return list(dict.fromkeys(s.picture for s in samples)), samples

    def unseen(self, sample: Sample) -> Sample:
        """May take away the picture that the question is about, if something else is there."""
        there = sample.sounds is not None or sample.motion is not None
        return replace(sample, sees=False, answer=words.UNKNOWN) if there and self.rng.random() < UNSEEN else sample

    def drop(self, sample: Sample, question: rigs.Question) -> Sample:
        """May take away senses that the question is not about."""
        deaf = self.rng.random() < DEAF and question.about != "audio"
        numb = self.rng.random() < NUMB and question.about != "sensor"
        return replace(sample, sounds=None if deaf else sample.sounds, motion=None if numb else sample.motion)

    def audio(self, sounds: list[tuple[str, ...] | None]) -> tuple[Tensor, Tensor]:
        return self.audio_bank.draw(sounds)

    def sensor(self, felt: list[str | None]) -> tuple[Tensor, Tensor]:
        return self.sensor_bank.draw(felt)

    def pixels(self, pictures: list[int], augmented: bool) -> Tensor:
        """Pictures as the encoder reads them, [n, 3, 224, 224]."""
        x = self.pictures[torch.tensor(pictures, device=self.device)].permute(0, 3, 1, 2).float() / 255
        if augmented:
            index = torch.tensor(pictures, device=self.device)
            photographs = index < self.first_room
            rooms = (index >= self.first_room) & (index < self.first_check)
            # What is asked of a scene may be at its edge.
            x = augment(x, photographs, torch.where(photographs, 0.3, torch.where(rooms, 0.15, 0.05)))
        return ((x - MEAN) / STD).contiguous(memory_format=torch.channels_last)
