"""Teaches exported captioners to answer questions and to hear and feel, in three stages.

    torchrun --nproc-per-node 2 -m msao_models.joint --models ../testdata/models --flickr FLICKR8K --daquar DAQUAR --sounds SOUNDS/sounds.npz \
        --senses SENSES/senses.pt --out RUN

1. Cross-entropy: full model and the trunk of the image encoder, on photographs (the full model's own captions, so that
   what self-critical training gave is kept; questions from captions; DAQUAR) and on generated rig scenes.
2. The same with the full model's weights rounded to 4 bits and the encoder frozen, beside self-critical steps on plain
   captions.
3. The draft learns answers, and the full model's captions and distributions.

Each stage lasts a given time, and its learning rate falls with the time that is left: a run fits a lease, whatever the
machine. The encoders of sounds and sensors are trained before (`senses.py`) and frozen. `torchrun --nproc-per-node N`
trains on N GPUs; the numbers of scenes, windows and pictures are those of each.
"""

import argparse
import json
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from . import export, parallel
from .decoder import ALL_PLACES, PLACES, Captioner
from .encoder import Encoder, quantise
from .generate import MAX_CAPTION, SUPPRESSED, generate
from .material import Material, Sample
from .pieces import ANSWER, BOS, EOS, PAD
from .train import Ema, RoundedWeights, augment, random_kept, step

QUESTION_WEIGHT = 2.0


class Clock:
    """How much of a stage's time is over, 0 to 1: `over` as of the last `tick`, the same in all processes."""

    def __init__(self, seconds: float, device: torch.device):
        self.start, self.seconds, self.device, self.over = time.time(), seconds, device, 0.0

    def tick(self) -> bool:
        """Whether there is time left."""
        self.over = parallel.agree((time.time() - self.start) / self.seconds, self.device)
        return self.over < 1

    def rate(self) -> float:
        """One cycle: a short rise, then a cosine-like fall to nearly nothing."""
        return min(self.over / 0.04, 1.0) * max(0.02, (1 - self.over) ** 1.2)


