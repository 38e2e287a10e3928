"""Makes testdata/tiny_gguf: a language model of one layer that llama.cpp loads, and a vision encoder of two for it.

Their weights are random: what they say of a picture is always the same, depends on it, and means nothing. They are for tests
that need a server with a model that sees. Needs the packages gguf and numpy of models/requirements.txt.

    python models/tiny_gguf/make.py testdata/tiny_gguf
"""

import sys
from pathlib import Path

import gguf
import numpy as np

WORDS = """a the man woman dog cat car street red blue white green walks runs rides stands sits sleeps on in of with and
two three people bus bicycle road snow park house tree water dark small""".split()
WIDTH, HEADS, HIDDEN = 32, 2, 64
# Of the vision encoder: pictures of 56 x 56 pixels become 4 x 4 tokens.
SIDE, PATCH, DEPTH = 56, 14, 2

random = np.random.default_rng(7)


def weights(*shape: int, scale: float = 1.0) -> np.ndarray:
    fan_in = np.prod(shape[1:]) if len(shape) > 2 else shape[-1]
    return (random.standard_normal(shape) * scale / np.sqrt(fan_in)).astype(np.float16)


def ones(n: int) -> np.ndarray:
    return np.ones(n, np.float32)


def zeros(n: int) -> np.ndarray:
    return np.zeros(n, np.float32)


def write(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def language_model(path: Path) -> None:
    special = ["<unk>", "<s>", "</s>"]
    tokens = special + [f"<0x{byte:02X}>" for byte in range(256)] + ["\u2581" + word for word in WORDS]
    kind = gguf.TokenType
    kinds = [kind.UNKNOWN, kind.CONTROL, kind.CONTROL] + [kind.BYTE] * 256 + [kind.NORMAL] * len(WORDS)
    model = gguf.GGUFWriter(path, "llama")
    model.add_name("tiny")
    model.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    model.add_vocab_size(len(tokens))
    model.add_context_length(4096)
    model.add_embedding_length(WIDTH)
    model.add_feed_forward_length(HIDDEN)
    model.add_block_count(1)
    model.add_head_count(HEADS)
    model.add_head_count_kv(HEADS)
    model.add_rope_dimension_count(WIDTH // HEADS)
    model.add_layer_norm_rms_eps(1e-5)
    model.add_tokenizer_model("llama")
    model.add_token_list(tokens)
    model.add_token_scores([0.0] * len(tokens))
    model.add_token_types(kinds)
    model.add_bos_token_id(1)
    model.add_eos_token_id(2)
    model.add_unk_token_id(0)
    model.add_chat_template("{% for message in messages %}{{ message['content'] }}\n{% endfor %}")
    model.add_tensor("token_embd.weight", weights(len(tokens), WIDTH, scale=4.0))
    model.add_tensor("output_norm.weight", ones(WIDTH))
    output = weights(len(tokens), WIDTH, scale=4.0)
    # Only words and the end are ever the likeliest.
    output[:2] = output[3 : 3 + 256] = 0
    model.add_tensor("output.weight", output)
    for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
        model.add_tensor(f"blk.0.{part}.weight", weights(WIDTH, WIDTH))
    model.add_tensor("blk.0.attn_norm.weight", ones(WIDTH))
    model.add_tensor("blk.0.ffn_norm.weight", ones(WIDTH))
    model.add_tensor("blk.0.ffn_gate.weight", weights(HIDDEN, WIDTH))
    model.add_tensor("blk.0.ffn_up.weight", weights(HIDDEN, WIDTH))
    model.add_tensor("blk.0.ffn_down.weight", weights(WIDTH, HIDDEN))
    write(model)


def vision_encoder(path: Path) -> None:
    model = gguf.GGUFWriter(path, "clip")
    model.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    model.add_bool("clip.has_vision_encoder", True)
    model.add_string("clip.projector_type", "mlp")
    model.add_bool("clip.use_gelu", False)
    for name, value in {
        "image_size": SIDE,
        "patch_size": PATCH,
        "embedding_length": WIDTH,
        "feed_forward_length": HIDDEN,
        "projection_dim": WIDTH,
        "block_count": DEPTH,
        "attention.head_count": HEADS,
    }.items():
        model.add_uint32(f"clip.vision.{name}", value)
    model.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    model.add_array("clip.vision.image_mean", [0.5] * 3)
    model.add_array("clip.vision.image_std", [0.5] * 3)
    model.add_tensor("v.class_embd", weights(1, WIDTH)[0].astype(np.float32))
    model.add_tensor("v.patch_embd.weight", weights(WIDTH, 3, PATCH, PATCH, scale=4.0))
    model.add_tensor("v.position_embd.weight", weights((SIDE // PATCH) ** 2 + 1, WIDTH))
    for norm in ("v.pre_ln", "v.post_ln"):
        model.add_tensor(f"{norm}.weight", ones(WIDTH))
        model.add_tensor(f"{norm}.bias", zeros(WIDTH))
    for layer in range(DEPTH):
        parts = {"attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH, WIDTH), "attn_v": (WIDTH, WIDTH), "attn_out": (WIDTH, WIDTH)}
        parts |= {"ffn_up": (HIDDEN, WIDTH), "ffn_down": (WIDTH, HIDDEN)}
        for part, shape in parts.items():
            model.add_tensor(f"v.blk.{layer}.{part}.weight", weights(*shape))
            model.add_tensor(f"v.blk.{layer}.{part}.bias", zeros(shape[0]))
        for norm in ("ln1", "ln2"):
            model.add_tensor(f"v.blk.{layer}.{norm}.weight", ones(WIDTH))
            model.add_tensor(f"v.blk.{layer}.{norm}.bias", zeros(WIDTH))
    for layer in (0, 2):
        model.add_tensor(f"mm.{layer}.weight", weights(WIDTH, WIDTH, scale=4.0))
        model.add_tensor(f"mm.{layer}.bias", zeros(WIDTH))
    write(model)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    language_model(folder / "model.gguf")
    vision_encoder(folder / "mmproj.gguf")
