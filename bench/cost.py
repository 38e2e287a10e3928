"""What MAS costs: its share of time and of operations, and cameras a core at 720p30 for three scenes.

python cost.py --media DIR --program target/release/examples/cost --edge DIR --cloud DIR
"""

import argparse
import json
import os
import re
import subprocess

import imageio_ffmpeg

import flops

WIDTH, HEIGHT, RATE, SECONDS = 1280, 720, 30, 20
SCALE = f"scale={WIDTH}:{HEIGHT}"
# ffmpeg's input and filter. Frames of a slower source are shown once each, 30 a second: no frame is a copy.
SCENES = {
    "still": ("vtest.avi", f"select='eq(n,0)',{SCALE},loop=-1:1,noise=c0s=6:c0f=t,settb=1/{RATE},setpts=N",
              "one frame of vtest.avi held, with sensor noise"),
    "normal": ("vtest.avi", f"{SCALE},settb=1/{RATE},setpts=N", "vtest.avi, people walking, 10 frames/s shown at 30"),
    "busy": ("bikes.mp4", f"{SCALE},loop=-1:250,settb=1/{RATE},setpts=N", "bikes.mp4, a moving crowd, 25 frames/s shown at 30, looped"),
}
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


def run(scene, arguments):
    source, filters, _ = SCENES[scene]
    decode = subprocess.Popen(
        [FFMPEG, "-v", "error", "-threads", "1", "-i", f"{arguments.media}/{source}", "-vf", filters,
         "-r", str(RATE), "-frames:v", str(RATE * SECONDS), "-pix_fmt", "yuv420p", "-f", "rawvideo", "-"], stdout=subprocess.PIPE)
    done = subprocess.run([arguments.program, str(WIDTH), str(HEIGHT), str(RATE), arguments.edge, arguments.cloud],
                          stdin=decode.stdout, capture_output=True, text=True)
    if done.returncode or decode.wait():
        raise SystemExit(f"{arguments.program}: {done.stderr[-800:]}")
    return json.loads(done.stdout)


def decode_ms(arguments):
    """CPU time of decoding a frame of the normal scene, as H.264 at 720p, on one thread."""
    source, filters, _ = SCENES["normal"]
    clip = f"{arguments.work}/normal-720p.mp4"
    subprocess.run([FFMPEG, "-v", "error", "-y", "-i", f"{arguments.media}/{source}", "-vf", filters, "-frames:v",
                    str(RATE * SECONDS), "-c:v", "libx264", "-preset", "veryfast", clip], check=True)
    done = subprocess.run([FFMPEG, "-hide_banner", "-nostats", "-benchmark", "-threads", "1", "-i", clip, "-f", "null", "-"],
                          capture_output=True, text=True, check=True)
    return 1000 * sum(map(float, re.findall(r"bench: utime=([\d.]+)s stime=([\d.]+)s", done.stderr)[-1])) / (RATE * SECONDS)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("media", "work", "program", "edge", "cloud"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    os.makedirs(arguments.work, exist_ok=True)
    print(f"Load of the machine before: {os.getloadavg()[0]:.1f}\n")
    results = {scene: run(scene, arguments) for scene in SCENES}

    print("| scene, 720p30 | frames probed | kept | windows | MAS (T0, formulas) a frame | probe | edge in all | cameras a core, gate | edge in all |")
    print("| --- | " + "--- | " * 8)
    for scene, r in results.items():
        frames = r["frames"]
        a_frame = {s: r[s]["ms"] * r[s]["times"] / frames for s in ("t0", "formulas", "probe", "trunk", "draft")}
        own, gate, edge = a_frame["t0"] + a_frame["formulas"], a_frame["t0"] + a_frame["formulas"] + a_frame["probe"], sum(a_frame.values())
        print(f"| {scene} | {r['probe']['times'] / frames:.0%} | {r['kept'] / frames:.0%} | {r['windows']} of {SECONDS} | {own:.2f} ms | "
              f"{a_frame['probe']:.2f} ms | {edge:.2f} ms | {1000 / RATE / gate:.1f} | {1000 / RATE / edge:.1f} |")
    print("\n" + "; ".join(f"{scene}: {what}" for scene, (_, _, what) in SCENES.items()))
    print(f"Decoding H.264 at 720p (libavcodec, one thread), not in the above: {decode_ms(arguments):.2f} ms a frame\n")

    r = results["normal"]
    path = {s: r[s]["ms"] for s in ("t0", "probe", "formulas", "trunk", "draft", "verify")}
    own = path["t0"] + path["formulas"]
    print("One frame's way to its verified caption (medians, normal scene): "
          + ", ".join(f"{s} {ms:.2f} ms" for s, ms in path.items()))
    print(f"MAS (T0, formulas): {own:.2f} of {sum(path.values()):.1f} ms, {own / sum(path.values()):.2%}; "
          f"with the edge's part alone {own / (sum(path.values()) - path['verify']):.2%}")
    second = {s: r[s]["ms"] * r[s]["times"] for s in path}
    own = second["t0"] + second["formulas"]
    print(f"All frames of the normal scene: MAS {own / sum(second.values()):.2%} of the time of all stages\n")

    tokens = round(r["draft_tokens"]) + 1
    count = flops.of(arguments.edge, arguments.cloud, tokens) | {"t0": flops.t0(WIDTH, HEIGHT)}
    own, whole = count["t0"] + count["formulas"], sum(count.values())
    print("Operations of one frame's way, millions: " + ", ".join(f"{s} {n / 1e6:.2f}" for s, n in count.items()))
    print(f"MAS (T0, formulas): {own / whole:.3%}; with the probe as part of MAS: {(own + count['probe']) / whole:.2%}")


if __name__ == "__main__":
    main()
