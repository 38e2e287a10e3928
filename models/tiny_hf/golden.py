"""What transformers and PyTorch make of pictures and questions, for the tests to compare with."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

LONGEST = 10
# Of each case: what is asked in each sequence of its batch, about which pictures.
CASES = {
    "words": [([], "what is on the road?")],
    "wide": [(["wide"], "what is on the road?")],
    "tall": [(["tall"], "describe the picture in a few words")],
    "small": [(["small"], "how many cars are there?")],
    "two": [(["tile", "tall"], "are the two pictures alike?")],
    "batch": [(["tall"], "describe the picture in a few words"), (["wide", "small"], "how many cars are there?")],
}


def texts(family, case) -> list[str]:
    return [
        family.processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"} for _ in names] + [{"type": "text", "text": question}]}],
            add_generation_prompt=True,
        )
        for names, question in case
    ]


def one(family, case, pictures) -> tuple[dict, dict]:
    """Tensors and texts of a case."""
    processor, model = family.processor, family.model
    rendered = texts(family, case)
    images = [[pictures[name] for name in names] for names, _ in case]
    images = images if any(images) else None
    inputs = processor(text=rendered, images=images, return_tensors="pt", padding=True)
    tokens = model.generate(**inputs, max_new_tokens=LONGEST, do_sample=False)[:, inputs["input_ids"].shape[1] :]

    whole = dict(inputs)
    ends, padding = model.generation_config.eos_token_id, model.generation_config.pad_token_id
    whole["input_ids"] = torch.cat([inputs["input_ids"], tokens], 1)
    whole["attention_mask"] = torch.cat([inputs["attention_mask"], torch.ones_like(tokens)], 1)
    whole.update(family.forward_extra(whole))
    logits = model(**whole).logits[:, inputs["input_ids"].shape[1] - 1 :]

    answers = []
    for row in tokens.tolist():
        stop = next((at for at, token in enumerate(row) if token in ends), len(row))
        answers.append({"tokens": row[:stop], "ended": stop < len(row),
                        "text": processor.tokenizer.decode(row[:stop], skip_special_tokens=True).strip()})
    tensors = {name: value for name, value in inputs.items() if torch.is_tensor(value)}
    if tensors.get("pixel_attention_mask") is not None:
        tensors["pixel_attention_mask"] = tensors["pixel_attention_mask"].to(torch.uint8)
    tensors |= {"position_ids": family.positions(inputs), "logits": logits}
    said = {"prompts": rendered, "questions": [question for _, question in case],
            "pictures": [names for names, _ in case], "answers": answers}
    return {name: value.contiguous() for name, value in tensors.items()}, said


@torch.no_grad()
def write(family, pictures, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    said = {}
    for name, case in CASES.items():
        tensors, said[name] = one(family, case, pictures)
        if name == "batch":
            # The pictures are those of other cases.
            tensors = {k: v for k, v in tensors.items() if not k.startswith("pixel")}
        save_file(tensors, folder / f"{name}.safetensors")
        for answer in said[name]["answers"]:
            print(family.name, name, answer)
    if family.name == "smolvlm":
        images = family.processor.image_processor
        images.do_image_splitting = False
        inputs = family.processor(text=texts(family, CASES["wide"]), images=[[pictures["wide"]]], return_tensors="pt")
        images.do_image_splitting = True
        save_file({name: inputs[name] for name in ("input_ids", "pixel_values")}, folder / "unsplit.safetensors")
    (folder / "cases.json").write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n")
