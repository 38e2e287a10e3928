"""The other ways to choose frames. Each gives for a clip one score a frame, or sets of kept frames, and its CPU time.

A frame is kept if its score reaches a threshold; `gate.py` sweeps it. All run on one thread.
"""

import re
import subprocess
import time

import cv2
import imageio_ffmpeg
import numpy as np
import scenedetect
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from clips import HEIGHT, WIDTH

cv2.setNumThreads(1)
FFMPEG = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "info", "-hide_banner", "-nostats", "-threads", "1",
          "-filter_threads", "1"]
# What mpdecimate's `hi` and `lo` (sums of 8 x 8 differences) and `frac` are swept over; 12, 5 and 0.33 are its defaults.
MPDECIMATE = [(hi, round(hi * share, 2), frac) for hi, share, frac in
              ((12, 0.42, 0.33), (18, 0.42, 0.33), (26, 0.42, 0.02), (40, 0.42, 0.33), (50, 0.7, 0.002), (80, 0.5, 0.01))]


def frames_of(path):
    video = cv2.VideoCapture(str(path))
    while True:
        good, frame = video.read()
        if not good:
            return
        yield frame


def largest(mask):
    """Area of the largest connected region, in pixels."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    return float(stats[1:, cv2.CC_STAT_AREA].max()) if count > 1 else 0.0


def background(frames, subtractor, kernel=np.ones((3, 3), np.uint8)):
    """Largest moving region after opening and closing; shadows do not count."""
    scores = []
    start = time.thread_time()
    for frame in frames:
        mask = (subtractor.apply(frame) == 255).astype(np.uint8)
        mask = cv2.morphologyEx(cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel), cv2.MORPH_CLOSE, kernel)
        scores.append(largest(mask))
    return np.array(scores), time.thread_time() - start


def difference(frames, level, kernel=np.ones((5, 5), np.uint8)):
    """Largest region that differs from the frame before, after a blur and a dilation."""
    scores, last = [], None
    start = time.thread_time()
    for frame in frames:
        grey = cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), (5, 5), 0)
        if last is None:
            scores.append(float(WIDTH * HEIGHT))
        else:
            mask = (cv2.absdiff(grey, last) > level).astype(np.uint8)
            scores.append(largest(cv2.dilate(mask, kernel)))
        last = grey
    return np.array(scores), time.thread_time() - start


def content(frames, detector, key):
    """A detector of PySceneDetect at its usual reduced size."""
    stats = scenedetect.StatsManager()
    detector.stats_manager = stats
    step = max(1, WIDTH // 256)
    start = time.thread_time()
    for index, frame in enumerate(frames):
        small = cv2.resize(frame, (WIDTH // step, HEIGHT // step), interpolation=cv2.INTER_LINEAR)
        detector.process_frame(scenedetect.FrameTimecode(index, fps=10.0), small)
    spent = time.thread_time() - start
    rows = [stats.get_metrics(scenedetect.FrameTimecode(i, fps=10.0), [key])[0] for i in range(len(frames))]
    return np.array([0.0 if row is None else row for row in rows], float), spent


def cpu_of(text):
    return sum(map(float, re.findall(r"bench: utime=([\d.]+)s stime=([\d.]+)s", text)[-1]))


def ffmpeg(path, filters, *more):
    command = [*FFMPEG, "-benchmark", "-i", str(path), *filters, *more]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"ffmpeg: {done.stderr[-800:]}")
    return done.stderr


def scene_scores(path, frames):
    """ffmpeg's `scene` score of each frame."""
    text = ffmpeg(path, ["-vf", "select='gte(scene,0)',metadata=print", "-f", "null", "-"])
    scores = np.zeros(frames)
    for number, score in re.findall(r"pts:(\d+)\s.*?\n.*?scene_score=([\d.]+)", text):
        scores[min(frames - 1, int(round(int(number) / tick(text, frames))))] = float(score)
    return scores, cpu_of(text)


def tick(text, frames):
    """Units of pts a frame."""
    points = [int(p) for p in re.findall(r"pts:(\d+)\s", text)]
    return max(1.0, (max(points, default=frames)) / max(frames - 1, 1)) if len(points) > 1 else 1.0


def mpdecimate(path, frames):
    """Frames kept by mpdecimate, for each of its settings."""
    kept, spent = {}, []
    for hi, lo, frac in MPDECIMATE:
        filters = f"setpts=N,mpdecimate=hi={int(64 * hi)}:lo={int(64 * lo)}:frac={frac},showinfo"
        text = ffmpeg(path, ["-vf", filters, "-f", "null", "-"])
        points = [int(p) for p in re.findall(r"showinfo.*? pts:\s*(\d+)", text)]
        kept[f"hi {hi} lo {lo} frac {frac}"] = [p for p in points if p < frames]
        spent.append(cpu_of(text))
    return kept, float(np.mean(spent))


def decode_only(path):
    return cpu_of(ffmpeg(path, ["-f", "null", "-"]))


def all_scores(path):
    """{method: {variant: scores}}, {method: seconds a frame}, {variant: kept} of mpdecimate, for one clip."""
    frames = list(frames_of(path))
    count, scores, cpu = len(frames), {}, {}
    for name, variants in {
        "MOG2": {f"{v} {h}": lambda v=v, h=h: background(
            frames, cv2.createBackgroundSubtractorMOG2(history=h, varThreshold=v)) for v, h in
            ((16, 500), (16, 100))},
        "frame differencing": {str(v): lambda v=v: difference(frames, v) for v in (12, 25)},
        "PySceneDetect content": {"": lambda: content(frames, ContentDetector(), "content_val")},
        "PySceneDetect adaptive": {"": lambda: content(frames, AdaptiveDetector(), "adaptive_ratio (w=2)")},
    }.items():
        results = {variant: run() for variant, run in variants.items()}
        scores[name] = {variant: result[0] for variant, result in results.items()}
        cpu[name] = min(result[1] for result in results.values()) / count
    decoding = decode_only(path)
    values, spent = scene_scores(path, count)
    scores["ffmpeg scene"] = {"": values}
    cpu["ffmpeg scene"] = max(0.0, spent - decoding) / count
    kept, spent = mpdecimate(path, count)
    cpu["ffmpeg mpdecimate"] = max(0.0, spent - decoding) / count
    return scores, cpu, kept, count
