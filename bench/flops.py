"""Floating-point operations of the models' ONNX graphs and of MAS, a multiplication and an addition counting as two.

What is counted of a graph: Conv, MatMul, Gemm and MatMulNBits (as if its weights were not quantised), with the shapes
that the graph has when it runs on one picture; attention and the linear layers of a decoder by token. What is not:
activations, normalisation, softmax, resizing, look-ups.

    python bench/flops.py --edge EDGE_MODEL --cloud FULL_MODEL

writes as JSON what `msao bench offload` counts by.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

POSITIONS, CHANNELS, BITS = 49, 96, 64
PROMPT = 3  # tokens beside picture and caption: start, prompt, answer


def convolutions(path, shape):
    """Operations of a vision graph for one input, by running it and looking at each layer's output."""
    model = onnx.load(path)
    weights = {w.name: w.dims for w in model.graph.initializer}
    layers = [n for n in model.graph.node if n.op_type in ("Conv", "MatMul", "Gemm")]
    # Weights may pass through a Cast first.
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in weights:
            weights[node.output[0]] = weights[node.input[0]]
    made = {name for node in layers for name in node.output}
    for name in made - {o.name for o in model.graph.output}:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = ReferenceEvaluator(model)
    results = dict(zip(session.output_names, session.run(None, {model.graph.input[0].name: np.zeros(shape, np.float32)})))
    total = 0
    for node in layers:
        size, weight = results[node.output[0]].size, weights[node.input[1]]
        # Of each output value: as many products as its kernel has weights, or the matrix has rows.
        total += 2 * size * (int(np.prod(weight[1:])) if node.op_type == "Conv" else weight[0])
    return total


def linear(path):
    """Operations of a graph's linear layers for one token."""
    model = onnx.load(path)
    weights = {w.name: w.dims for w in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in weights:
            weights[node.output[0]] = weights[node.input[0]]
    total = 0
    for node in model.graph.node:
        if node.op_type == "MatMulNBits":
            sizes = {a.name: a.i for a in node.attribute}
            total += 2 * sizes["K"] * sizes["N"]
        elif node.op_type in ("MatMul", "Gemm") and node.input[1] in weights:
            total += 2 * int(np.prod(weights[node.input[1]]))
    return total


def attention(folder, tokens):
    """Operations of attention over `tokens` tokens, each looking at those up to itself."""
    config = json.loads((folder / "config.json").read_text())
    model = onnx.load(folder / "decoder_model_merged.onnx")
    heads = config.get("num_attention_heads") or config["hidden_size"] // config["head_dim"]
    assert len([n for n in model.graph.node if n.op_type == "MatMul"]) == 2 * config["num_hidden_layers"]
    return config["num_hidden_layers"] * 4 * heads * config["head_dim"] * tokens * (tokens + 1) // 2


def read(folder, tokens):
    """A language model that reads the picture's tokens, prompt and caption, each token once."""
    return (POSITIONS * linear(folder / "vision_projector.onnx")
            + tokens * linear(folder / "decoder_model_merged.onnx") + attention(folder, tokens))


def t0(width, height):
    """T0 of one frame, by its formulas (mas/src/luma.rs, fit.rs, scene.rs); whole-number sums and comparisons count, too."""
    blocks = -(-width // 8) * -(-height // 8)
    rows = blocks // min(max(blocks // 1200, 1), 8)
    fit = 3 * rows * (12 + 6 + 6 * 2 + 2 * 21 + 2 * 6 + 6)  # error, weight, and the sums of the normal equations
    explained = blocks * (8 + 12 + 6)  # basis, terms, residual and slack
    judged = blocks * (5 + 2 * (2 * 4 + 4) + 4 * 5)  # σ, deviations from what was sent and usual, four 2 x 2 sums
    learnt = blocks * (8 + 8)  # noise, background, reference; score
    return width * height + fit + explained + judged + learnt


def formulas():
    """One measurement of a grid: centring, hyperplanes, energy, and what is done by position."""
    return POSITIONS * CHANNELS * (1 + 2 * BITS + 3 + 3) + POSITIONS * 60


def of(edge, cloud, tokens):
    edge, cloud = Path(edge), Path(cloud)
    length = POSITIONS + PROMPT + tokens
    probe = convolutions(edge / "vision_probe.onnx", (1, 3, 224, 224))
    trunk = convolutions(edge / "vision_trunk.onnx", (1, 24, 56, 56))
    return {"probe": probe, "trunk": trunk, "draft": read(edge, length), "verify": read(cloud, length),
            "formulas": formulas()}


def parts(edge, cloud):
    """Of the image encoder a picture, and of the full model: a token through each projector and through the decoder's linear
    layers, and for each token that a token looks at."""
    probe = convolutions(edge / "vision_probe.onnx", (1, 3, 224, 224))
    trunk = convolutions(edge / "vision_trunk.onnx", (1, 24, 56, 56))
    projector = {"video": "vision", "audio": "audio", "sensor": "sensor"}
    of_modality = {m: linear(cloud / f"{name}_projector.onnx") for m, name in projector.items()}
    return {"vision": probe + trunk, "picture": POSITIONS, "projector": of_modality,
            "token": linear(cloud / "decoder_model_merged.onnx"), "attention": attention(cloud, 1)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edge", type=Path, required=True)
    parser.add_argument("--cloud", type=Path, required=True)
    arguments = parser.parse_args()
    print(json.dumps({k: v if isinstance(v, dict) else int(v) for k, v in parts(arguments.edge, arguments.cloud).items()}))