class Trainer:
    def __init__(self, arguments: argparse.Namespace, material: Material):
        self.material, self.device = material, material.device
        self.start = time.time()
        self.ids: dict[str, list[int]] = {}

    def log(self, *words) -> None:
        if parallel.rank() == 0:
            print(f"[{time.time() - self.start:5.0f} s]", *words, flush=True)

    def autocast(self):
        return torch.autocast(self.device.type, torch.bfloat16)

    def encode(self, text: str) -> list[int]:
        if text not in self.ids:
            self.ids[text] = self.material.tokenizer.encode(text).ids if text else []
        return self.ids[text]

    def prefix(self, sample: Sample, varied: bool) -> list[int]:
        """`<s>` prompt `<a>`; in training a question may lack its capital or its question mark."""
        prompt = sample.prompt
        if varied and random.random() < 0.3:
            prompt = prompt.lower().rstrip("?")
        return [BOS, *self.encode(prompt), ANSWER]

    def texts(self, samples: list[Sample]) -> tuple[Tensor, Tensor, Tensor]:
        """Pieces [N, L] padded on the right, a mask of what is written, and the weights of the loss [N, L - 1]."""
        rows, weights = [], []
        for sample in samples:
            prefix, answer = self.prefix(sample, True), self.encode(sample.answer)[: MAX_CAPTION - 1] + [EOS]
            rows.append(prefix + answer)
            weights.append([0.0] * (len(prefix) - 1) + [1.0 if sample.caption else QUESTION_WEIGHT] * len(answer))
        length = max(map(len, rows))
        pad = lambda row, width: row + [0] * (width - len(row))
        pieces = torch.tensor([pad(row, length) for row in rows], device=self.device)
        written = torch.tensor([pad([1] * len(row), length) for row in rows], device=self.device)
        return pieces, written, torch.tensor([pad(row, length - 1) for row in weights], device=self.device)

    def tokens(self, encoder: Encoder, pictures: list[int], samples: list[Sample], augmented: bool) -> tuple[Tensor, Tensor]:
        """All tokens [N, 109, 256] of the samples' windows, and which are there; `pictures` are the distinct ones."""
        pixels = self.material.pixels(pictures, augmented)
        place = {picture: i for i, picture in enumerate(pictures)}
        seen = quantise(encoder(pixels).float())
        seen = seen[torch.tensor([place[s.picture] for s in samples], device=self.device)]
        heard, hears = self.material.audio([s.sounds for s in samples])
        felt, feels = self.material.sensor([s.motion for s in samples])
        n = len(samples)
        looks = torch.tensor([s.sees for s in samples], device=self.device)
        if augmented:
            # A window without a picture has audio or sensors; dropping leaves at least one token of what is there.
            kept = [random_kept(n, self.device), random_share(n, PLACES["audio"], self.device), random_share(n, PLACES["sensor"], self.device)]
        else:
            kept = [torch.ones(n, places, dtype=torch.long, device=self.device) for places in PLACES.values()]
        there = torch.cat([k * m[:, None].long() for k, m in zip(kept, (looks, hears, feels))], 1)
        return torch.cat([seen, heard, felt], 1), there

    def loss(self, encoder: Encoder, model: Captioner, pictures: list[int], samples: list[Sample], tuned: bool) -> Tensor:
        pieces, written, weights = self.texts(samples)
        with self.autocast():
            with torch.set_grad_enabled(tuned):
                tokens, kept = self.tokens(encoder, pictures, samples, True)
                tokens = F.dropout(tokens, 0.1)
            logits = model(tokens, kept, pieces[:, :-1], written[:, :-1])
        losses = F.cross_entropy(logits.float().flatten(0, 1), pieces[:, 1:].flatten(), reduction="none").view_as(weights)
        return (losses * weights).sum() / weights.sum()

    @torch.no_grad()
    def answers(self, encoder: Encoder, model: Captioner, samples: list[Sample], batch: int = 400) -> list[str]:
        encoder.eval(), model.eval()
        result = []
        for first in range(0, len(samples), batch):
            some = samples[first : first + batch]
            prefixes = [self.prefix(s, False) for s in some]
            longest = max(map(len, prefixes))
            prefix = torch.tensor([[PAD] * (longest - len(p)) + p for p in prefixes], device=self.device)
            with self.autocast():
                tokens, kept = self.tokens(encoder, list(dict.fromkeys(s.picture for s in some)), some, False)
                pieces = generate(model, tokens, kept, prefix)
            decoded = self.material.tokenizer.decode_batch(pieces.tolist(), skip_special_tokens=True)
            result += [text.strip() for text in decoded]
        return result

    def report(self, name: str, encoder: Encoder, model: Captioner) -> dict[str, float]:
        """Accuracy by kind on validation questions, and CIDEr-D of plain captions of validation photographs."""
        scores = {}
        questions, captions = self.material.validation_questions, self.material.validation_captions
        right: dict[str, list[bool]] = {}
        for sample, answer in zip(questions, self.answers(encoder, model, questions)):
            right.setdefault(sample.kind, []).append(sample.right(answer))
        scores = {kind: sum(r) / len(r) for kind, r in sorted(right.items())}
        rigs = [r for kind, rs in right.items() if kind.startswith("scene") for r in rs]
        scores["scenes, all"] = sum(rigs) / max(len(rigs), 1)
        texts = self.answers(encoder, model, captions)
        rewards_ = [self.material.validation_reward.one(t, True, s.name) for t, s in zip(texts, captions)]
        scores["CIDEr-D"] = sum(rewards_) / len(rewards_)
        self.log(f"{name}:", ", ".join(f"{kind} {score:.3f}" for kind, score in scores.items()))
        return scores


def random_share(n: int, places: int, device: torch.device) -> Tensor:
    """Masks [n, places]: all for half of the windows, else a random share from 15 %; at least one."""
    share = torch.where(torch.rand(n, 1, device=device) < 0.5, 1.0, torch.empty(n, 1, device=device).uniform_(0.15, 1))
    kept = torch.rand(n, places, device=device) < share
    kept[torch.arange(n, device=device), torch.randint(0, places, (n,), device=device)] = True
    return kept.long()


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["initial"] * factor


def groups(*pairs: tuple[list, float]) -> list[dict]:
    return [{"params": params, "lr": rate, "initial": rate} for params, rate in pairs]


