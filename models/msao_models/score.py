"""Scores what `mllm/examples/evaluate.rs` wrote, with pycocoevalcap: BLEU-4 and CIDEr-D of the draft, of the full model
alone and of verified captions at each margin, and the share of tokens and of whole captions accepted.

    python -m msao_models.score --data FLICKR8K captions.jsonl [--calibrate MODEL_FOLDER]

`--calibrate` writes the smallest of the margins whose CIDEr-D is within 1 % of the full model alone into the folder's
config.json: give it captions of validation pictures.
"""

import argparse
import json
from pathlib import Path

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider

from . import data

LOSS = 0.01


def scores(references: dict[str, list[str]], captions: dict[str, str]) -> tuple[float, float]:
    """BLEU-4 and CIDEr-D, both as fractions of 1."""
    found = {name: [caption] for name, caption in captions.items()}
    wanted = {name: references[name] for name in found}
    bleu, _ = Bleu(4).compute_score(wanted, found, verbose=0)
    cider, _ = Cider().compute_score(wanted, found)
    return bleu[3], float(cider)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--calibrate", type=Path)
    parser.add_argument("captions", type=Path)
    arguments = parser.parse_args()
    references = data.load(arguments.data).captions
    lines = [json.loads(line) for line in arguments.captions.read_text().splitlines()]
    names = [Path(line["image"]).name for line in lines]

    print(f"{len(lines)} pictures\n\n| captions | BLEU-4 | CIDEr-D | tokens accepted | captions accepted whole |\n| --- | --- | --- | --- | --- |")
    for kind in ("draft", "full"):
        bleu, cider = scores(references, {n: line[kind] for n, line in zip(names, lines)})
        print(f"| {kind} alone | {bleu:.3f} | {100 * cider:.1f} | | |")
    alone, calibrated = cider, 1.0
    for index, margin in enumerate(v["margin"] for v in lines[0]["verified"]):
        verified = [line["verified"][index] for line in lines]
        bleu, cider = scores(references, {n: v["text"] for n, v in zip(names, verified)})
        tokens = sum(v["accepted"] for v in verified) / sum(v["drafted"] for v in verified)
        whole = sum(v["whole"] for v in verified) / len(verified)
        print(f"| verified, margin {margin:g} | {bleu:.3f} | {100 * cider:.1f} | {tokens:.1%} | {whole:.1%} |")
        if margin < calibrated and cider >= (1 - LOSS) * alone:
            calibrated = margin
    same = sum(line["verified"][0]["text"] == line["full"] for line in lines)
    print(f"\nidentical under margin {lines[0]['verified'][0]['margin']:g} to the full model alone: {same} of {len(lines)}")
    if arguments.calibrate:
        path = arguments.calibrate / "config.json"
        config = json.loads(path.read_text())
        config["agreement_margin"] = calibrated
        path.write_text(json.dumps(config, indent=1) + "\n")
        print(f"agreement_margin = {calibrated:g} in {path}")


if __name__ == "__main__":
    main()
