"""Scores what `mllm/examples/evaluate` wrote, as Markdown tables: answers by kind, captions (BLEU-4 and CIDEr-D of
pycocoevalcap, which is needed only if there are captions), verified captions and how much of the drafts was accepted,
what is lost if the draft's answers stand from a confidence on, or with fewer tokens for each way to choose them, and whether β finds the modality that a question is about.

    python -m msao_models.score answers.jsonl [--calibrate MODEL_FOLDER]

`--calibrate` writes the smallest of the margins whose CIDEr-D is within 1 % of the full model alone into the folder's
config.json: give it captions of validation pictures.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

from .questions import same

LOSS = 0.01
MODALITIES = ("video", "audio", "sensor")
SURE = (0.5, 0.8, 0.9, 0.95, 0.98)
CAPTION = "caption"


def table(header: list[str], rows: list[list[str]]) -> None:
    print("| " + " | ".join(header) + " |\n|" + " --- |" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def captions(lines: list[dict], text) -> tuple[float, float]:
    """BLEU-4 and CIDEr-D of `text` of each line, both as fractions of 1."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider

    found = {line["id"]: [text(line)] for line in lines}
    wanted = {line["id"]: line["right"] for line in lines}
    bleu, _ = Bleu(4).compute_score(wanted, found, verbose=0)
    cider, _ = Cider().compute_score(wanted, found)
    return bleu[3], float(cider)


def accuracy(lines: list[dict], text) -> float:
    return sum(any(same(text(line), answer) for answer in line["right"]) for line in lines) / len(lines)


def draft(line: dict) -> str:
    return line["draft"]


def full(line: dict) -> str:
    return line["full"]


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def split(lines: list[dict]) -> tuple[list[dict], list[dict]]:
    """Questions, captions."""
    return [l for l in lines if l["kind"] != CAPTION], [l for l in lines if l["kind"] == CAPTION]


def by(lines: list[dict], key) -> dict:
    groups = defaultdict(list)
    for line in lines:
        groups[key(line)].append(line)
    return dict(sorted(groups.items()))


def way(line: dict) -> str:
    """A way to choose tokens, in words."""
    if line["choose"] != "mas":
        return line["choose"]
    return f"mas, beta {'on' if line['beta'] else 'off'}"


def answers_by_kind(lines: list[dict]) -> None:
    print("## Answers, all tokens\n")
    groups = {**by(lines, lambda line: line["kind"]), "all": lines}
    table(
        ["kind", "questions", "draft", "full model"],
        [[kind, str(len(some)), percent(accuracy(some, draft)), percent(accuracy(some, full))] for kind, some in groups.items()],
    )


def sure_answers(lines: list[dict]) -> None:
    """What `ask.sure` does: answers of the draft that nobody looks over, from a confidence on."""
    print("## Answers that stand from a confidence of the draft on, all tokens\n")
    rows = []
    for sure in SURE:
        stand = [line for line in lines if line["confidence"] >= sure]
        if stand:
            other = sum(not same(draft(line), full(line)) for line in stand)
            rows.append([
                f"{sure:g}", percent(len(stand) / len(lines)), percent(other / len(stand)), percent(other / len(lines)),
                percent(accuracy(stand, draft)), percent(accuracy(stand, full)),
            ])
    table(["confidence", "stand", "of these the full model says otherwise", "of all", "these right: draft", "full model"], rows)


def verified_captions(lines: list[dict]) -> float:
    """Prints what verification does to captions; returns the smallest margin within the loss."""
    print(f"## {len(lines)} captions, all tokens\n")
    rows = []
    for name, text in (("draft alone", draft), ("full model alone", full)):
        bleu, alone = captions(lines, text)
        rows.append([name, f"{bleu:.3f}", f"{100 * alone:.1f}", "", ""])
    calibrated = 1.0
    for index, margin in enumerate(v["margin"] for v in lines[0]["verified"]):
        verified = [line["verified"][index] for line in lines]
        bleu, cider = captions(lines, lambda line: line["verified"][index]["text"])
        tokens = sum(v["accepted"] for v in verified) / max(1, sum(v["drafted"] for v in verified))
        whole = sum(v["whole"] for v in verified) / len(verified)
        name = "exact" if margin == 1 else f"margin {margin:g}"
        rows.append([f"verified, {name}", f"{bleu:.3f}", f"{100 * cider:.1f}", percent(tokens), percent(whole)])
        if margin < calibrated and cider >= (1 - LOSS) * alone:
            calibrated = margin
    table(["captions", "BLEU-4", "CIDEr-D", "tokens accepted", "captions accepted whole"], rows)
    return calibrated


def fewer_tokens(name: str, lines: list[dict], score, at_all: str) -> None:
    """The score of the full model for each way and share of tokens."""
    chosen = by([line for line in lines if line["choose"]], way)
    if not chosen:
        return
    print(f"## {name} of the full model by share of tokens kept; with all {at_all}\n")
    shares = sorted({line["keep"] for some in chosen.values() for line in some}, reverse=True)
    rows = []
    for choice, some in chosen.items():
        kept = by(some, lambda line: line["keep"])
        rows.append([choice, *(score(kept[share]) if share in kept else "" for share in shares)])
    table(["tokens chosen by", *(f"{share:.0%}" for share in shares)], rows)


def beta(lines: list[dict]) -> None:
    """How often β of the modality that a question is about is the largest, where all three are there."""
    whole = [line for line in lines if all(line["betas"][m] is not None for m in MODALITIES)]
    if not whole:
        return
    print("## Beta: questions about windows with all three modalities\n")
    rows = []
    for about, some in by(whole, lambda line: line["about"]).items():
        largest = sum(max(MODALITIES, key=lambda m: line["betas"][m]) == about for line in some) / len(some)
        means = [f"{sum(line['betas'][m] for line in some) / len(some):.2f}" for m in MODALITIES]
        rows.append([about, str(len(some)), percent(largest), *means])
    table(["about", "questions", "its beta is the largest", *(f"mean of {m}" for m in MODALITIES)], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calibrate", type=Path)
    parser.add_argument("answers", type=Path)
    arguments = parser.parse_args()
    lines = [json.loads(line) for line in arguments.answers.read_text().splitlines()]
    for line in lines:
        line["keep"] = round(line["keep"], 4)
    asked, described = split(lines)
    everything = lambda some: [line for line in some if line["choose"] is None]
    calibrated = None
    if everything(asked):
        answers_by_kind(everything(asked))
        sure_answers(everything(asked))
    if everything(described):
        calibrated = verified_captions(everything(described))
    if everything(asked):
        score = lambda some: percent(accuracy(some, full))
        fewer_tokens("Answers", asked, score, score(everything(asked)))
        for about, some in by([l for l in asked if all(l["betas"][m] is not None for m in MODALITIES)], lambda l: l["about"]).items():
            fewer_tokens(f"Answers about {about}, all three modalities there,", some, score, score(everything(some)))
        beta(everything(asked))
    if everything(described):
        score = lambda some: f"{100 * captions(some, full)[1]:.1f}"
        fewer_tokens("CIDEr-D of captions", described, score, score(everything(described)))
    if arguments.calibrate:
        if calibrated is None or calibrated == 1.0:
            raise SystemExit("no margin below 1 is good enough, or there are no captions: config.json stays as it is")
        path = arguments.calibrate / "config.json"
        config = json.loads(path.read_text())
        config["agreement_margin"] = round(calibrated, 4)
        path.write_text(json.dumps(config, indent=1) + "\n")
        print(f"agreement_margin = {calibrated:g} in {path}")


if __name__ == "__main__":
    main()
