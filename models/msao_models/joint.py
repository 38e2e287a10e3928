"""Teaches exported captioners to answer questions and to hear and feel.

    torchrun --nproc-per-node 2 -m msao_models.joint --models ../testdata/models --flickr FLICKR8K --daquar DAQUAR \
        --sounds SOUNDS/sounds.npz --senses SENSES/senses.pt --out RUN

Full model, the trunk of the image encoder and the draft learn side by side, on photographs (with the captions that the
full model wrote before, and questions from Flickr8k's captions), on DAQUAR and on generated rig scenes:

- full model and trunk (unless `--keep-encoder`) by cross-entropy; on captions of photographs also by the divergence from
  the distributions of the models as they were, given all tokens, so that what self-critical training gave them is kept,
  and kept from fewer tokens;
- the draft by cross-entropy and by the divergence from the full model's distributions, on the same tokens.

Training lasts a given time, and the learning rate falls with the time that is left: a run fits the time there is, whatever the
machine. The matrices that will be stored in 4 bits are rounded to them at every step. The encoders of sounds and sensors
are trained before (`senses.py`) and frozen. `torchrun --nproc-per-node N` trains on N GPUs; the numbers of scenes,
windows and pictures are those of each.
"""

import argparse
import copy
import json
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from . import export, parallel
from .decoder import FOUR_BITS, PLACES, Captioner
from .encoder import Encoder, quantise
from .generate import MAX_CAPTION, SUPPRESSED, generate
from .material import Material, Sample
from .pieces import ANSWER, BOS, EOS, PAD
from .selection import spread
from .train import RoundedWeights, random_kept, step

QUESTION_WEIGHT = 2.0
# Of this share of windows the full model and the draft read those of the picture's tokens that a rig would send.
SENT = 0.3


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

    def autocast(self, learns: bool = True):
        """Casts of weights are kept until the outermost of these ends. Those made where nothing is learnt must not be: used
        again by a pass that learns they have no gradient (seen with PyTorch 2.8 on a CPU)."""
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=learns)

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

    def tokens(self, seen: Tensor, pictures: list[int], samples: list[Sample], augmented: bool) -> tuple[Tensor, Tensor]:
        """All tokens [N, 109, 256] of the samples' windows, and which are there; `seen` [P, 49, 256] are the tokens of the
        distinct `pictures`."""
        place = {picture: i for i, picture in enumerate(pictures)}
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

    @torch.no_grad()
    def sent(self, draft: Captioner, tokens: Tensor, there: Tensor, text: Tensor, read: Tensor, told: Tensor) -> Tensor:
        """`there` [N, 109] with the tokens of some pictures as a rig sends them: by the draft's attention from where
        the answer is told, in `told` [N, L]."""
        video = PLACES["video"]
        some = ((torch.rand(len(there), device=self.device) < SENT) & there[:, :video].any(1)).nonzero()[:, 0]
        all_of_it = there[some].clone()
        all_of_it[:, :video] = 1
        with self.autocast(learns=False):
            attention = draft.attention(tokens[some], all_of_it, text[some], read[some])
        attended = (attention.float() * (told[some] > 0)[:, :, None]).sum(1)[:, :video]
        share = torch.empty(len(some), device=self.device).uniform_(0.1, 0.75)
        there = there.clone()
        there[some, :video] = spread(attended, (share * video).ceil()).long()
        return there

    def as_before(self, samples: list[Sample], length: int) -> tuple[list[int], Tensor]:
        """Which samples are captions of photographs that are seen, and a mask [n, length] of the places in their text
        from which the caption's pieces, and its end where nothing follows it, are told."""
        chosen, rows = [], []
        for i, sample in enumerate(samples):
            own = self.material.own_captions.get(sample.picture)
            if own is None or not sample.caption or not sample.sees:
                continue
            start = len(self.prefix(sample, False)) - 1
            end = start + len(self.encode(own)[: MAX_CAPTION - 1]) + (sample.answer == own)
            chosen.append(i)
            rows.append([float(start <= place < end) for place in range(length)])
        return chosen, torch.tensor(rows, device=self.device).reshape(-1, length)

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
                pictures = list(dict.fromkeys(s.picture for s in some))
                seen = quantise(encoder(self.material.pixels(pictures, False)).float())
                tokens, kept = self.tokens(seen, pictures, some, False)
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


