"""The exported networks against PyTorch, before anyone else relies on them."""

from pathlib import Path

import numpy as np
import onnxruntime
import torch

from . import golden


def session(path: Path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@torch.no_grad()
def networks(family, pictures, folder: Path, tolerance: float = 1e-3) -> None:
    """Raises if the f32 networks give other logits for a batch's prompts than transformers."""
    vision, embed, decoder = (
        session(folder / "onnx" / f"{name}.onnx") for name in ("vision_encoder", "embed_tokens", "decoder_model_merged")
    )
    for name, case in golden.CASES.items():
        tensors, _ = golden.one(family, case, pictures)
        embeds = embed.run(None, {"input_ids": tensors["input_ids"].numpy()})[0]
        if "pixel_values" in tensors:
            mask = tensors["input_ids"].numpy() == family.processor.image_token_id
            feeds = {"pixel_values": tensors["pixel_values"].numpy()}
            if "image_grid_thw" in tensors:
                feeds["image_grid_thw"] = tensors["image_grid_thw"].numpy()
            else:
                feeds["pixel_attention_mask"] = tensors["pixel_attention_mask"].numpy().astype(bool)
                if len(case) > 1:
                    # Tiles that only fill the batch up are left out, as transformers does.
                    real = feeds["pixel_attention_mask"].any((2, 3))
                    feeds = {key: value[real][None] for key, value in feeds.items()}
            embeds[mask] = vision.run(None, feeds)[0].reshape(-1, embeds.shape[-1])
        feeds = {"inputs_embeds": embeds, "attention_mask": tensors["attention_mask"].numpy(),
                 "position_ids": tensors["position_ids"].numpy()}
        if family.keeps_logits:
            feeds["num_logits_to_keep"] = np.array(1)
        for wanted in decoder.get_inputs():
            if not wanted.name.startswith("past_key_values."):
                continue
            feeds[wanted.name] = np.zeros([len(case), wanted.shape[1], 0, wanted.shape[3]], np.float32)
        logits = decoder.run(["logits"], feeds)[0][:, -1]
        worst = float(np.abs(logits - tensors["logits"][:, 0].numpy()).max())
        print(family.name, name, "logits differ by", worst, "of", float(np.abs(logits).max()))
        if not worst < tolerance:
            raise SystemExit(f"{family.name}, {name}: exported logits differ by {worst}")
