"""Builds labelled clips: real objects at known times before real backgrounds, with what disturbs cameras.

Every clip is a file of H.264, 640 x 480 at 10 frames/s, with a JSON file of its events beside it. The same seed
makes the same clips. What the parameters of MAS were fitted on (`tune`, ...) and what is reported (`test`, `final`)
share no background picture, no pedestrian and no seed.
"""

import json
import subprocess
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np

WIDTH, HEIGHT, FPS = 640, 480, 10
QUIET = 4 * FPS  # frames without an event at the start of a clip
KINDS = ("still", "exposure", "flicker", "noise", "shake", "rain", "compressed", "crushed")
CRF = {"compressed": 32, "crushed": 40}
TUNE = {"backgrounds": ("table", "tree-a"), "objects": "tune", "frames": 300}
TEST = {"backgrounds": ("street", "wall", "tree-b"), "objects": "test", "frames": 300}
SETS = {
    "tune": TUNE | {"seed": 1000},
    "tune-b": TUNE | {"seed": 1100},
    "tune-c": TUNE | {"seed": 1200},
    "test": TEST | {"seed": 2000},
    "final": TEST | {"seed": 3000},
}


def read(path, step=1, limit=None):
    """Frames of a video, resized: [n, HEIGHT, WIDTH, 3]."""
    video, frames, index = cv2.VideoCapture(str(path)), [], 0
    while limit is None or len(frames) < limit:
        good, frame = video.read()
        if not good:
            break
        if index % step == 0:
            frames.append(cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA))
        index += 1
    if not frames:
        raise SystemExit(f"{path} holds no frames")
    return np.stack(frames)


def boxes(mask, least):
    count, _, stats, centres = cv2.connectedComponentsWithStats(mask)
    for index in range(1, count):
        x, y, w, h, area = stats[index]
        if area >= least and 2 < x and x + w < WIDTH - 2 and 2 < y and y + h < HEIGHT - 2:
            yield x, y, w, h, centres[index]


def pedestrians(frames, middle):
    """Tracks of people cut out of the street: lists of (picture, alpha)."""
    tracks, done = [], []
    for frame in frames:
        difference = cv2.absdiff(frame, middle).max(axis=2)
        mask = cv2.morphologyEx((difference > 28).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 5), np.uint8))
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        seen = [b for b in boxes(mask, 300) if b[3] > 1.3 * b[2] and b[3] < 150]
        going = []
        for track in tracks:
            near = [b for b in seen if np.hypot(*(b[4] - track["at"])) < 14 and abs(b[3] - track["h"]) < 14]
            if near:
                track["at"], track["h"] = near[0][4], near[0][3]
                track["cut"].append(cut(frame, mask, near[0]))
                seen = [b for b in seen if b is not near[0]]
                going.append(track)
            else:
                done.append(track)
        tracks = going + [{"at": b[4], "h": b[3], "cut": [cut(frame, mask, b)]} for b in seen]
    return [track["cut"][1:-1] for track in done + tracks if len(track["cut"]) >= 12]


def fine(frame, middle):
    """What differs from the background and is finer than an object; NaN near what moves."""
    residue = frame.astype(np.float32) - middle
    coarse = cv2.GaussianBlur(residue, (0, 0), 5)
    busy = cv2.dilate((np.abs(coarse).max(axis=2) > 1.2).astype(np.uint8), np.ones((21, 21), np.uint8)) > 0
    residue -= coarse
    residue[busy] = np.nan
    return residue


def cut(frame, mask, box):
    x, y, w, h, _ = box
    alpha = cv2.GaussianBlur(mask[y : y + h, x : x + w].astype(np.float32), (3, 3), 0)
    return frame[y : y + h, x : x + w].copy(), alpha


def cups(frames, wall):
    """A hand with a cup, cut out before its wall: one track."""
    track = []
    for frame in frames:
        mask = (cv2.absdiff(frame, wall).max(axis=2) > 45).astype(np.uint8)
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
        x, y, w, h = cv2.boundingRect(mask)
        alpha = cv2.GaussianBlur(mask[y : y + h, x : x + w].astype(np.float32), (3, 3), 0)
        track.append((frame[y : y + h, x : x + w].copy(), alpha))
    return track