def divergence(logits: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Kullback-Leibler divergence of `logits` [N, L, V] from `wanted`, a mean by `weights` [N, L]."""
    logits, wanted = logits.float(), wanted.float()
    for x in (logits, wanted):
        x[:, :, SUPPRESSED] = -1e4
    each = F.kl_div(logits.log_softmax(-1), wanted.log_softmax(-1), log_target=True, reduction="none").sum(-1)
    return (each * weights).sum() / weights.sum().clamp(min=1)


def train(t: Trainer, encoder: Encoder, full: Captioner, draft: Captioner, seconds: float) -> None:
    seeing = [p for p in encoder.parameters() if p.requires_grad]
    old_encoder, old = copy.deepcopy(encoder).eval(), copy.deepcopy(full).eval()
    rounded = RoundedWeights(full, FOUR_BITS)
    stored = {id(p) for p in rounded.stored}
    new = [p for name in ("audio", "sensor") for p in full.projectors[name].parameters()]
    others = [p for p in (*full.decoder.parameters(), *full.projectors["video"].parameters()) if id(p) not in stored]
    settings = {"weight_decay": 0.05, "betas": (0.9, 0.98), "fused": True}
    optimizer = torch.optim.AdamW(groups((others + rounded.masters, 2.5e-4), (new, 1e-3), (seeing, 2.5e-4)), **settings)
    draft_optimizer = torch.optim.AdamW(groups((list(draft.parameters()), 1e-3)), **settings)
    rounded.load()
    clock, index = Clock(seconds, t.device), 0
    while clock.tick():
        encoder.train(bool(seeing)), full.train(), draft.train()
        for each in (optimizer, draft_optimizer):
            set_rates(each, clock.rate())
        pictures, samples = t.material.batch()
        pieces, written, weights = t.texts(samples)
        pixels = t.material.pixels(pictures, True)
        text, read = pieces[:, :-1], written[:, :-1]
        own, told = t.as_before(samples, text.shape[1])
        photographs = [samples[i].picture for i in own]
        with t.autocast():
            seen = quantise(encoder(pixels).float())
            tokens, kept = t.tokens(seen, pictures, samples, True)
            kept = t.sent(draft, tokens, kept, text, read, weights)
            logits = full(F.dropout(tokens, 0.1), kept, text, read)
            with torch.no_grad():
                places = torch.tensor([pictures.index(p) for p in photographs], dtype=torch.long, device=t.device)
                before = quantise(old_encoder(pixels[places]).float()) if seeing else seen[places]
                wanted = old(before, torch.ones_like(kept[own, : before.shape[1]]), text[own], read[own])
            guessed = draft(tokens.detach(), kept, text, read)
        loss = weighted(logits, pieces, weights) + divergence(logits[own], wanted, told)
        step(loss, optimizer, rounded)
        drafted = weighted(guessed, pieces, weights) + divergence(guessed, logits.detach(), weights)
        step(drafted, draft_optimizer)
        index += 1
        if index % 10 == 0 and not torch.isfinite(loss + drafted):
            raise SystemExit(f"step {index}: the loss is {loss.item():.3f}, the draft's {drafted.item():.3f}")
        if index % 100 == 0:
            t.log(f"{index}: {clock.over:.0%}, loss {loss.item():.3f}, draft {drafted.item():.3f}, {len(t.material.rigs)} scenes")
    t.log(f"{index} steps, {len(t.material.rigs)} scenes drawn in each process")


def weighted(logits: Tensor, pieces: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of the pieces that follow, a mean by weights."""
    losses = F.cross_entropy(logits.float().flatten(0, 1), pieces[:, 1:].flatten(), reduction="none").view_as(weights)
    return (losses * weights).sum() / weights.sum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="exported folders to start from")
    parser.add_argument("--flickr", type=Path, required=True)
    parser.add_argument("--daquar", type=Path, required=True)
    parser.add_argument("--sounds", type=Path, required=True)
    parser.add_argument("--senses", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--captions", type=Path, help="JSON of the full model's captions of training photographs; else it writes them")
    parser.add_argument("--scenes", type=int, default=40_000, help="generated scenes to train on")
    parser.add_argument("--windows", type=int, default=16_000, help="windows of sound, and of sensors, to train on")
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--pictures", type=int, nargs=3, default=[48, 32, 20], help="scenes, Flickr8k's and DAQUAR's in a step")
    parser.add_argument("--keep-encoder", action="store_true", help="leave the image encoder as it is, trunk and all")
    parser.add_argument("--validation", type=int, default=600, help="scenes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=13)
    arguments = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    # A training with cuDNN's attention (PyTorch 2.11, an H200) came to NaN within 100 steps, the next one, without, did not:
    # the cause was not isolated.
    torch.backends.cuda.enable_cudnn_sdp(False)

    material = Material(arguments)
    t = Trainer(arguments, material)
    torch.manual_seed(arguments.seed)
    encoder, full, draft = (m.to(t.device) for m in export.load(arguments.models))
    # All processes start from the same weights and see different samples.
    random.seed(arguments.seed + parallel.rank())
    torch.manual_seed(arguments.seed + parallel.rank())
    encoder = encoder.to(memory_format=torch.channels_last)
    for parameter in (encoder if arguments.keep_encoder else encoder.probe).parameters():
        parameter.requires_grad_(False)

    material.write_captions(lambda samples: t.answers(encoder, full, samples), arguments.captions)
    t.log("ready")
    train(t, encoder, full, draft, arguments.seconds)
    if not parallel.rank():
        arguments.out.mkdir(parents=True, exist_ok=True)
        encoder.store()
        state = {n: {k: v.half() for k, v in m.state_dict().items()} for n, m in (("encoder", encoder), ("full", full), ("draft", draft))}
        torch.save(state, arguments.out / "checkpoint.pt")
        t.log("saved")
        scores = {name: t.report(name, encoder, model) for name, model in (("full", full), ("draft", draft))} if arguments.validation else {}
        record = {"arguments": {k: str(v) for k, v in vars(arguments).items()}, "processes": parallel.world(), "validation": scores}
        (arguments.out / "training.json").write_text(json.dumps(record, indent=1))
    parallel.stop()


if __name__ == "__main__":
    main()
