"""Exports a trained checkpoint as two model folders of ONNX files, quantised, and checks them against PyTorch.

    python -m msao_models.export --checkpoint RUN/checkpoint.pt --senses SENSES/senses.pt \
        --tokenizer PREPARED/tokenizer.json --out ../testdata/models

`msao-edge/` holds the encoders and the draft, `msao-cloud/` the full model.
"""

import argparse
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer
from torch import Tensor, nn

from . import restore
from .decoder import FOUR_BITS, Captioner, Decoder, Shape, draft_shape
from .encoder import GRID, MEAN, STD, TOKEN_SIZE, Encoder
from .generate import MAX_CAPTION, SUPPRESSED
from .pieces import ANSWER, BOS, EOS, PAD, PROMPT
from .motion import CHANNELS
from .senses import AudioEncoder, SensorEncoder

OPSET = 20
TOLERANCE = 1e-3
# The encoders of hops are trained in f32 and stored in f16.
HALF_TOLERANCE = 1e-2


class WithCache(nn.Module):
    """The decoder with its cache as flat inputs and outputs, as ONNX wants them; with `watch` the attention comes last."""

    def __init__(self, decoder: Decoder, watch: bool):
        super().__init__()
        self.decoder, self.watch = decoder, watch

    def forward(self, embeds: Tensor, mask: Tensor, positions: Tensor, *past: Tensor):
        logits, presents, *attention = self.decoder(embeds, mask, positions, list(zip(past[::2], past[1::2])), self.watch)
        return logits, *(tensor for pair in presents for tensor in pair), *attention


def export(module: nn.Module, inputs: tuple, names: dict[str, dict], outputs: dict[str, dict], path: Path) -> None:
    module.eval()
    torch.onnx.export(
        module,
        inputs,
        str(path),
        input_names=list(names),
        output_names=list(outputs),
        dynamic_axes={**names, **outputs},
        opset_version=OPSET,
        dynamo=False,
    )


def halve(path: Path) -> None:
    """Stores f32 weights as f16 with a Cast behind each, which ONNX Runtime folds away at load."""
    model = onnx.load(path)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and int(np.prod(tensor.dims)) >= 24:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}_f16"))
            casts.append(helper.make_node("Cast", [f"{name}_f16"], [name], f"{name}_cast", to=TensorProto.FLOAT))
    nodes = casts + list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)


def quantise_matmuls(path: Path, four_bits: tuple[str, ...]) -> None:
    """Weights of every MatMul as MatMulNBits in blocks of 32: the layers' matrices of these names in 4 bits, all others in 8.
    Activations are int8 a row, so that a row's result does not depend on the rows beside it: in blocks of 128 it did."""
    model = onnx.load(path)
    names = [node.name for node in model.graph.node if node.op_type == "MatMul"]
    narrow = [name for name in names if name.split("/")[-2] in four_bits]
    wide = [name for name in names if name not in narrow]
    for bits, excluded in ((4, wide), (8, narrow)):
        config = DefaultWeightOnlyQuantConfig(block_size=32, is_symmetric=True, accuracy_level=4, bits=bits)
        quantizer = MatMulNBitsQuantizer(model, nodes_to_exclude=excluded, algo_config=config)
        quantizer.process()
        model = quantizer.model.model
    onnx.save(model, path)


def embedding_graph(weights: np.ndarray, path: Path) -> None:
    """Token embeddings as int8 with one scale a piece: Gather, then dequantise only what was gathered."""
    scale = np.maximum(np.abs(weights).max(1, keepdims=True), 1e-8) / 127
    table = np.round(weights / scale).astype(np.int8)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Gather", ["scale", "input_ids"], ["scales"]),
        helper.make_node("Cast", ["rows"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["values", "scales"], ["inputs_embeds"]),
    ]
    graph = helper.make_graph(
        nodes,
        "embed_tokens",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])],
        [helper.make_tensor_value_info("inputs_embeds", TensorProto.FLOAT, ["batch", "length", weights.shape[1]])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(scale.astype(np.float32), "scale")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10), path)


