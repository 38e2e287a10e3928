"""The cloud's GPU time and operations for each method of `msao bench offload`, at the size of the paper's models.

What each method sends, how much of a picture and how many tokens of its drafts are accepted is measured by `msao bench offload`
with the models that ship; what a prefill, a decoded token and a check take is measured by `paper_scale.py` with models of the
paper's size. The table multiplies the two, which nobody measured together: it says in its head which columns are which.
Run as: python3 bench/paper_scale_table.py target/bench-offload/windows.jsonl [bench/paper_scale.json]
"""

import argparse
import json
from pathlib import Path

MODEL = "Qwen2.5-VL-7B"
# Positions of a picture for the models that ship: all of them are a share of 1.
POSITIONS = 49


class Costs:
    """Milliseconds and TFLOP of the big model's steps, by the share of a picture's tokens that is kept."""

    def __init__(self, scale, picture):
        self.caption = scale["draft_tokens"]
        row = scale["models"][MODEL]["pictures"][picture]
        self.encoder = self.cost(row["encoder"])
        self.kept = sorted(row["kept"], key=lambda entry: entry["share"])

    @staticmethod
    def cost(entry):
        return [entry["graph_ms"] or entry["ms"], entry["flops"] / 1e12]

    def of(self, step, share):
        """Between measured shares in a straight line; below the least, as at the least."""
        share = min(max(share, self.kept[0]["share"]), self.kept[-1]["share"])
        for below, above in zip(self.kept, self.kept[1:]):
            if share <= above["share"]:
                break
        weight = (share - below["share"]) / (above["share"] - below["share"])
        pairs = zip(self.cost(below[step]), self.cost(above[step]))
        return [a + weight * (b - a) for a, b in pairs]

    def window(self, window):
        """What one window takes in the cloud."""
        if not sent(window):
            return [0.0, 0.0]
        whole = window["keyframe"]
        share = 1.0 if whole else kept(window)
        parts = [(1.0, self.encoder)] if whole else []
        parts.append((1.0, self.of("prefill", share)))
        steps = self.caption
        if window["verified"]:
            parts.append((1.0, self.of("verify", share)))
            steps *= 1 - accepted(window)
        parts.append((steps, self.of("decode", share)))
        return [sum(times * part[i] for times, part in parts) for i in (0, 1)]


def sent(window):
    return window["decision"] != "keep" and (window["keyframe"] or any(window["tokens"].values()))


def kept(window):
    return window["tokens"].get("video", 0) / POSITIONS


def accepted(window):
    """The share of the draft that stands; a draft without tokens stands for nothing."""
    tokens = (window["draft"] or {}).get("tokens", 0)
    return min((window["accepted"] or 0) / tokens, 1.0) if tokens else 0.0


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else None


def percent(value):
    return "" if value is None else f"{100 * value:.0f} %"


def methods(path):
    """Windows by method, in the order in which they come."""
    found = {}
    with open(path) as lines:
        for line in lines:
            record = json.loads(line)
            found.setdefault(record["method"], []).append(record["window"])
    return found


def table(found, costs, picture):
    rows = [
        "| method | windows sent (measured) | of a picture's tokens (measured) | drafts' tokens accepted (measured) "
        "| GPU time of a window that is sent (calculated) | of any window (calculated) | TFLOP of any window (calculated) "
        "| of cloud only (calculated) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    totals = {name: [mean(costs.window(w)[i] for w in windows) for i in (0, 1)] for name, windows in found.items()}
    whole = totals.get("cloud only")
    for name, windows in found.items():
        those = [w for w in windows if sent(w)]
        verified = [accepted(w) for w in those if w["verified"]]
        time = mean(costs.window(w)[0] for w in those)
        total = totals[name]
        cells = [
            name,
            percent(len(those) / len(windows)),
            percent(mean(1.0 if w["keyframe"] else kept(w) for w in those)),
            percent(mean(verified)),
            "" if time is None else f"{time:.0f} ms",
            f"{total[0]:.0f} ms",
            f"{total[1]:.2f}",
            percent(total[0] / whole[0]) if whole and whole[0] else "",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    count = max(len(windows) for windows in found.values())
    note = f"{count} windows a method; {MODEL}, a picture of {picture}, a caption of {costs.caption} tokens."
    return "\n".join([note, "", *rows])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("windows", type=Path)
    parser.add_argument("scale", type=Path, nargs="?", default=Path(__file__).with_name("paper_scale.json"))
    parser.add_argument("--picture", default="1280 x 720")
    arguments = parser.parse_args()
    costs = Costs(json.loads(arguments.scale.read_text()), arguments.picture)
    found = methods(arguments.windows)
    if not found:
        raise SystemExit(f"{arguments.windows} holds no windows: run `make bench-offload`")
    print(table(found, costs, arguments.picture))


if __name__ == "__main__":
    main()
