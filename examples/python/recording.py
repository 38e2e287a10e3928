"""Reads a recording made by `msao record`: its windows as one Arrow table, its captions as dictionaries.

    .cache/python-venv/bin/python examples/python/recording.py FOLDER

prints a line for each window, with the last caption that there is of it.
"""

import json
import sys
from pathlib import Path

import numpy
import pyarrow


def windows(folder: Path) -> list[dict]:
    """Every window, the oldest first."""
    rows = []
    for path in sorted(folder.glob("features-*.arrows")):
        with pyarrow.OSFile(str(path)) as file, pyarrow.ipc.open_stream(file) as stream:
            rows.extend(stream.read_all().to_pylist())
    return rows


def captions(folder: Path) -> dict[str, dict]:
    """The caption of highest revision of each window, by the window's id."""
    last: dict[str, dict] = {}
    for path in sorted(folder.glob("captions-*.jsonl")):
        for line in path.read_text().splitlines():
            caption = json.loads(line)
            known = last.get(caption["id"])
            if known is None or known["revision"] < caption["revision"]:
                last[caption["id"]] = caption
    return last


def features(window: dict) -> numpy.ndarray:
    """The kept features of a window, tokens x channels."""
    rows = [numpy.array(token["feature"], numpy.float32) * token["scale"] for token in window["tokens"]]
    return numpy.stack(rows) if rows else numpy.zeros((0, 0), numpy.float32)


def main() -> None:
    folder = Path(sys.argv[1])
    said = captions(folder)
    for window in windows(folder):
        name = f"{window['rig']}/{window['epoch']}/{window['seq']}"
        mas = ", ".join(f"{report['stream']} {report['mas']:.2f}" for report in window["modalities"])
        caption = said.get(name, {"status": "no caption", "text": ""})
        print(f"{name}  features {features(window).shape}  MAS {mas}  {caption['status']}: {caption['text']}")


if __name__ == "__main__":
    main()
