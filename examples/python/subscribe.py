"""Prints the captions of a rig as they come, and what its feature windows hold.

    examples/python/setup.sh
    .cache/python-venv/bin/python examples/python/subscribe.py --url nats://127.0.0.1:4222 --rig street
"""

import argparse
import asyncio
import json

import nats
import numpy as np
import pyarrow as pa


# What a compressed window begins with.
ZSTANDARD = bytes.fromhex("28b52ffd")


def check(schema, name):
    """Another major cannot be read; what a newer minor adds is ignored."""
    if not schema.startswith(f"{name}/1."):
        raise ValueError(f"schema '{schema}' is not readable here: this reads {name}/1.x")


class Captions:
    """Captions by window: each (id, revision) once, and none after a higher revision of its window."""

    def __init__(self):
        self.last = {}

    def line(self, payload):
        caption = json.loads(payload)
        check(caption["schema"], "caption")
        key, revision = caption["id"], caption["revision"]
        before = self.last.get(key)
        if before and before["revision"] >= revision:
            return None
        self.last[key] = caption
        while len(self.last) > 10_000:
            self.last.pop(next(iter(self.last)))
        status = "kept" if caption.get("final") else caption["status"]
        line = f"{status:<9}  {key}  {caption['text']}"
        if before and before["text"] != caption["text"]:
            line += f"  (was: {before['text']})"
        return line


def read_features(payload):
    """A window as a dict of its columns, and its tokens' features: an array of tokens x channels, float32."""
    stream = pa.BufferReader(payload)
    if payload.startswith(ZSTANDARD):
        stream = pa.CompressedInputStream(stream, "zstd")
    table = pa.ipc.open_stream(stream).read_all()
    check(table.schema.metadata[b"msao.schema"].decode(), "features")
    (row,) = table.drop_columns(["tokens"]).to_pylist()
    tokens = table["tokens"].combine_chunks().values
    quantised = tokens.field("feature")
    channels = quantised.type.list_size
    values = quantised.flatten().to_numpy(zero_copy_only=False).reshape(-1, channels)
    scale = tokens.field("scale").to_numpy(zero_copy_only=False)
    return row, values.astype(np.float32) * scale[:, np.newaxis]


def window_lines(payload):
    row, features = read_features(payload)
    yield f"features   {row['rig']}/{row['epoch']}/{row['seq']}  {features.shape[0]} tokens x {features.shape[1]} channels, {row['decision']}"
    for stream in row["modalities"]:
        yield f"           {stream['modality']}/{stream['stream']}  MAS {stream['mas']:.4f}"
    if features.size:
        yield f"           values from {features.min():.4f} to {features.max():.4f}, mean {features.mean(dtype=np.float64):.4f}"


async def main():
    parser = argparse.ArgumentParser(description="Prints captions and reads features of MSAO.")
    parser.add_argument("--url", default="nats://127.0.0.1:4222")
    parser.add_argument("--rig", default="*", help="a rig's name; all rigs by default")
    parser.add_argument("--count", type=int, default=0, help="stop after so many messages; 0: never")
    arguments = parser.parse_args()
    client = await nats.connect(arguments.url)
    captions, seen, done = Captions(), 0, asyncio.Event()

    async def heard(message):
        nonlocal seen
        try:
            if message.subject.startswith("msao.v1.captions."):
                lines = [captions.line(message.data)]
            else:
                lines = list(window_lines(message.data))
        except (ValueError, KeyError, TypeError) as error:
            lines = [f"unreadable  {message.subject}: {error}"]
        for line in filter(None, lines):
            print(line, flush=True)
        seen += 1
        if seen == arguments.count:
            done.set()

    for kind in ["captions", "features"]:
        await client.subscribe(f"msao.v1.{kind}.{arguments.rig}", cb=heard)
    await client.flush()
    print(f"listening  {arguments.url}", flush=True)
    await done.wait()
    await client.drain()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
