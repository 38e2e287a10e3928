"""Exported model folders back as PyTorch state, so that training can go on from the weights that shipped.

Exact for what is stored as f16 or f32; 4-bit and 8-bit matrices come back as the values that the ONNX files stand for.

    python -m msao_models.restore --models ../testdata/models --senses senses.pt

writes the encoders of sounds and of sensors as `senses.py` would, so that training goes on with those that shipped.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

# What PyTorch's batch norm adds to a variance.
EPSILON = 1e-5
PROJECTORS = {"video": "vision", "audio": "audio", "sensor": "sensor"}


def dense(node: onnx.NodeProto, tensors: dict[str, np.ndarray]) -> Tensor:
    """The matrix [N, K] of a MatMulNBits node with symmetric blocks."""
    about = {attribute.name: attribute.i for attribute in node.attribute}
    packed = tensors[node.input[1]].reshape(about["N"], -1)
    if about["bits"] == 4:
        packed = np.stack([packed & 15, packed >> 4], -1).reshape(about["N"], -1)
    zero = 1 << (about["bits"] - 1)
    blocks = (packed.astype(np.float32) - zero).reshape(about["N"], -1, about["block_size"])
    scales = tensors[node.input[2]].astype(np.float32).reshape(about["N"], -1, 1)
    return torch.from_numpy((blocks * scales).reshape(about["N"], about["K"]))


def load(path: Path) -> tuple[onnx.GraphProto, dict[str, np.ndarray]]:
    graph = onnx.load(path).graph
    return graph, {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def named(tensors: dict[str, np.ndarray], prefix: str = "") -> dict[str, Tensor]:
    """Initializers that kept their parameter's name."""
    names = {name: name.removesuffix("_f16") for name in tensors if not name.startswith("onnx::")}
    return {prefix + new: torch.from_numpy(tensors[old].astype(np.float32)) for old, new in names.items()}


def captioner(folder: Path) -> dict[str, Tensor]:
    """State of a `decoder.Captioner`; of each projector that the folder has."""
    graph, tensors = load(folder / "decoder_model_merged.onnx")
    state = {k: v for k, v in named(tensors).items() if k.startswith("decoder.") and k.endswith("norm.weight")}
    for node in graph.node:
        if node.op_type == "MatMulNBits":
            parts = node.name.split("/")[2:-1]
            name = ".".join(["decoder", *parts, "weight"]) if parts else "decoder.embeddings.weight"
            state[name] = dense(node, tensors)
    for modality, name in PROJECTORS.items():
        path = folder / f"{name}_projector.onnx"
        if path.exists():
            graph, tensors = load(path)
            prefix = f"projectors.{modality}."
            state |= named(tensors, prefix)
            matrices = [tensors[n] for n in tensors if n.startswith("onnx::MatMul")]
            wide = {"first": matrices[0], "second": matrices[1]}
            state |= {f"{prefix}{k}.weight": torch.from_numpy(v.astype(np.float32).T.copy()) for k, v in wide.items()}
    return state


def vision(folder: Path) -> dict[str, Tensor]:
    """State of a folded `encoder.Encoder`."""
    state = {}
    for part in ("probe", "trunk"):
        graph, tensors = load(folder / f"vision_{part}.onnx")
        state |= named(tensors, f"{part}.")
        for name, value in tensors.items():
            if name.startswith("onnx::MatMul"):
                state["trunk.token.weight"] = torch.from_numpy(value.astype(np.float32).T.copy())
    return state


def hop_encoder(path: Path) -> dict[str, Tensor]:
    """State of a `senses.AudioEncoder` or `SensorEncoder`, whose batch norms then only add what was folded into the biases."""
    graph, tensors = load(path)
    value = lambda name: torch.from_numpy(tensors.get(name, tensors.get(f"{name}_f16")).astype(np.float32))
    state = named(tensors)
    for node in graph.node:
        name = ".".join(node.name.split("/")[-2:-1])
        if node.op_type == "Conv":
            layer = name.rsplit(".", 1)[0]
            part = node.name.split("/")[1] + "." + layer.split(".", 1)[1]
            weight, bias = value(node.input[1]), value(node.input[2])
            ones, zeros = torch.ones_like(bias), torch.zeros_like(bias)
            norm = {"weight": ones * (1 + EPSILON) ** 0.5, "bias": bias, "running_mean": zeros, "running_var": ones}
            state |= {f"{part}.0.weight": weight} | {f"{part}.1.{k}": v for k, v in norm.items()}
            state[f"{part}.1.num_batches_tracked"] = torch.tensor(0)
        elif node.op_type == "MatMul":
            state[f"mix.{name}.weight"] = value(node.input[1]).T.contiguous()
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="exported folders")
    parser.add_argument("--senses", type=Path, required=True, help="file to write")
    arguments = parser.parse_args()
    encoder = lambda name: hop_encoder(arguments.models / "msao-edge" / f"{name}_encoder.onnx")
    torch.save({name: encoder(name) for name in ("audio", "sensor")}, arguments.senses)


if __name__ == "__main__":
    main()