def material(media):
    """Backgrounds (loops of frames without an event), real noise, and objects."""
    street = read(media / "vtest.avi")
    middle = np.median(street[::6], axis=0).astype(np.uint8)
    # Noise where nothing moves; where something does, that of another time, or of none.
    noise = []
    for index in range(0, 160):
        field = fine(street[index], middle)
        for other in (index + 300, index + 550, index + 150, index + 420):
            still = fine(street[other], middle)
            field = np.where(np.isnan(field), still, field)
        noise.append(np.nan_to_num(field).clip(-20, 20).astype(np.int8))
    cup = read(media / "cup.mp4", step=3)
    wall = np.full_like(cup[0], np.median(cup.reshape(-1, 3)[::97], axis=0).astype(np.uint8))
    tree = read(media / "tree.avi", limit=50)
    table = np.median(read(media / "box.mp4", step=6), axis=0).astype(np.uint8)
    people = pedestrians(street, middle)
    half = len(people) // 2
    return {
        "backgrounds": {
            "street": middle[None],
            "table": table[None],
            "wall": np.median(cup, axis=0).astype(np.uint8)[None],
            "tree-a": tree[:25],
            "tree-b": tree[25:],
        },
        "noise": np.stack(noise),
        "objects": {"tune": people[:half], "test": people[half:]},
        "cups": {"tune": cups(cup[:30], wall), "test": cups(cup[40:], wall)},
    }


def plan(random, frames, people, cup):
    """Events of a clip: when, where and how what moves."""
    events, at = [], QUIET
    while True:
        fast = random.random() < 0.4
        length = int(random.integers(4, 9) if fast else random.integers(15, 41))
        at += int(random.integers(10, 40))
        if at + length + 2 * FPS > frames:
            return events
        large = random.random() < 0.15
        track = cup if large else people[random.integers(len(people))]
        tall = float(random.uniform(120, 220) if large else np.exp(random.uniform(np.log(16), np.log(110))))
        speed = float(random.uniform(12, 45) if fast else random.uniform(0.5, 6))
        angle = float(random.uniform(-0.4, 0.4)) + (np.pi if random.random() < 0.5 else 0.0)
        step = np.array([np.cos(angle), np.sin(angle)]) * speed
        # Where the middle of the path lies.
        centre = np.array([random.uniform(0.2, 0.8) * WIDTH, random.uniform(0.25, 0.8) * HEIGHT])
        events.append({
            "start": at, "end": at + length, "fast": fast, "large": large, "height": round(tall, 1),
            "strength": round(float(np.exp(random.uniform(np.log(0.2), 0.0))), 3),
            "from": (centre - step * length / 2).tolist(), "step": step.tolist(), "track": track,
            "mirror": bool(random.random() < 0.5), "phase": int(random.integers(1000)),
        })
        at += length + 2 * FPS


