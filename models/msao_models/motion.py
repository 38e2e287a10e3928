"""Motion of a car as its sensors feel it: one second of seven channels at 100 Hz for training, long rides for demos.

Axes: x forward, y left, z up. A car at rest feels accel_z = 9.81; turning left is positive in gyro_z and in accel_y.
`python -m msao_models.motion --seconds 20 --seed 1 --out trace.csv` writes a ride, and its events to trace.events.csv.
"""

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

LABELS = ("still", "cruising", "hard_braking", "turn_left", "turn_right", "bump", "vibration_fault")
CHANNELS = ("accel_x", "accel_y", "accel_z", "gyro_x", "gyro_y", "gyro_z", "wheel_speed")
RATE = 100
GRAVITY = 9.81
# The axles of a car, in metres: the rear one meets a bump later.
WHEELBASE = 2.7

Values = NDArray[np.float64]


@dataclass
class Ride:
    """What n cars do, each [n, T]: accelerations in m/s2, turning in rad/s, speed in m/s."""

    forward: Values
    yaw: Values
    pitch: Values
    lift: Values
    shake: Values
    speed: Values


def resting(n: int, samples: int) -> Ride:
    """n cars that stand still for so many samples."""
    return Ride(*(np.zeros((n, samples)) for _ in range(6)))


def ramp(time: Values, start: Values, rise: float) -> Values:
    """0 before `start`, 1 from `rise` seconds later on, smooth between: [n, T] from [T] and [n, 1]."""
    u = np.clip((time - start) / rise, 0, 1)
    return u * u * (3 - 2 * u)


def pulse(time: Values, start: Values, rise: float, length: Values) -> Values:
    """`ramp` up at `start` and down at the end of `length` seconds."""
    return ramp(time, start, rise) - ramp(time, start + length - rise, rise)


def bump(time: Values, start: Values, strength: Values, speed: Values, hertz: Values) -> tuple[Values, Values]:
    """Lift in m/s2 and pitch in rad/s as first one axle, then the other meets a bump of `strength` m/s2 at `start`."""
    lift, pitch = np.zeros_like(strength * time), np.zeros_like(strength * time)
    for axle, delay in ((1.0, 0.0 * speed), (-0.8, WHEELBASE / np.maximum(speed, 3))):
        after = time - start - delay
        ring = np.where(after >= 0, np.exp(-np.maximum(after, 0) / 0.12), 0)
        lift += abs(axle) * strength * ring * np.sin(2 * np.pi * hertz * after)
        # The nose goes up first: a negative turn about the axis to the left.
        pitch -= axle * 0.06 * strength * ring * np.cos(2 * np.pi * hertz * after)
    return lift, pitch


def vibration(time: Values, strength: Values, hertz: Values, phase: Values) -> Values:
    """A worn bearing or an unbalanced wheel: a strong regular shake, with an overtone."""
    turns = 2 * np.pi * hertz * time + phase
    return strength * (np.sin(turns) + 0.35 * np.sin(2 * turns + 1))


