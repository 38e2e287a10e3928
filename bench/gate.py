"""Does the gate find events? Compares MAS with other ways to choose frames, at the same share of frames kept.

python gate.py --media DIR --work DIR --program target/release/examples/gate --model testdata/models/msao-edge
"""

import argparse
import json
import os
import pickle
import subprocess
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import imageio_ffmpeg
import numpy as np

import clips
import methods
import score

# As many as score.sweep gives the others, so low that 20 % of the frames are reached.
THRESHOLDS = np.geomspace(0.0005, 0.2, 24).round(5)


def mas(path, program, model):
    """Frames kept by MAS for each threshold and interval; on the frames that the others get."""
    decode = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]
    intervals = ",".join(str(int(i * clips.FPS)) for i in score.INTERVALS)
    frames = subprocess.Popen(decode, stdout=subprocess.PIPE)
    done = subprocess.run([program, str(clips.WIDTH), str(clips.HEIGHT), model, ",".join(map(str, THRESHOLDS)), intervals],
                          stdin=frames.stdout, capture_output=True, text=True)
    if done.returncode or frames.wait():
        raise SystemExit(f"{program}: {done.stderr[-800:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def one(job):
    path, program, model = job
    cache = path.with_suffix(".pkl")
    if cache.exists():
        others = pickle.loads(cache.read_bytes())
    else:
        others = methods.all_scores(path)
        cache.write_bytes(pickle.dumps(others))
    return json.loads(path.with_suffix(".json").read_text()), others, mas(path, program, model)


def settings_of(results):
    """{method: {setting: [counts of each clip]}} and {method: milliseconds a frame}."""
    labels = [label for label, _, _ in results]
    found = {"MAS": {}}
    cost = {"MAS": {}}
    for label, _, runs in results:
        for run in runs:
            name = f"threshold {run['threshold']} interval {run['interval'] / clips.FPS:g}"
            found["MAS"].setdefault(name, []).append(score.of_clip(run["kept"], label))
            cost["MAS"].setdefault(name, []).append(run["ms"])
    cost["MAS"] = {name: float(np.mean(times)) for name, times in cost["MAS"].items()}
    for method in results[0][1][0]:
        found[method] = score.sweep([others[0][method] for _, others, _ in results], labels)
    found["ffmpeg mpdecimate"] = {}
    for label, others, _ in results:
        for name, kept in others[2].items():
            for interval in score.INTERVALS:
                thinned = score.thin(kept, interval, label["fps"])
                found["ffmpeg mpdecimate"].setdefault(f"{name} interval {interval}", []).append(
                    score.of_clip(thinned, label))
    found["uniform"] = score.uniform(labels)
    for method in results[0][1][1]:
        cost[method] = 1000 * float(np.mean([others[1][method] for _, others, _ in results]))
    cost["uniform"] = 0.0
    return found, cost


def table(found, cost):
    best = {method: score.best(settings) for method, settings in found.items()}
    lines = ["| method | " + " | ".join(f"{budget:.0%} kept" for budget in score.BUDGETS) + " | CPU a frame |",
             "| --- | " + "--- | " * (len(score.BUDGETS) + 1)]
    for method, chosen in best.items():
        cells = []
        for budget in score.BUDGETS:
            b = chosen.get(budget)
            cells.append("-" if b is None else f"{b['recall']:.0%}, {b['false_a_minute']:.1f}/min"
                         + ("" if b["delay"] is None else f", {b['delay']:.1f} s"))
        price = cost[method]
        if isinstance(price, dict):
            price = max(price[b["setting"]] for b in chosen.values())
        lines.append(f"| {method} | " + " | ".join(cells) + f" | {price:.2f} ms |")
    return "\n".join(lines), best


def kinds(results, found, best, budget):
    """Recall by kind of clip at one budget, each method at the setting that is best over all clips."""
    names = sorted({label["kind"] for label, _, _ in results})
    lines = ["| method | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    for method, chosen in best.items():
        if budget not in chosen:
            continue
        parts = found[method][chosen[budget]["setting"]]
        cells = []
        for name in names:
            t = score.total([p for p, (label, _, _) in zip(parts, results) if label["kind"] == name])
            cells.append(f"{t['recall']:.0%}, {t['false_a_minute']:.1f}")
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--media", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--program", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--set", default="test", choices=sorted(clips.SETS))
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    arguments = parser.parse_args()
    paths = clips.make(arguments.set, arguments.media, arguments.work, arguments.jobs)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        results = list(pool.map(one, [(path, arguments.program, arguments.model) for path in paths]))
    found, cost = settings_of(results)
    text, best = table(found, cost)
    events = sum(len(label["events"]) for label, _, _ in results)
    print(f"{len(results)} clips, {events} events. Recall, false openings a minute, median delay:\n\n{text}\n")
    print(f"By kind of clip at 5 % kept: recall, false openings a minute:\n\n{kinds(results, found, best, 0.05)}")
    report = {"set": arguments.set, "seed": clips.SETS[arguments.set]["seed"], "events": events,
              "best": {m: {str(b): v for b, v in c.items()} for m, c in best.items()}, "cpu_ms": cost}
    target = arguments.work / f"gate-{arguments.set}.json"
    target.write_text(json.dumps(report, indent=1))
    print(f"\n{target}")


if __name__ == "__main__":
    main()