def cross_entropy(t: Trainer, encoder: Encoder, model: Captioner, seconds: float) -> None:
    new = [p for name in ("audio", "sensor") for p in model.projectors[name].parameters()]
    old = [*model.decoder.parameters(), *model.projectors["video"].parameters()]
    optimizer = torch.optim.AdamW(
        groups((old, 2e-4), (new, 1e-3), (list(encoder.trunk.parameters()), 2e-4)), weight_decay=0.05, betas=(0.9, 0.98)
    )
    averages = [Ema(encoder, 0.995), Ema(model, 0.995)]
    clock, index = Clock(seconds, t.device), 0
    while clock.tick():
        encoder.train(), model.train()
        set_rates(optimizer, clock.rate())
        loss = t.loss(encoder, model, *t.material.batch(), tuned=True)
        step(loss, optimizer)
        for average in averages:
            average.update()
        index += 1
        if index % 100 == 0:
            t.log(f"cross-entropy {index}: {clock.over:.0%}, loss {loss.item():.3f}")
    t.log(f"cross-entropy: {index} steps")
    for module, average in zip((encoder, model), averages):
        module.load_state_dict(average.average.state_dict())


def rounded(t: Trainer, encoder: Encoder, model: Captioner, seconds: float, rate: float, pictures: int = 48, samples: int = 5) -> None:
    """Weights of 4 bits; each step joins cross-entropy on everything with a self-critical loss on plain captions."""
    weights = RoundedWeights(model)
    stored = {id(p) for p in weights.stored}
    trained = [p for p in model.parameters() if id(p) not in stored] + weights.masters
    optimizer = torch.optim.AdamW(groups((trained, rate)), weight_decay=0.01)
    weights.load()
    encoder.eval()
    clock, index = Clock(seconds, t.device), 0
    while clock.tick():
        set_rates(optimizer, clock.rate())
        photographs = t.material.captioned(pictures)
        indices = [s.picture for s in photographs]
        prefix = t.prefix(photographs[0], False)
        model.eval()
        with torch.no_grad(), t.autocast():
            tokens = quantise(F.dropout(encoder(t.material.pixels(indices, True)).float(), 0.1))
            kept = random_kept(pictures, t.device, full=0.7)
            drawn = generate(model, tokens, kept, prefix, samples, longest=26)
        names = [s.name for s in photographs for _ in range(samples)]
        texts = [x.strip() for x in t.material.tokenizer.decode_batch(drawn.tolist(), skip_special_tokens=True)]
        reward = t.material.reward(texts, (drawn == EOS).any(1).tolist(), names)
        reward = torch.tensor(reward, device=t.device).view(pictures, samples)
        advantage = (reward - (reward.sum(1, keepdim=True) - reward) / (samples - 1)).view(-1, 1)
        model.train()
        text = torch.cat([torch.tensor(prefix, device=t.device).expand(drawn.shape[0], -1), drawn], 1)
        with t.autocast():
            logits = model(tokens.repeat_interleave(samples, 0), kept.repeat_interleave(samples, 0), text[:, :-1])
        logits = logits[:, len(prefix) - 1 :].float()
        logits[:, :, SUPPRESSED] = -1e4
        logprob = logits.log_softmax(-1).gather(2, drawn[:, :, None])[:, :, 0]
        mask = (drawn != PAD).float()
        critical = -(advantage * logprob * mask).sum() / mask.sum()
        step(critical + t.loss(encoder, model, *t.material.batch(), tuned=False), optimizer, weights)
        index += 1
        if index % 50 == 0:
            t.log(f"rounded {index}: {clock.over:.0%}, reward {reward.mean().item():.3f}")
    t.log(f"rounded: {index} steps")


def distil(t: Trainer, encoder: Encoder, teacher: Captioner, draft: Captioner, seconds: float, rate: float, pictures: int = 160) -> None:
    """Answers and the teacher's distributions of them; plain captions as the teacher writes them."""
    optimizer = torch.optim.AdamW(groups((list(draft.parameters()), rate)), weight_decay=0.05, betas=(0.9, 0.98))
    average = Ema(draft, 0.995)
    encoder.eval(), teacher.eval()
    clock, index = Clock(seconds, t.device), 0
    while clock.tick():
        set_rates(optimizer, clock.rate())
        draft.train()
        # Writing takes the teacher longer than reading: what it wrote serves a few steps.
        if index % 4 == 0:
            photographs = t.material.captioned(pictures)
            prefix = t.prefix(photographs[0], False)
            with torch.no_grad(), t.autocast():
                seen = quantise(encoder(t.material.pixels([s.picture for s in photographs], True)).float())
                shown = random_kept(pictures, t.device)
                target = generate(teacher, seen, shown, prefix, longest=26)
            text = torch.cat([torch.tensor(prefix, device=t.device).expand(pictures, -1), target], 1)
        losses = divergence(t, teacher, draft, seen, shown, text, None, (text[:, 1:] != PAD).float() * after(prefix, text))
        distinct, samples = t.material.batch()
        pieces, written, weights = t.texts(samples)
        with torch.no_grad(), t.autocast():
            tokens, kept = t.tokens(encoder, distinct, samples, True)
        losses = losses + divergence(t, teacher, draft, tokens, kept, pieces, written, weights)
        step(losses, optimizer)
        average.update()
        index += 1
        if index % 100 == 0:
            t.log(f"draft {index}: {clock.over:.0%}, loss {losses.item():.3f}")
    t.log(f"draft: {index} steps")
    draft.load_state_dict(average.average.state_dict())


