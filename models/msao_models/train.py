"""Trains encoder, full model and draft on Flickr8k, in four stages.

    python -m msao_models.train --data FLICKR8K --prepared PREPARED --encoder efficientnet-lite2.pth --out RUN

1. Cross-entropy on all five captions of a picture: encoder and full model.
2. Self-critical training (Rennie et al., 2017) of the full model on CIDEr-D and BLEU-4, the mean of the other
   samples as baseline (Luo, 2020).
3. The same with the full model's weights rounded to the 4 bits that ship.
4. The draft learns the full model's greedy captions and distributions, on the same subset of image tokens.
"""

import argparse
import copy
import json
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from . import data, parallel, rewards
from .decoder import Captioner, Shape, draft_shape
from .encoder import GRID, MEAN, STD, Encoder, quantise
from .generate import MAX_CAPTION, SUPPRESSED, generate
from .pieces import ANSWER, BOS, EOS, PAD, PROMPT
from .prepare import load_trimmed


def augment(pixels: Tensor, free: Tensor | None = None, cut: Tensor | float = 0.3) -> Tensor:
    """Random crop, flip and brightness; `pixels` are [N, 3, H, W] in 0..1. At most `cut` [N] of the sides is cut off.
    Where `free` [N] is false nothing is flipped: what is asked of such a picture depends on its sides."""
    n, device = pixels.shape[0], pixels.device
    free = torch.ones(n, dtype=torch.bool, device=device) if free is None else free
    scale = 1 - torch.rand(n, device=device) * cut
    shift = (torch.rand(n, 2, device=device) * 2 - 1) * (1 - scale)[:, None]
    flip = torch.where(free & (torch.rand(n, device=device) < 0.5), -1.0, 1.0)
    theta = torch.zeros(n, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale * flip, scale, shift
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    pixels = F.grid_sample(pixels, grid, align_corners=False, padding_mode="reflection")
    return (pixels * torch.empty(n, 1, 1, 1, device=device).uniform_(0.75, 1.25)).clamp(0, 1)


def random_kept(n: int, device: torch.device, full: float = 0.5) -> Tensor:
    """Masks [n, 49] of image tokens: all; a random share; or a rectangle and a few others, as motion leaves them."""
    kept = torch.rand(n, GRID * GRID, device=device) < torch.empty(n, 1, device=device).uniform_(0.15, 1)
    lines = torch.arange(GRID, device=device)
    low = torch.randint(0, GRID - 1, (n, 2, 1), device=device)
    inside = (lines >= low) & (lines <= low + torch.randint(1, GRID, (n, 2, 1), device=device))
    rectangle = (inside[:, 0, :, None] & inside[:, 1, None, :]).flatten(1)
    rectangle = rectangle | (torch.rand(n, GRID * GRID, device=device) < 0.15)
    kind = torch.rand(n, 1, device=device)
    kept = torch.where(kind < full, True, torch.where(kind < (1 + full) / 2, kept, rectangle))
    kept[torch.arange(n, device=device), torch.randint(0, GRID * GRID, (n,), device=device)] = True
    return kept.long()


class Ema:
    """An exponential moving average of a module's weights, which is what is validated and kept."""

    def __init__(self, module: nn.Module, decay: float):
        self.module, self.decay, self.average = module, decay, copy.deepcopy(module).eval()

    @torch.no_grad()
    def update(self) -> None:
        ours, theirs = list(self.average.parameters()), list(self.module.parameters())
        torch._foreach_lerp_(ours, theirs, 1 - self.decay)


class Training:
    """Data, tokenizer and the clock that all stages share."""

    def __init__(self, arguments: argparse.Namespace):
        self.start, self.out = time.time(), arguments.out
        self.flickr = data.load(arguments.data)
        self.reward = rewards.Pool(
            rewards.Rewards({n: self.flickr.captions[n] for n in self.flickr.train}, arguments.bleu_weight),
            arguments.workers,
        )
        self.validation_reward = rewards.Rewards({n: self.flickr.captions[n] for n in self.flickr.validation}, 0.0)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer = Tokenizer.from_file(str(arguments.prepared / "tokenizer.json"))
        prompt = self.tokenizer.encode(PROMPT).ids
        self.prefix, self.empty_prefix = [BOS, *prompt, ANSWER], [BOS, ANSWER]
        names = self.flickr.names
        self.pictures = torch.from_numpy(data.pictures(arguments.data, names)).to(self.device)
        self.captions = torch.full((len(names), 5, MAX_CAPTION), PAD)
        for i, name in enumerate(names):
            for j, caption in enumerate(self.flickr.captions[name][:5]):
                ids = self.tokenizer.encode(caption).ids[: MAX_CAPTION - 1] + [EOS]
                self.captions[i, j, : len(ids)] = torch.tensor(ids)
        self.captions = self.captions.to(self.device)
        first = data.TEST + data.VALIDATION
        self.train, self.validation = range(first, len(names)), range(data.TEST, first)
        self.log("data ready")

    def log(self, *words) -> None:
        print(f"[{time.time() - self.start:5.0f} s]", *words, flush=True)

    def autocast(self):
        return torch.autocast(self.device.type, torch.bfloat16)

    def pixels(self, indices: Tensor | list[int], augmented: bool) -> Tensor:
        x = self.pictures[indices].permute(0, 3, 1, 2).float() / 255
        x = augment(x) if augmented else x
        return ((x - MEAN) / STD).contiguous(memory_format=torch.channels_last)

    def pick_prefix(self) -> list[int]:
        return self.prefix if random.random() < 0.8 else self.empty_prefix

    def text(self, pieces: Tensor) -> list[str]:
        return [t.strip() for t in self.tokenizer.decode_batch(pieces.tolist(), skip_special_tokens=True)]

    @torch.no_grad()
    def captions_of(self, encoder: Encoder, model: Captioner, indices: range) -> Tensor:
        encoder.eval(), model.eval()
        results = []
        for start in range(indices.start, indices.stop, 250):
            batch = list(range(start, min(start + 250, indices.stop)))
            with self.autocast():
                tokens = quantise(encoder(self.pixels(batch, False)).float())
                kept = torch.ones(tokens.shape[:2], dtype=torch.long, device=self.device)
                results.append(generate(model, tokens, kept, self.prefix))
        return torch.cat(results)

    def validate(self, encoder: Encoder, model: Captioner) -> float:
        """CIDEr-D of greedy captions of the validation pictures (with the end as a word, as in the reward)."""
        texts = self.text(self.captions_of(encoder, model, self.validation))
        scores = [self.validation_reward.one(t, True, n) for t, n in zip(texts, self.flickr.validation)]
        return float(np.mean(scores))


def four_bits(weight: Tensor) -> Tensor:
    """[rows, columns] rounded as MatMulNBits stores it: blocks of 32 columns, the largest of each becoming -8."""
    blocks = weight.view(weight.shape[0], -1, 32)
    scale = blocks.gather(2, blocks.abs().argmax(2, keepdim=True)) / -8
    scale = torch.where(scale == 0, 1.0, scale)
    return ((blocks / scale).round().clamp(-8, 7) * scale).view_as(weight)


class RoundedWeights:
    """Trains a model as it will be stored: the matrices of its layers are rounded to 4 bits before each step, and the
    gradient there moves the unrounded ones (a straight-through estimator)."""

    def __init__(self, model: Captioner, names: tuple[str, ...] = ("q", "k", "v", "o", "gate", "up", "down")):
        self.stored = [getattr(layer, name).weight for layer in model.decoder.layers for name in names]
        self.masters = [nn.Parameter(p.detach().clone()) for p in self.stored]

    @torch.no_grad()
    def load(self) -> None:
        for stored, master in zip(self.stored, self.masters):
            stored.copy_(four_bits(master))
            stored.grad = None

    def pass_gradients(self) -> None:
        for stored, master in zip(self.stored, self.masters):
            master.grad = stored.grad


def step(loss: Tensor, optimizer: torch.optim.Optimizer, rounded: RoundedWeights | None = None) -> None:
    optimizer.zero_grad()
    loss.backward()
    if rounded:
        rounded.pass_gradients()
    parameters = [p for g in optimizer.param_groups for p in g["params"]]
    parallel.average(parameters)
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    if rounded:
        rounded.load()


def one_cycle(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    rates = [group["lr"] for group in optimizer.param_groups]
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, steps, pct_start=0.08)


def shuffled(indices: range, batch: int):
    order = random.sample(indices, len(indices))
    return (order[i : i + batch] for i in range(0, len(order) - batch + 1, batch))


def cross_entropy(t: Training, encoder: Encoder, model: Captioner, epochs: int, pictures: int = 48) -> None:
    optimizer = torch.optim.AdamW(
        [
            {"params": model.decoder.parameters(), "lr": 2.5e-4},
            {"params": [*model.projector.parameters(), *encoder.trunk.token.parameters()], "lr": 1e-3},
            {"params": [p for n, p in encoder.named_parameters() if "trunk.token." not in n], "lr": 2e-4},
        ],
        weight_decay=0.05,
        betas=(0.9, 0.98),
    )
    schedule = one_cycle(optimizer, epochs * (len(t.train) // pictures))
    averages = [Ema(encoder, 0.99), Ema(model, 0.99)]
    best, kept_state = -1.0, None
    for epoch in range(epochs):
        encoder.train(), model.train()
        for indices in shuffled(t.train, pictures):
            prefix = torch.tensor(t.pick_prefix(), device=t.device)
            captions = t.captions[indices].flatten(0, 1)
            text = torch.cat([prefix.expand(captions.shape[0], -1), captions], 1)
            with t.autocast():
                tokens = quantise(F.dropout(encoder(t.pixels(indices, True)).float(), 0.1))
                tokens = tokens.repeat_interleave(5, 0)
                logits = model(tokens, random_kept(len(captions), t.device), text[:, :-1])[:, len(prefix) - 1 :]
            loss = F.cross_entropy(logits.float().flatten(0, 1), captions.flatten(), ignore_index=PAD, label_smoothing=0.1)
            step(loss, optimizer)
            schedule.step()
            for average in averages:
                average.update()
        score = t.validate(averages[0].average, averages[1].average)
        t.log(f"cross-entropy epoch {epoch + 1}: loss {loss.item():.3f}, validation CIDEr-D {score:.4f}")
        if score > best:
            best, kept_state = score, [copy.deepcopy(a.average.state_dict()) for a in averages]
    encoder.load_state_dict(kept_state[0])
    model.load_state_dict(kept_state[1])


def self_critical(
    t: Training, encoder: Encoder, model: Captioner, steps: int, tune_encoder: bool, rate: float, pictures: int,
    rounded: RoundedWeights | None = None, samples: int = 5,
) -> None:
    """With `rounded`, what is trained, validated and kept has weights of 4 bits."""
    trained = list(model.parameters())
    if rounded:
        stored = {id(p) for p in rounded.stored}
        trained = [p for p in trained if id(p) not in stored] + rounded.masters
    groups = [{"params": trained, "lr": rate}]
    if tune_encoder:
        groups.append({"params": list(encoder.trunk.parameters()), "lr": rate / 2})
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1, (s + 1) / 30) * (1 - 0.9 * s / steps))
    emas = [] if rounded else [Ema(encoder, 0.98), Ema(model, 0.98)]
    validated = [ema.average for ema in emas] or [encoder, model]
    if rounded:
        rounded.load()
    best = t.validate(encoder, model)
    kept_state = [copy.deepcopy(m.state_dict()) for m in (encoder, model)]
    t.log(f"self-critical begins: validation CIDEr-D {best:.4f}")
    for index in range(steps):
        indices = random.sample(t.train, pictures)
        prefix = t.pick_prefix()
        encoder.eval(), model.eval()
        with t.autocast():
            with torch.set_grad_enabled(tune_encoder):
                tokens = quantise(F.dropout(encoder(t.pixels(indices, True)).float(), 0.1))
            kept = random_kept(pictures, t.device, full=0.7)
            drawn = generate(model, tokens.detach(), kept, prefix, samples)
        names = [t.flickr.names[i] for i in indices for _ in range(samples)]
        reward = t.reward(t.text(drawn), (drawn == EOS).any(1).tolist(), names)
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
        step(-(advantage * logprob * mask).sum() / mask.sum(), optimizer, rounded)
        schedule.step()
        for ema in emas:
            ema.update()
        if index % 50 == 49 or index == steps - 1:
            score = t.validate(*validated)
            t.log(f"self-critical {index + 1}: reward {reward.mean().item():.3f}, validation CIDEr-D {score:.4f}")
            if score > best:
                best, kept_state = score, [copy.deepcopy(m.state_dict()) for m in validated]
    encoder.load_state_dict(kept_state[0])
    model.load_state_dict(kept_state[1])


def distil(t: Training, encoder: Encoder, teacher: Captioner, draft: Captioner, steps: int, rate: float, pictures: int = 192) -> None:
    optimizer = torch.optim.AdamW(draft.parameters(), lr=rate, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = one_cycle(optimizer, steps)
    average = Ema(draft, 0.99)
    encoder.eval(), teacher.eval()
    for index in range(steps):
        indices = random.sample(t.train, pictures)
        prefix = t.pick_prefix()
        kept = random_kept(pictures, t.device)
        with torch.no_grad(), t.autocast():
            tokens = quantise(encoder(t.pixels(indices, True)).float())
            target = generate(teacher, tokens, kept, prefix)
            text = torch.cat([torch.tensor(prefix, device=t.device).expand(pictures, -1), target], 1)[:, :-1]
            wanted = teacher(tokens, kept, text)[:, len(prefix) - 1 :].float()
            wanted[:, :, SUPPRESSED] = -1e4
        draft.train()
        with t.autocast():
            logits = draft(tokens, kept, text)[:, len(prefix) - 1 :].float()
        logits[:, :, SUPPRESSED] = -1e4
        mask = (target != PAD).float()
        divergence = F.kl_div(logits.log_softmax(-1), wanted.log_softmax(-1), log_target=True, reduction="none").sum(-1)
        hard = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PAD)
        step((divergence * mask).sum() / mask.sum() + hard, optimizer)
        schedule.step()
        average.update()
        if index % 200 == 199 or index == steps - 1:
            ours, theirs = (t.captions_of(encoder, m, t.validation) for m in (average.average, teacher))
            whole = (ours == theirs).all(1).float().mean().item()
            score = t.validate(encoder, average.average)
            t.log(f"draft {index + 1}: validation CIDEr-D {score:.4f}, same caption as the full model {whole:.3f}")
    draft.load_state_dict(average.average.state_dict())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--prepared", type=Path, required=True)
    parser.add_argument("--encoder", required=True, help="checkpoint of EfficientNet-Lite")
    parser.add_argument("--encoder-name", default="efficientnet-lite2")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--self-critical", type=int, default=1000, help="steps")
    parser.add_argument("--tune-encoder", action="store_true", help="train the trunk in the self-critical stage too")
    parser.add_argument("--bleu-weight", type=float, default=1.0)
    parser.add_argument("--distil", type=int, default=1000, help="steps")
    parser.add_argument("--distil-rate", type=float, default=1.5e-3)
    parser.add_argument("--rounded", type=int, default=150, help="self-critical steps with weights of 4 bits")
    parser.add_argument("--resume", type=Path, help="a checkpoint after the second stage")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2e-5, help="learning rate of the self-critical stage")
    parser.add_argument("--pictures", type=int, default=64, help="a self-critical step")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    torch.manual_seed(arguments.seed)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True

    t = Training(arguments)
    vocabulary = t.tokenizer.get_vocab_size()
    encoder = Encoder(arguments.encoder, arguments.encoder_name).to(t.device, memory_format=torch.channels_last)
    initial = load_trimmed(arguments.prepared / "smollm2.npz")
    layers = 1 + max(int(name.split(".")[1]) for name in initial if name.startswith("layers."))
    full = Captioner(Shape(vocabulary, layers)).to(t.device)
    full.decoder.load_state_dict(initial)
    draft = Captioner(draft_shape(vocabulary)).to(t.device)
    t.log(f"full {full.parameter_count / 1e6:.1f} M, draft {draft.parameter_count / 1e6:.2f} M parameters")

    def save() -> None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        models = {"encoder": encoder, "full": full, "draft": draft}
        torch.save({name: m.state_dict() for name, m in models.items()}, arguments.out / "checkpoint.pt")

    if arguments.resume:
        encoder.fold()
        state = torch.load(arguments.resume, map_location=t.device, weights_only=True)
        for name, module in (("encoder", encoder), ("full", full), ("draft", draft)):
            module.load_state_dict(state[name])
    else:
        cross_entropy(t, encoder, full, arguments.epochs)
        save()
        tuned = arguments.tune_encoder
        self_critical(t, encoder, full, arguments.self_critical, tuned, arguments.rate, arguments.pictures)
        encoder.fold()
        save()
    rounded = RoundedWeights(full)
    self_critical(t, encoder, full, arguments.rounded, False, arguments.rate, arguments.pictures, rounded)
    save()
    distil(t, encoder, full, draft, arguments.distil, arguments.distil_rate)
    save()
    scores = {
        name: t.validate(encoder, model) for name, model in (("full", full), ("draft", draft))
    }
    (arguments.out / "training.json").write_text(
        json.dumps({**{k: str(v) for k, v in vars(arguments).items() if k not in ("data", "prepared", "out")}, "validation_cider_d": scores}, indent=1)
    )
    t.log("done", scores)


if __name__ == "__main__":
    main()
