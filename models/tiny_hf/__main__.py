"""Builds testdata/tiny_hf: `python -m tiny_hf --out ../testdata/tiny_hf`."""

import argparse
import json
from pathlib import Path

import torch

from . import check, export, golden, pictures
from .families import FAMILIES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    made = pictures.build(arguments.seed)
    (arguments.out / "pictures").mkdir(parents=True, exist_ok=True)
    for name, picture in made.items():
        picture.save(arguments.out / "pictures" / f"{name}.png")
    for build in FAMILIES:
        torch.manual_seed(arguments.seed)
        family = build(arguments.seed)
        folder = arguments.out / family.name
        folder.mkdir(parents=True, exist_ok=True)
        family.model.config.save_pretrained(folder)
        family.model.generation_config.save_pretrained(folder)
        family.processor.save_pretrained(folder)
        if family.name == "qwen2vl":
            # As older exports have it.
            template = folder / "chat_template.jinja"
            wrapped = json.dumps({"chat_template": template.read_text()}, indent=1)
            (folder / "chat_template.json").write_text(wrapped + "\n")
            template.unlink()
        for unread in ("special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
                       "video_preprocessor_config.json"):
            (folder / unread).unlink(missing_ok=True)
        export.networks(family, folder / "onnx")
        golden.write(family, made, folder / "golden")
        check.networks(family, made, folder)


if __name__ == "__main__":
    main()