def paste(frame, event, index):
    """Pastes an event's object; returns the mean change of luma where it is, and how much of it is in the frame."""
    track = event["track"]
    turn = (event["phase"] + index) % (2 * len(track) - 2)
    picture, alpha = track[turn if turn < len(track) else 2 * len(track) - 2 - turn]
    scale = event["height"] / np.median([a.shape[0] for _, a in track])
    size = (max(4, round(alpha.shape[1] * scale)), max(4, round(alpha.shape[0] * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    picture, alpha = cv2.resize(picture, size, interpolation=way), cv2.resize(alpha, size, interpolation=way)
    if event["mirror"]:
        picture, alpha = picture[:, ::-1], alpha[:, ::-1]
    x, y = np.round(np.array(event["from"]) + np.array(event["step"]) * index - np.array(size) / 2).astype(int)
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + size[0], WIDTH), min(y + size[1], HEIGHT)
    if right - left < 3 or bottom - top < 3:
        return 0.0, 0.0
    alpha = alpha[top - y : bottom - y, left - x : right - x, None]
    there = frame[top:bottom, left:right]
    change = picture[top - y : bottom - y, left - x : right - x].astype(np.float32) - there
    luma = np.abs(change @ np.array([0.114, 0.587, 0.299], np.float32))
    seen = float((luma * alpha[..., 0]).sum() / max(alpha.sum(), 1e-6))
    # The strength asked for, but what a person could not see is no event: 10 levels at least.
    strength = min(1.0, max(event["strength"], 10.0 / max(seen, 1e-6)))
    frame[top:bottom, left:right] = there + strength * alpha * change
    return seen * strength, (right - left) * (bottom - top) / (size[0] * size[1])


def disturb(kind, random, frames):
    """A function that does to frame `index` what the kind of clip says."""
    if kind == "exposure":
        gain, offset = np.ones(frames), np.zeros(frames)
        for at in (int(frames * random.uniform(0.2, 0.45)), int(frames * random.uniform(0.55, 0.85))):
            ramp = int(random.integers(1, 6))
            rise = np.clip((np.arange(frames) - at + 1) / ramp, 0, 1)
            gain *= 1 + rise * (random.choice([random.uniform(0.65, 0.85), random.uniform(1.15, 1.45)]) - 1)
            offset += rise * random.uniform(-6, 6)
        return lambda frame, index: frame * gain[index] + offset[index]
    if kind == "flicker":
        depth, rate = random.uniform(0.03, 0.07), random.uniform(0.9, 4.0)
        rows = np.arange(HEIGHT, dtype=np.float32)[:, None, None] / HEIGHT
        return lambda frame, index: frame * (
            1 + depth * np.sin(2 * np.pi * (rate * index / FPS + 0.35 * rows)).astype(np.float32)
        )
    if kind == "noise":
        sigma = random.uniform(6, 11)
        fields = random.standard_normal((7, HEIGHT + 64, WIDTH + 64), dtype=np.float32) * sigma

        def noisy(frame, index):
            x, y = random.integers(64, size=2)
            field = fields[random.integers(7), y : y + HEIGHT, x : x + WIDTH]
            # Shot noise: more where it is bright.
            return frame + field[..., None] * (0.6 + frame.mean(axis=2, keepdims=True) / 255)

        return noisy
    if kind == "shake":
        walk = np.zeros((frames, 2))
        for index in range(1, frames):
            kick = random.normal(0, 4, 2) if random.random() < 0.05 else random.normal(0, 0.7, 2)
            walk[index] = 0.85 * walk[index - 1] + kick
        walk = np.clip(walk, -8, 8)

        def shaken(frame, index):
            move = np.float32([[1, 0, walk[index, 0]], [0, 1, walk[index, 1]]])
            return cv2.warpAffine(frame, move, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)

        return shaken
    if kind == "rain":
        count, slant = int(random.integers(80, 200)), random.uniform(-0.2, 0.2)

        def rain(frame, index):
            drops = np.zeros((HEIGHT, WIDTH), np.float32)
            for _ in range(count):
                x, y, length = random.uniform(0, WIDTH), random.uniform(-20, HEIGHT), random.uniform(12, 45)
                cv2.line(drops, (int(x), int(y)), (int(x + slant * length), int(y + length)), random.uniform(15, 55), 1)
            drops = cv2.GaussianBlur(drops, (3, 5), 0)
            return frame + drops[..., None]

        return rain
    return lambda frame, index: frame


def build(job):
    name, kind, background, noise, people, cup, frames, seed, folder = job
    path = folder / f"{name}.mp4"
    random = np.random.default_rng(seed)
    events = plan(random, frames, people, cup)
    change = disturb(kind, random, frames)
    encoder = subprocess.Popen(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s",
         f"{WIDTH}x{HEIGHT}", "-r", str(FPS), "-i", "-", "-c:v", "libx264", "-preset", "veryfast", "-threads", "1",
         "-g", "50", "-crf", str(CRF.get(kind, 16)), "-pix_fmt", "yuv420p", str(path)],
        stdin=subprocess.PIPE,
    )
    seen = [[] for _ in events]
    start = int(random.integers(len(noise)))
    for index in range(frames):
        loop = index % max(2 * len(background) - 2, 1)
        still = background[loop if loop < len(background) else 2 * len(background) - 2 - loop]
        frame = still.astype(np.float32)
        for number, event in enumerate(events):
            if event["start"] <= index < event["end"]:
                level, inside = paste(frame, event, index - event["start"])
                if inside >= 0.5:
                    seen[number].append((index, level))
        frame = change(frame + noise[(start + index) % len(noise)], index)
        encoder.stdin.write(np.clip(frame, 0, 255).astype(np.uint8).tobytes())
    encoder.stdin.close()
    if encoder.wait():
        raise SystemExit(f"ffmpeg could not write {path}")
    keys = ("fast", "large", "height", "strength")
    labels = [
        {"start": s[0][0], "end": s[-1][0] + 1, "level": round(float(np.mean([v for _, v in s])), 1),
         "speed": round(float(np.hypot(*e["step"])), 1)} | {k: e[k] for k in keys}
        for e, s in zip(events, seen) if s
    ]
    (folder / f"{name}.json").write_text(json.dumps(
        {"name": name, "kind": kind, "frames": frames, "fps": FPS, "width": WIDTH, "height": HEIGHT, "events": labels}))
    return name


def make(which, media, out, jobs=2):
    """Builds the clips of a set that are not there yet; returns their names."""
    folder = out / which
    folder.mkdir(parents=True, exist_ok=True)
    settings = SETS[which]
    names = [f"{background}-{kind}" for background in settings["backgrounds"] for kind in KINDS]
    missing = [name for name in names if not (folder / f"{name}.json").exists()]
    if missing:
        stuff = material(media)
        work = []
        for number, name in enumerate(names):
            if name in missing:
                kind = name.rsplit("-", 1)[1]
                background = stuff["backgrounds"][name.rsplit("-", 1)[0]]
                objects, cup = stuff["objects"][settings["objects"]], stuff["cups"][settings["objects"]]
                work.append((name, kind, background, stuff["noise"], objects, cup, settings["frames"], settings["seed"] + number, folder))
        with ProcessPoolExecutor(jobs) as pool:
            list(pool.map(build, work))
    return [folder / f"{name}.mp4" for name in names]


if __name__ == "__main__":
    import sys

    for name in make(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])):
        print(name)