def export_vision(encoder: Encoder, version: str, folder: Path) -> dict:
    batch = {0: "batch"}
    pixels = torch.randn(2, 3, 224, 224)
    features = encoder.probe(pixels)[0]
    probe, trunk = folder / "vision_probe.onnx", folder / "vision_trunk.onnx"
    export(encoder.probe, (pixels,), {"pixel_values": batch}, {"features": batch, "grid": batch}, probe)
    export(encoder.trunk, (features,), {"features": batch}, {"image_tokens": batch}, trunk)
    halve(probe), halve(trunk)
    digest = hashlib.sha256(probe.read_bytes() + trunk.read_bytes()).hexdigest()
    normalisation = {"image_mean": [MEAN] * 3, "image_std": [STD] * 3}
    preprocessor = {
        "do_resize": True,
        "size": {"height": 224, "width": 224},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        **normalisation,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=1) + "\n")
    return {"id": f"efficientnet-lite2-msao-{version}", "sha256": digest}


def export_hop_encoder(module: nn.Module, name: str, inputs: Tensor, columns: int, tokens: int, folder: Path) -> dict:
    """An encoder of hops of sound or of sensors, and what `config.json` says of it."""
    batch, path = {0: "batch"}, folder / f"{name}_encoder.onnx"
    source = "log_mel" if name == "audio" else "samples"
    export(module, (inputs,), {source: batch}, {"grid": batch, f"{name}_tokens": batch}, path)
    halve(path)
    with torch.no_grad():
        wanted = module(inputs)[1].numpy()
    found = onnxruntime.InferenceSession(path).run([f"{name}_tokens"], {source: inputs.numpy()})[0]
    error = np.abs(found - wanted).max() / np.abs(wanted).max()
    print(f"{name} encoder: largest difference {error:.2e} of the largest value")
    if error > HALF_TOLERANCE:
        raise SystemExit(f"{name} encoder differs from PyTorch by {error:.2e}, more than {HALF_TOLERANCE}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"id": f"msao-{name}-v1", "sha256": digest, "tokens": tokens, "columns": columns, "hops": 2}


def export_senses(path: Path, folder: Path) -> dict:
    """Both encoders of hops, as `config.json` names them."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    audio, sensor = AudioEncoder().eval(), SensorEncoder().eval()
    audio.load_state_dict(state["audio"]), sensor.load_state_dict(state["sensor"])
    heard = export_hop_encoder(audio, "audio", torch.randn(2, 50, 64) * 3 - 5, 4, 16, folder)
    felt = export_hop_encoder(sensor, "sensor", torch.randn(2, 7, 50), 2, 14, folder)
    return {"audio_encoder": heard, "sensor_encoder": felt | {"channels": list(CHANNELS), "rate": 100}}


def export_captioner(model: Captioner, name: str, encoders: dict, four_bits: tuple[str, ...], watch: bool, tokenizer: Path, folder: Path) -> None:
    shape = model.decoder.shape
    shutil.copy(tokenizer, folder / "tokenizer.json")
    embedding_graph(model.decoder.embeddings.weight.detach().numpy(), folder / "embed_tokens.onnx")

    axes = {0: "batch", 1: "length"}
    tokens, positions = torch.randn(2, 5, TOKEN_SIZE), torch.arange(5).expand(2, -1)
    for modality, projector in model.projectors.items():
        if modality != "video" and f"{modality}_encoder" not in encoders:
            continue
        file, kind = ("vision", "image") if modality == "video" else (modality, modality)
        path = folder / f"{file}_projector.onnx"
        export(projector, (tokens, positions), {f"{kind}_tokens": axes, "positions": axes}, {f"{kind}_embeds": axes}, path)
        halve(path)

    past_length, length = 3, 4
    past = [torch.randn(2, shape.kv_heads, past_length, shape.head_dim) for _ in range(2 * shape.layers)]
    caches = [f"{i}.{part}" for i in range(shape.layers) for part in ("key", "value")]
    inputs = {
        "inputs_embeds": axes,
        "attention_mask": {0: "batch", 1: "total"},
        "position_ids": axes,
        **{f"past_key_values.{c}": {0: "batch", 2: "past"} for c in caches},
    }
    outputs = {"logits": axes, **{f"present.{c}": {0: "batch", 2: "total"} for c in caches}}
    if watch:
        outputs["attention"] = {0: "batch", 1: "length", 2: "total"}
    example = (
        torch.randn(2, length, shape.width),
        torch.ones(2, past_length + length, dtype=torch.long),
        torch.arange(past_length, past_length + length).expand(2, -1),
        *past,
    )
    decoder = folder / "decoder_model_merged.onnx"
    export(WithCache(model.decoder, watch), example, inputs, outputs, decoder)
    quantise_matmuls(decoder, four_bits)

    config = {
        "model_type": "msao",
        "name": name,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "vocab_size": shape.vocabulary,
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "answer_token_id": ANSWER,
        "suppress_tokens": SUPPRESSED,
        "max_caption_tokens": MAX_CAPTION,
        "image_tokens": GRID * GRID,
        "image_token_size": TOKEN_SIZE,
        "default_prompt": PROMPT,
        **encoders,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def check_vision(encoder: Encoder, folder: Path) -> None:
    """Probe and trunk together equal PyTorch to 1e-3 of the largest token value, on noise and on flat pictures."""
    sessions = [onnxruntime.InferenceSession(folder / f"vision_{part}.onnx") for part in ("probe", "trunk")]
    pixels = torch.cat([torch.randn(4, 3, 224, 224), torch.linspace(-1, 1, 4).view(4, 1, 1, 1).expand(4, 3, 224, 224)])
    with torch.no_grad():
        wanted = encoder(pixels).numpy()
    features = sessions[0].run(["features"], {"pixel_values": pixels.numpy()})[0]
    found = sessions[1].run(None, {"features": features})[0]
    error = np.abs(found - wanted).max() / np.abs(wanted).max()
    print(f"vision: largest difference {error:.2e} of the largest value")
    if error > TOLERANCE:
        raise SystemExit(f"vision encoder differs from PyTorch by {error:.2e}, more than {TOLERANCE}")


def load(folder: Path) -> tuple[Encoder, Captioner, Captioner]:
    """Vision encoder, full model and draft of exported folders; what a folder lacks keeps random weights."""
    encoder = Encoder.folded()
    encoder.load_state_dict(restore.vision(folder / "msao-edge"))
    models = []
    for name in ("msao-cloud", "msao-edge"):
        config = json.loads((folder / name / "config.json").read_text())
        shape = Shape(config["vocab_size"], config["num_hidden_layers"]) if name == "msao-cloud" else draft_shape(config["vocab_size"])
        model = Captioner(shape)
        missing = model.load_state_dict(restore.captioner(folder / name), strict=False).missing_keys
        print(f"{name}: random weights for {sorted({k.rsplit('.', 2)[0] for k in missing})}")
        models.append(model)
    return encoder, *models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="what `train` or `joint` wrote")
    parser.add_argument("--from-folders", type=Path, help="exported folders instead of a checkpoint")
    parser.add_argument("--senses", type=Path, help="what `senses` wrote; without it the models only see")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--version", default="v2")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    if arguments.from_folders:
        encoder, full, draft = load(arguments.from_folders)
    else:
        vocabulary = len(json.loads(arguments.tokenizer.read_text())["model"]["vocab"])
        encoder, full, draft = Encoder.folded(), Captioner(Shape(vocabulary, arguments.layers)), Captioner(draft_shape(vocabulary))
        state = torch.load(arguments.checkpoint, map_location="cpu", weights_only=True)
        for name, module in (("encoder", encoder), ("full", full), ("draft", draft)):
            module.load_state_dict({k: v.float() for k, v in state[name].items()})
    for module in (encoder, full, draft):
        module.eval()
    edge, cloud = arguments.out / "msao-edge", arguments.out / "msao-cloud"
    for folder in (edge, cloud):
        folder.mkdir(parents=True, exist_ok=True)
    version = arguments.version
    encoders = {"vision_encoder": export_vision(encoder, version, edge)}
    if arguments.senses:
        encoders |= export_senses(arguments.senses, edge)
    check_vision(encoder, edge)
    export_captioner(draft, f"msao-edge-{version}", encoders, (), True, arguments.tokenizer, edge)
    export_captioner(full, f"msao-cloud-{version}", encoders, FOUR_BITS, False, arguments.tokenizer, cloud)
    for path in sorted(arguments.out.rglob("*.*")):
        print(f"{path.stat().st_size / 2**20:7.2f} MiB  {path.relative_to(arguments.out)}")


if __name__ == "__main__":
    main()
