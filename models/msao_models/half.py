"""Writes a model folder again with networks that compute in f16; what goes in and out stays f32.

    python -m msao_models.half --model ../testdata/models/msao-edge --out half/msao-edge

Matrices in blocks stay as they are, but for their scales. Needs numpy, onnx and onnxruntime only.
"""

import argparse
import hashlib
import json
import shutil
from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

# Networks whose digest `config.json` holds, by what it calls them.
ENCODERS = {
    "vision_encoder": ("vision_probe.onnx", "vision_trunk.onnx"),
    "audio_encoder": ("audio_encoder.onnx",),
    "sensor_encoder": ("sensor_encoder.onnx",),
}


def write(model: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(model.glob("*.onnx")):
        onnx.save(convert_float_to_float16(onnx.load(path), keep_io_types=True), out / path.name)
    for path in model.glob("*.json"):
        shutil.copy(path, out)
    config = json.loads((model / "config.json").read_text())
    for name, files in ENCODERS.items():
        if name in config and all((out / file).is_file() for file in files):
            config[name]["sha256"] = hashlib.sha256(b"".join((out / file).read_bytes() for file in files)).hexdigest()
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    write(arguments.model, arguments.out)


if __name__ == "__main__":
    main()