def sense(ride: Ride, rng: np.random.Generator) -> Values:
    """What the sensors give, [n, 7, T]: engine, road, noise, bias, and the tilt of a mounting a few degrees off."""
    n, samples = ride.speed.shape
    time = np.arange(samples) / RATE

    def each(low: float, high: float) -> Values:
        return rng.uniform(low, high, (n, 1))

    moving = np.clip(ride.speed / 3, 0, 1)
    engine = each(0.02, 0.12) * np.sin(2 * np.pi * each(22, 45) * time + each(0, 6)) * (0.4 + 0.6 * moving)
    rough = each(0.08, 0.35) * moving * np.sqrt(ride.speed / 12 + 0.05)

    def road(share: float) -> Values:
        noise = rng.standard_normal((n, samples + 2))
        return share * rough * (noise[:, :-2] + noise[:, 1:-1] + noise[:, 2:]) / np.sqrt(3)

    accel = np.stack(
        [
            ride.forward + 0.3 * engine + road(0.4) + 0.2 * ride.shake,
            ride.speed * ride.yaw + 0.5 * engine + road(0.5) + 0.5 * ride.shake,
            GRAVITY + ride.lift + engine + road(1.0) + ride.shake,
        ],
        1,
    )
    # The body leans out of a turn and dips under the brakes.
    lean, dip = np.gradient(ride.speed * ride.yaw, axis=1), np.gradient(ride.forward, axis=1)
    gyro = np.stack(
        [
            0.015 * RATE * lean * 0.3 + 0.05 * road(0.5) + 0.01 * ride.shake,
            -0.015 * RATE * dip * 0.3 + ride.pitch + 0.05 * road(0.5) + 0.015 * ride.shake,
            ride.yaw + 0.03 * road(0.5) + 0.005 * ride.shake,
        ],
        1,
    )
    mounting = _rotations(np.radians(np.clip(rng.normal(0, 2, (n, 3)), -5, 5)))
    accel = mounting @ accel + rng.normal(0, 0.05, (n, 3, 1)) + rng.normal(0, each(0.01, 0.06)[:, None], accel.shape)
    gyro = mounting @ gyro + rng.normal(0, 0.006, (n, 3, 1)) + rng.normal(0, each(0.001, 0.006)[:, None], gyro.shape)
    wheel = np.maximum(ride.speed + moving * rng.normal(0, 0.04, ride.speed.shape), 0)
    # Wheel speed is counted in teeth of a ring.
    wheel = np.round(wheel / 0.03) * 0.03
    return np.concatenate([accel, gyro, wheel[:, None]], 1)


def _rotations(angles: Values) -> Values:
    """Rotation matrices [n, 3, 3] about x, then y, then z, by angles in radians [n, 3]."""
    (a, b, c), (sa, sb, sc) = np.cos(angles.T), np.sin(angles.T)
    turns = [
        [b * c, sa * sb * c - a * sc, a * sb * c + sa * sc],
        [b * sc, sa * sb * sc + a * c, a * sb * sc - sa * c],
        [-sb, sa * b, a * b],
    ]
    return np.moveaxis(np.array(turns), 2, 0)


def traces(labels: ArrayLike, rng: np.random.Generator) -> NDArray[np.float32]:
    """One second of each label (indices into LABELS, [n]): float32 [n, 7, 100] in m/s2, rad/s and m/s.

    An event begins anywhere that leaves at least half of it, or of the window, in the window.
    """
    wanted = np.asarray(labels, dtype=np.int64)
    n, samples = len(wanted), RATE
    time = np.arange(samples) / RATE

    def each(low: float, high: float) -> Values:
        return rng.uniform(low, high, (n, 1))

    def of(*names: str) -> NDArray[np.bool_]:
        return np.isin(wanted, [LABELS.index(name) for name in names])[:, None]

    ride = resting(n, samples)
    turning, braking = of("turn_left", "turn_right"), of("hard_braking")
    start_speed = np.where(turning, each(4, 13), np.where(braking, each(7, 26), each(3, 28)))
    start_speed = np.where(of("still"), 0, start_speed)
    # Gentle changes of speed and direction at all times, well under those of an event.
    gentle = np.where(of("still"), 0, each(-1.2, 1.2)) * ramp(time, each(-1, 0.8), 0.4)
    wander = np.where(of("still"), 0, each(-0.5, 0.5)) / np.maximum(start_speed, 6) * ramp(time, each(-1, 0.8), 0.4)
    ride.forward += np.where(braking, -each(4.5, 9.0) * ramp(time, each(-0.3, 0.4), 0.2), gentle)
    # No tyre holds more than about 7 m/s2.
    rate = np.clip(each(1.8, 6.5) / np.maximum(start_speed, 4), 0.2, 0.8)
    side = np.where(wanted == LABELS.index("turn_left"), 1.0, -1.0)[:, None]
    ride.yaw += np.where(turning, side * rate * pulse(time, each(-0.8, 0.35), 0.3, each(1.3, 3)), wander)
    ride.speed = np.maximum(start_speed + np.cumsum(ride.forward, axis=1) / RATE, 0)
    ride.forward = np.where(ride.speed > 0, ride.forward, 0)
    lift, pitch = bump(time, each(0.02, 0.75), each(4, 11), ride.speed[:, :1], each(3, 8))
    ride.lift += of("bump") * lift
    ride.pitch += of("bump") * pitch
    shake = vibration(time, each(1.2, 4), each(8, 35), each(0, 6))
    ride.shake += of("vibration_fault") * shake * ramp(time, each(-1, 0.4), 0.1)
    return sense(ride, rng).astype(np.float32)


