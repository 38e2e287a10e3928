"""What tokens and accepted drafts are worth at the size of the models that the MSAO paper used.

Builds Qwen2-VL-2B and Qwen2.5-VL-7B from their published shapes with random weights in bf16 (times and operations do not
depend on what the weights are), and measures on one NVIDIA GPU: the image encoder, the prefill, a decoded token, and the
check of a whole draft in one pass, over the numbers of tokens that are kept of a picture; tokens a second in batches;
operations as PyTorch counts them; memory. Run as: python3 bench/paper_scale.py OUT.json  (--tiny: small shapes on the CPU)
"""

import argparse
import json
import statistics
import time

import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache, Qwen2_5_VLConfig, Qwen2VLConfig
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2VLForConditionalGeneration

# Patches (rows, columns) of 14 x 14 pixels; four make a token.
PICTURES = {"448 x 448": (32, 32), "1280 x 720": (52, 92), "1920 x 1080": (78, 138)}
SHARES = [1.0, 0.5, 0.35, 0.2, 0.1]
PROMPT = 32
DRAFT = 14
BATCHES = [1, 4, 16, 64]
BATCH_CONTEXT = 512
ROPE = {"rope_theta": 1e6, "rope_type": "default", "mrope_section": [16, 24, 24]}


def configurations(tiny):
    """Name, class and configuration of each model. Shapes: the `config.json` of each on the Hugging Face hub."""

    def text(hidden, intermediate, layers, heads, key_values, vocabulary):
        if tiny:
            hidden, intermediate, layers, heads, key_values, vocabulary = 256, 512, 2, 2, 1, 1000
        return dict(
            hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers, num_attention_heads=heads,
            num_key_value_heads=key_values, vocab_size=vocabulary, max_window_layers=layers, rope_parameters=ROPE,
            layer_types=["full_attention"] * layers,
        )

    two = text(1536, 8960, 28, 12, 2, 151_936)
    seven = text(3584, 18_944, 28, 28, 4, 152_064)
    depth = 2 if tiny else 32
    two_sees = dict(depth=depth, embed_dim=1280, num_heads=16, mlp_ratio=4, hidden_size=two["hidden_size"])
    seven_sees = dict(depth=depth, hidden_size=1280, intermediate_size=3420, num_heads=16,
                      out_hidden_size=seven["hidden_size"])
    return [
        ("Qwen2-VL-2B", Qwen2VLForConditionalGeneration, Qwen2VLConfig(
            text_config=two, vision_config=two_sees, tie_word_embeddings=True)),
        ("Qwen2.5-VL-7B", Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLConfig(
            text_config=seven, vision_config=seven_sees, tie_word_embeddings=False)),
    ]


class Clock:
    """Times on the GPU by its own events, elsewhere by the wall clock."""

    def __init__(self, device, rounds):
        self.gpu, self.rounds = device == "cuda", rounds

    def ms(self, work):
        """The median of the rounds, after three that do not count."""
        for _ in range(3):
            work()
        return statistics.median(self.one(work) for _ in range(self.rounds))

    def one(self, work):
        if not self.gpu:
            begun = time.perf_counter()
            work()
            return (time.perf_counter() - begun) * 1e3
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin.record()
        work()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end)


def flops(model, work):
    """Operations, attention to all that is there counted in full. The counter does not know grouped fused attention."""
    model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter:
        work()
    model.set_attn_implementation("sdpa")
    return counter.get_total_flops()


class Language:
    """The language model on random embeddings."""

    def __init__(self, model, device):
        self.text, self.head, self.device = model.model.language_model, model.lm_head, device
        self.hidden = self.text.config.hidden_size
        self.dtype = self.head.weight.dtype

    def step(self, tokens, cache, every=False, batch=1):
        """Runs so many tokens after the cache; logits of the last one or of every one."""
        there = cache.get_seq_length()
        embeddings = torch.randn(batch, tokens, self.hidden, device=self.device, dtype=self.dtype)
        positions = torch.arange(there, there + tokens, device=self.device).expand(3, batch, tokens)
        output = self.text(inputs_embeds=embeddings, position_ids=positions, past_key_values=cache, use_cache=True)
        states = output.last_hidden_state
        return self.head(states if every else states[:, -1:])

    def filled(self, tokens, batch=1):
        cache = DynamicCache(config=self.text.config)
        self.step(tokens, cache, batch=batch)
        return cache

    def after(self, context, tokens, every=False, batch=1):
        """A function that runs tokens after a context, which stays as it is."""
        cache = self.filled(context, batch)

        def work():
            self.step(tokens, cache, every, batch)
            cache.crop(-tokens)

        return work


def graphed(work, what):
    """The same as a CUDA graph: what the GPU takes when Python does not hold it up. None where it cannot be captured."""
    if not torch.cuda.is_available():
        return None
    try:
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(3):
                work()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
    except RuntimeError as error:
        print(f"no graph of {what}: {error}", flush=True)
        return None
    return graph.replay


def times(clock, work, what):
    """Milliseconds as Python runs it, and as a graph."""
    replay = graphed(work, what)
    return {"ms": clock.ms(work), "graph_ms": clock.ms(replay) if replay else None}


def measure(name, model, clock, device):
    gpu = device == "cuda"
    language = Language(model, device)
    config = model.config.text_config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    result = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "kv_bytes_a_token": 2 * config.num_hidden_layers * config.num_key_value_heads * head * 2,
        "weights_gib": torch.cuda.memory_allocated() / 2**30 if gpu else None,
        "pictures": {},
        "batches": [],
    }
    patch = 3 * 2 * 14 * 14
    for picture, (rows, columns) in PICTURES.items():
        tokens = rows * columns // 4
        pixels = torch.randn(rows * columns, patch, device=device, dtype=language.dtype)
        grid = torch.tensor([[1, rows, columns]], device=device)
        see = lambda: model.model.visual(pixels, grid_thw=grid)
        row = {"tokens": tokens, "encoder": {**times(clock, see, "the encoder"), "flops": flops(model, see)}, "kept": []}
        for share in SHARES:
            context = PROMPT + round(tokens * share)
            if gpu:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            entry = {"share": share, "context": context}
            for step, work in {
                "prefill": lambda: language.filled(context),
                "decode": language.after(context, 1),
                "verify": language.after(context, DRAFT + 1, every=True),
            }.items():
                entry[step] = times(clock, work, f"{step} at {context}")
                if gpu and step == "prefill":
                    entry["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
                entry[step]["flops"] = flops(model, work)
            row["kept"].append(entry)
            print(name, picture, entry, flush=True)
        result["pictures"][picture] = row
    for batch in BATCHES:
        row = times(clock, language.after(BATCH_CONTEXT, 1, batch=batch), f"a batch of {batch}")
        ms = row["graph_ms"] or row["ms"]
        result["batches"].append({"batch": batch, "context": BATCH_CONTEXT, "decode": row,
                                  "tokens_a_second": batch / ms * 1e3})
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    device = "cpu" if arguments.tiny else "cuda"
    clock = Clock(device, 3 if arguments.tiny else 10)
    result = {
        "device": "CPU" if arguments.tiny else torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "prompt_tokens": PROMPT,
        "draft_tokens": DRAFT,
        "models": {},
    }
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    for name, kind, config in configurations(arguments.tiny):
        with torch.device(device), torch.inference_mode():
            model = kind(config).eval()
        with torch.inference_mode():
            result["models"][name] = measure(name, model, clock, device)
        del model
        if device == "cuda":
            torch.cuda.empty_cache()
    with open(arguments.out, "w") as file:
        json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
