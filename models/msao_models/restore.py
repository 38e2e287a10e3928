"""Exported model folders back as PyTorch state, so that training can go on from the weights that shipped.

Exact for what is stored as f16 or f32; 4-bit and 8-bit matrices come back as the values that the ONNX files stand for.
"""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

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
