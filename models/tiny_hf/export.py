"""Networks to files: f32, f16 and 8-bit."""

import copy
import logging
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

CACHE_AXES = {0: "batch_size", 2: "sequence_length"}


def write(module, example, path: Path, inputs, outputs, axes) -> None:
    """The network in f32, and beside it in f16, inputs and outputs too."""
    half = [part.half() if part.is_floating_point() else part for part in example]
    path16 = path.with_stem(f"{path.stem}_fp16")
    for path, module, example in ((path, module, example), (path16, copy.deepcopy(module).half(), tuple(half))):
        with torch.no_grad():
            torch.onnx.export(
                module.eval(), example, str(path), input_names=inputs, output_names=outputs, dynamic_axes=axes,
                opset_version=17, dynamo=False,
            )
        model = onnx.load(path)
        for node in model.graph.node:
            node.doc_string = ""
        onnx.checker.check_model(model)
        onnx.save(model, path)


def networks(family, folder: Path) -> None:
    """The three networks of `family`, each in its variants; for one family also a decoder that ignores its mask."""
    folder.mkdir(parents=True, exist_ok=True)
    vision, embeddings, decoder = family.networks()
    config = family.model.config.get_text_config()
    write(vision, family.vision_example(), folder / "vision_encoder.onnx", family.vision_inputs, ["image_features"],
          family.vision_axes)
    ids = torch.tensor([[1, 2, 3]])
    axes = {0: "batch_size", 1: "sequence_length"}
    write(embeddings, (ids,), folder / "embed_tokens.onnx", ["input_ids"], ["inputs_embeds"],
          {"input_ids": axes, "inputs_embeds": axes})

    layers, batch, past, length = config.num_hidden_layers, 2, 4, 3
    head_dim = config.hidden_size // config.num_attention_heads
    names = [f"{layer}.{part}" for layer in range(layers) for part in ("key", "value")]
    cache = [torch.randn(batch, config.num_key_value_heads, past, head_dim) for _ in names]
    positions = torch.arange(past, past + length).expand(batch, -1)
    position_axes = axes
    if family.name == "qwen2vl":
        positions, position_axes = positions.expand(3, -1, -1), {1: "batch_size", 2: "sequence_length"}
    example = [torch.randn(batch, length, config.hidden_size), torch.ones(batch, past + length, dtype=torch.long),
               positions]
    inputs = ["inputs_embeds", "attention_mask", "position_ids"]
    if family.keeps_logits:
        example.append(torch.tensor(2))
        inputs.append("num_logits_to_keep")
    example, inputs = (*example, *cache), inputs + [f"past_key_values.{name}" for name in names]
    outputs = ["logits"] + [f"present.{name}" for name in names]
    axes = {
        "inputs_embeds": axes, "attention_mask": {0: "batch_size", 1: "total_sequence_length"},
        "position_ids": position_axes, "logits": axes,
        **{f"past_key_values.{name}": {0: "batch_size", 2: "past_sequence_length"} for name in names},
        **{f"present.{name}": {0: "batch_size", 2: "total_sequence_length"} for name in names},
    }
    write(decoder, example, folder / "decoder_model_merged.onnx", inputs, outputs, axes)
    if family.name == "smolvlm":
        decoder.masks = False
        unmasked = folder.parent / "unmasked" / "decoder_model_merged.onnx"
        unmasked.parent.mkdir(exist_ok=True)
        write(decoder, example, unmasked, inputs, outputs, axes)
        unmasked.with_stem("decoder_model_merged_fp16").unlink()
    logging.disable(logging.WARNING)
    quantize_dynamic(folder / "decoder_model_merged.onnx", folder / "decoder_model_merged_int8.onnx",
                     weight_type=QuantType.QInt8)
    quantizer = MatMulNBitsQuantizer(onnx.load(folder / "decoder_model_merged.onnx"), block_size=32, is_symmetric=True)
    quantizer.process()
    onnx.save(quantizer.model.model, folder / "decoder_model_merged_q4.onnx")
    logging.disable(logging.NOTSET)