def drive(seconds: float, rng: np.random.Generator) -> tuple[Values, list[str]]:
    """A ride: samples [7, T] and the label of each. It stands, sets off, has an event every 3.5 s, and brakes at the end.

    Left and right turns, a bump and a fault come in random order, again and again on a longer ride.
    """
    samples = round(seconds * RATE)
    time = np.arange(samples) / RATE
    labels = np.full(samples, LABELS.index("still"))
    ride = resting(1, samples)
    go, brake = 1.5, max(seconds - 4.0, 1.5)
    cruise = rng.uniform(9, 12)

    def one(value: float) -> Values:
        return np.array([[value]])

    def label(name: str, start: float, end: float) -> None:
        labels[(time >= start) & (time < end)] = LABELS.index(name)

    label("cruising", go, brake)
    ride.forward += cruise / 3.2 * pulse(time, one(go), 0.3, one(3.5))
    ride.forward -= np.where(time >= brake, 7.0, 0) * ramp(time, one(brake), 0.2)
    ride.speed = np.maximum(np.cumsum(ride.forward, axis=1) / RATE, 0)
    stopped = (time > brake + 0.2) & (ride.speed[0] <= 0)
    ride.forward[:, stopped] = 0
    label("hard_braking", brake, float(time[stopped][0]) if stopped.any() else seconds)

    events: list[str] = []
    start = go + 4.0
    while start + 2.5 <= brake:
        events = events or [str(name) for name in rng.permutation(["turn_left", "turn_right", "bump", "vibration_fault"])]
        event, length = events.pop(), 2.0
        if event == "bump":
            lift, pitch = bump(time, one(start), one(rng.uniform(6, 10)), one(cruise), one(rng.uniform(4, 7)))
            ride.lift, ride.pitch, length = ride.lift + lift, ride.pitch + pitch, 0.8
        elif event == "vibration_fault":
            shake = vibration(time, one(rng.uniform(2, 3.5)), one(rng.uniform(12, 30)), one(0))
            ride.shake += shake * pulse(time, one(start), 0.1, one(length))
        else:
            side = 1 if event == "turn_left" else -1
            ride.yaw += side * rng.uniform(3.5, 5.5) / cruise * pulse(time, one(start), 0.3, one(length))
        label(event, start, start + length)
        start += 3.5
    return sense(ride, rng)[0], [LABELS[i] for i in labels]


def events(labels: list[str]) -> list[tuple[float, float, str]]:
    """Runs of one label: start and end in seconds."""
    edges = [0, *(i for i in range(1, len(labels)) if labels[i] != labels[i - 1]), len(labels)]
    pairs = zip(edges[:-1], edges[1:], strict=True)
    return [(start / RATE, end / RATE, labels[start]) for start, end in pairs if end > start]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="the CSV file: time in seconds, then the channels")
    args = parser.parse_args()
    samples, labels = drive(args.seconds, np.random.default_rng(args.seed))
    with open(args.out, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time", *CHANNELS])
        for index, row in enumerate(samples.T):
            writer.writerow([f"{index / RATE:.2f}", *(f"{value:.4f}" for value in row)])
    with open(args.out.with_suffix(".events.csv"), "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["start", "end", "label"])
        writer.writerows(events(labels))


if __name__ == "__main__":
    main()