def after(prefix: list[int], text: Tensor) -> Tensor:
    """Mask [1, L - 1] of the pieces that follow the prefix."""
    return (torch.arange(1, text.shape[1], device=text.device) >= len(prefix)).float()[None]


def divergence(t: Trainer, teacher: Captioner, draft: Captioner, tokens: Tensor, kept: Tensor, text: Tensor, written: Tensor | None, weights: Tensor) -> Tensor:
    """KL from the teacher, and cross-entropy of the text itself, at the weighted pieces."""
    read = None if written is None else written[:, :-1]
    with t.autocast():
        with torch.no_grad():
            wanted = teacher(tokens, kept, text[:, :-1], read).float()
        logits = draft(tokens, kept, text[:, :-1], read).float()
    for x in (wanted, logits):
        x[:, :, SUPPRESSED] = -1e4
    logprobs = logits.log_softmax(-1)
    kl = F.kl_div(logprobs, wanted.log_softmax(-1), log_target=True, reduction="none").sum(-1)
    hard = F.nll_loss(logprobs.flatten(0, 1), text[:, 1:].flatten(), reduction="none").view_as(kl)
    return ((kl + hard) * weights).sum() / weights.sum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="exported folders to start from")
    parser.add_argument("--flickr", type=Path, required=True)
    parser.add_argument("--daquar", type=Path, required=True)
    parser.add_argument("--sounds", type=Path, required=True)
    parser.add_argument("--senses", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=80_000, help="generated scenes to train on")
    parser.add_argument("--windows", type=int, default=24_000, help="windows of sound, and of sensors, to train on")
    parser.add_argument("--seconds", type=float, nargs=3, default=[450, 250, 220], help="of each stage")
    parser.add_argument("--pictures", type=int, nargs=3, default=[96, 56, 40], help="scenes, Flickr8k's and DAQUAR's in a step")
    parser.add_argument("--validation", type=int, default=600, help="scenes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=16)
    arguments = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True

    material = Material(arguments)
    t = Trainer(arguments, material)
    torch.manual_seed(arguments.seed)
    encoder, full, draft = (m.to(t.device) for m in export.load(arguments.models))
    # All processes start from the same weights and see different samples.
    random.seed(arguments.seed + parallel.rank())
    torch.manual_seed(arguments.seed + parallel.rank())
    encoder = encoder.to(memory_format=torch.channels_last)
    for parameter in encoder.probe.parameters():
        parameter.requires_grad_(False)

    def keep(name: str, model: Captioner) -> None:
        """Reports, and saves all weights as they are."""
        if parallel.rank():
            return
        scores[name] = t.report(name, encoder, model)
        arguments.out.mkdir(parents=True, exist_ok=True)
        state = {n: {k: v.half() for k, v in m.state_dict().items()} for n, m in (("encoder", encoder), ("full", full), ("draft", draft))}
        torch.save(state, arguments.out / "checkpoint.pt")
        record = {"arguments": {k: str(v) for k, v in vars(arguments).items()}, "processes": parallel.world(), "validation": scores}
        (arguments.out / "training.json").write_text(json.dumps(record, indent=1))

    scores: dict[str, dict[str, float]] = {}
    material.write_captions(lambda samples: t.answers(encoder, full, samples))
    t.log("photographs captioned")
    cross_entropy(t, encoder, full, arguments.seconds[0])
    encoder.store()
    keep("full, unrounded", full)
    rounded(t, encoder, full, arguments.seconds[1], 5e-5)
    keep("full", full)
    distil(t, encoder, full, draft, arguments.seconds[2], 1e-3)
    keep("draft", draft)
    parallel.stop()


if __name__ == "__main__":
    main()
