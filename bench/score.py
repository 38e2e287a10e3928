"""Recall of events, false openings and delay of chosen frames, and the best setting within a budget."""

import numpy as np

WARM = 3.0  # seconds at the start of a clip that count for nobody
AFTER = 1.0  # seconds after an event in which frames still belong to it: the object's going is a change too
OPENING = 1.0  # seconds that one false opening lasts at most
INTERVALS = (0.0, 0.5, 1.0, 2.0)  # least seconds between kept frames
BUDGETS = (0.01, 0.02, 0.05, 0.1, 0.2)


def thin(kept, interval, fps):
    """Kept frames with at least `interval` seconds between them."""
    chosen = []
    for frame in kept:
        if not chosen or frame - chosen[-1] >= interval * fps:
            chosen.append(int(frame))
    return chosen


def of_clip(kept, clip):
    """Counts for one clip: a dictionary that adds up over clips."""
    fps, warm = clip["fps"], WARM * clip["fps"]
    kept = np.array([k for k in kept if k >= warm], int)
    found, delays = 0, []
    inside = np.zeros(len(kept), bool)
    for event in clip["events"]:
        seen = kept[(kept >= event["start"]) & (kept < event["end"])]
        if len(seen):
            found += 1
            delays.append((seen[0] - event["start"]) / fps)
        inside |= (kept >= event["start"] - 1) & (kept < event["end"] + AFTER * fps)
    # A false opening lasts a second at most, so that a gate that stays open is not counted once.
    false, last = 0, None
    for frame in kept[~inside]:
        if last is None or frame - last >= OPENING * fps:
            false, last = false + 1, frame
    frames = clip["frames"] - warm
    return {"kept": len(kept), "frames": frames, "events": len(clip["events"]), "found": found, "false": false,
            "minutes": frames / fps / 60, "delays": delays}


def total(parts):
    whole = {key: sum(part[key] for part in parts) for key in ("kept", "frames", "events", "found", "false", "minutes")}
    delays = [delay for part in parts for delay in part["delays"]]
    return {"share": whole["kept"] / whole["frames"], "recall": whole["found"] / max(whole["events"], 1),
            "false_a_minute": whole["false"] / whole["minutes"], "events": whole["events"],
            "delay": float(np.median(delays)) if delays else None}


def best(settings):
    """Within each budget the setting with the highest recall; of equal ones that with the fewest false openings.
    `settings`: {name: [kept frames of each clip as counted by of_clip]}."""
    totals = {name: total(parts) for name, parts in settings.items()}
    chosen = {}
    for budget in BUDGETS:
        within = [(-t["recall"], t["false_a_minute"], t["share"], name) for name, t in totals.items()
                  if t["share"] <= budget]
        if within:
            name = min(within)[3]
            chosen[budget] = {"setting": name} | totals[name]
    return chosen


def sweep(scores, clips, variants=24):
    """All settings of methods that give one score a frame: thresholds by quantiles, least intervals, variants."""
    settings = {}
    for variant in next(iter(scores)):
        values = [score[variant] for score in scores]
        for threshold in np.unique(np.quantile(np.concatenate(values), 1 - np.geomspace(0.0005, 0.7, variants))):
            for interval in INTERVALS:
                kept = [thin(np.flatnonzero(v >= max(threshold, 1e-9)), interval, c["fps"])
                        for v, c in zip(values, clips)]
                name = f"{variant} threshold {threshold:.4g} interval {interval}"
                settings[name] = [of_clip(k, c) for k, c in zip(kept, clips)]
    return settings


def uniform(clips):
    settings = {}
    for step in (3, 4, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200):
        settings[f"every {step}th"] = [of_clip(range(0, int(c["frames"]), step), c) for c in clips]
    return settings
