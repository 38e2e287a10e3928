"""Generated sounds of every label but speech, and background noise: two seconds each at 16 kHz.

Every parameter has a range. Sounds to train with never come from the middle fifth of a range; sounds to test with come
from there only, and their tones have another timbre (a saturated sine instead of a sum of harmonics).
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from msao_models.sounds.clip import Clip, normalise
from msao_models.sounds.labels import RATE

Signal = NDArray[np.float32]
LENGTH = 2 * RATE
TIME = np.arange(LENGTH, dtype=np.float32) / RATE
FREQUENCY = np.fft.rfftfreq(LENGTH, 1 / RATE).astype(np.float32)


class Synth:
    """Draws parameters and makes sounds of them, each method one kind: float32 [LENGTH], any level."""

    def __init__(self, rng: np.random.Generator, held_out: bool):
        self.rng, self.held_out = rng, held_out

    def between(self, low: float, high: float) -> float:
        """A value of the part of a geometric range (both ends above 0) that this split may use."""
        u = self.rng.uniform(0.4, 0.6) if self.held_out else self.rng.choice([0.0, 0.6]) + self.rng.uniform(0, 0.4)
        return float(low * (high / low) ** u)

    def noise(self, shape: Signal) -> Signal:
        """Noise whose spectrum has the magnitudes `shape` at FREQUENCY."""
        spectrum = np.fft.rfft(self.rng.standard_normal(LENGTH).astype(np.float32))
        return np.fft.irfft(spectrum * shape, LENGTH).astype(np.float32)

    def slow(self, rate: float) -> Signal:
        """A random curve of spread 1 that varies at `rate` Hz."""
        curve = self.noise(np.exp(-((FREQUENCY / rate) ** 2)))
        return curve / (curve.std() + 1e-9)

    def band(self, low: float, high: float) -> Signal:
        """Magnitudes of a band of frequencies in Hz, with soft edges."""
        return 1 / (1 + (low / np.maximum(FREQUENCY, 1)) ** 4) / (1 + (FREQUENCY / high) ** 4)

    def tone(self, frequency: Signal, brightness: float) -> Signal:
        """A tone with harmonics that follows `frequency` in Hz [LENGTH]; brightness 0 (dull) to 1 (bright)."""
        phase = 2 * np.pi * np.cumsum(frequency, dtype=np.float64) / RATE
        if self.held_out:
            return np.tanh((1 + 3 * brightness) * np.sin(phase) + 0.3 * brightness).astype(np.float32)
        count = max(1, min(14, int(7600 / frequency.max())))
        decay = 2.2 - 1.6 * brightness
        sweep = self.rng.uniform(0, 2 * np.pi, count)
        tone = sum(k**-decay * np.sin(k * phase + sweep[k - 1]) for k in range(1, count + 1))
        return np.asarray(tone, dtype=np.float32)

    def gate(self, period: float, duty: float, edge: float = 0.004) -> Signal:
        """1 for `duty` of every `period` seconds, else 0, from a random point on, with edges of `edge` seconds."""
        place = ((TIME + self.rng.uniform(0, period)) % period) / period
        return np.clip(np.minimum(place, duty - place) * period / edge, 0, 1).astype(np.float32)

    def echo(self, dry: Signal) -> Signal:
        """The sound in a street: with the echoes of walls."""
        tail = self.rng.standard_normal(LENGTH // 4) * np.exp(-TIME[: LENGTH // 4] / self.between(0.03, 0.25))
        tail[0] = 0
        wet = np.fft.irfft(np.fft.rfft(dry, 2 * LENGTH) * np.fft.rfft(tail, 2 * LENGTH), 2 * LENGTH)[:LENGTH]
        return (dry + self.rng.uniform(0, 0.6) * wet * dry.std() / (wet.std() + 1e-9)).astype(np.float32)

    def siren(self) -> Signal:
        """Wail, yelp or hi-lo, passing by (Doppler)."""
        centre, kind = self.between(550, 1400), self.rng.choice(["wail", "yelp", "hi-lo"])
        if kind == "hi-lo":
            pitch = centre * np.where(np.sin(2 * np.pi * self._turns(self.between(0.5, 1.6))) > 0, 1.0, self.between(0.68, 0.86))
        else:
            turns = self._turns(self.between(0.12, 0.45) if kind == "wail" else self.between(1.5, 5))
            swing = np.sin(2 * np.pi * turns) if self.rng.random() < 0.5 else 4 * np.abs(turns % 1 - 0.5) - 1
            pitch = centre * 2 ** (swing * self.between(0.35, 0.8))
        doppler = 1 + self.rng.uniform(0, 0.06) * np.tanh((self.rng.uniform(0, 2) - TIME) * 3)
        return self.echo(self.tone((pitch * doppler).astype(np.float32), self.between(0.3, 1)))

    def _turns(self, rate: float) -> Signal:
        return (TIME * rate + self.rng.random()).astype(np.float32)

    def horn(self) -> Signal:
        """One or two blasts of a chord of two or three steady notes."""
        root = self.between(140, 480)
        notes = [root, root * self.between(1.18, 1.34), root * self.between(1.45, 1.6)][: self.rng.integers(2, 4)]
        chord = sum(self.tone(np.full(LENGTH, note, np.float32), self.between(0.6, 1)) for note in notes)
        start, length = self.rng.uniform(0, 0.3), self.between(0.35, 1.6)
        blast = np.clip(np.minimum(TIME - start, start + length - TIME) / 0.02, 0, 1)
        if length < 0.6 and self.rng.random() < 0.5:
            second = start + length + self.between(0.08, 0.25)
            blast = blast + np.clip(np.minimum(TIME - second, second + length - TIME) / 0.02, 0, 1)
        return self.echo((chord * blast).astype(np.float32))

    def engine(self) -> Signal:
        """Pulses of the cylinders, unlike each other, through the resonances of a body and an exhaust; idling or revving."""
        rate, end = self.between(18, 160), self.rng.uniform(0.7, 1.6)
        cylinders = self.rng.integers(2, 9)
        frequency = rate * end ** (TIME / 2) * (1 + 0.012 * self.slow(6))
        turns = np.cumsum(frequency, dtype=np.float64) / RATE
        strength = 1 + 0.25 * self.rng.standard_normal(cylinders)
        pulse = np.exp(-(turns % 1) * self.between(4, 14)) * strength[turns.astype(int) % cylinders]
        rough = pulse * (1 + 0.5 * self.rng.standard_normal(LENGTH)) - pulse.mean()
        shape = 1 / (1 + FREQUENCY / self.between(150, 700))
        for _ in range(3):
            centre = self.between(80, 2000)
            shape = shape + self.rng.uniform(0, 1) * np.exp(-(((FREQUENCY - centre) / (0.2 * centre)) ** 2))
        return np.fft.irfft(np.fft.rfft(rough) * shape, LENGTH).astype(np.float32)

    def brake_squeal(self) -> Signal:
        """One to three high tones, unsteady in pitch and strength, over the rubbing noise."""
        root = self.between(900, 4500)
        sound = np.zeros(LENGTH, np.float32)
        for ratio in [1, self.between(1.15, 1.6), self.between(1.8, 2.6)][: self.rng.integers(1, 4)]:
            drift = 1 + 0.015 * self.slow(self.between(2, 8)) + 0.006 * self.slow(60)
            tone = np.sin(2 * np.pi * np.cumsum(np.minimum(root * ratio * drift, 7800), dtype=np.float64) / RATE)
            sound += tone * np.abs(1 + 0.5 * self.slow(self.between(8, 40))) / ratio
        rub = self.noise(self.band(0.7 * root, min(1.6 * root, 7000)))
        return (sound + self.between(0.15, 0.8) * rub / rub.std()) * self._swell()

    def _swell(self) -> Signal:
        """Fades in, perhaps fades out."""
        start, rise = self.rng.uniform(0, 0.3), self.between(0.02, 0.3)
        end = self.rng.uniform(1.0, 2.4)
        return np.clip(np.minimum((TIME - start) / rise, (end - TIME) / rise), 0, 1).astype(np.float32)

    def impact(self) -> Signal:
        """One to three blows: a burst of noise, a thump and the ringing of what was hit."""
        sound = np.zeros(LENGTH, np.float32)
        start = self.rng.uniform(0.02, 0.3)
        for _ in range(self.rng.integers(1, 4)):
            after = np.maximum(TIME - start, 0)
            on = (TIME >= start).astype(np.float32)
            burst = self.noise(1 / (1 + FREQUENCY / self.between(400, 5000)))
            blow = 2 * burst / burst.std() * np.exp(-after / self.between(0.02, 0.16))
            blow += 3 * np.sin(2 * np.pi * self.between(45, 130) * after) * np.exp(-after / self.between(0.04, 0.15))
            for _ in range(self.rng.integers(0, 6)):
                ring = np.sin(2 * np.pi * self.between(250, 5000) * after)
                blow += self.rng.uniform(0, 1.2) * ring * np.exp(-after / self.between(0.03, 0.25))
            sound += on * blow * self.rng.uniform(0.4, 1)
            start += self.between(0.06, 0.6)
        return self.echo(sound)

    def alarm(self) -> Signal:
        """Beeps of one pitch, or of two in turn, with pauses between them."""
        pitch, period = self.between(700, 3800), self.between(0.12, 0.9)
        beeps = self.gate(period, self.rng.uniform(0.35, 0.65))
        frequency = np.full(LENGTH, pitch, np.float32)
        if self.rng.random() < 0.3:
            frequency *= np.where(((TIME / period).astype(int) % 2) == 0, 1.0, self.between(1.1, 1.4)).astype(np.float32)
        if self.rng.random() < 0.3:
            beeps *= self.gate(4 * period, 0.6)
        return self.echo(self.tone(np.minimum(frequency, 7000), self.rng.uniform(0, 0.8)) * beeps)

    def hiss(self) -> Signal:
        """Escaping air or steam: noise without low frequencies, in bursts or for long."""
        low = self.between(1500, 4500)
        sound = self.noise(self.band(low, min(low * self.between(1.8, 4), 7900)))
        if self.rng.random() < 0.6:
            start = self.rng.uniform(0, 0.5)
            fall = np.exp(-np.maximum(TIME - start, 0) / self.between(0.15, 0.9))
            return (sound * np.clip((TIME - start) / 0.02, 0, 1) * fall).astype(np.float32)
        return sound * (1 + 0.15 * self.slow(10)).astype(np.float32)

    def grinding(self) -> Signal:
        """Metal on metal: noise and inharmonic partials, chopped roughly at the rate of a wheel's teeth."""
        low = self.between(400, 1800)
        sound = self.noise(self.band(low, min(low * self.between(2.5, 6), 7500)))
        sound /= sound.std()
        for _ in range(self.rng.integers(2, 6)):
            pitch = self.between(500, 4500) * (1 + 0.01 * self.slow(12))
            sound += self.rng.uniform(0.2, 0.8) * np.sin(2 * np.pi * np.cumsum(pitch, dtype=np.float64) / RATE)
        teeth = np.cumsum(self.between(14, 75) * (1 + 0.06 * self.slow(5)), dtype=np.float64) / RATE
        chop = (0.5 + 0.5 * np.sin(2 * np.pi * teeth)) ** self.between(0.7, 2.5)
        slow = np.abs(1 + 0.35 * self.slow(4))
        return (sound * (0.15 + chop * (1 + 0.5 * self.slow(80))) * slow).astype(np.float32)

    def quiet(self) -> Signal:
        """Background: noise of some colour, wind, mains hum, or a street far off."""
        kind = self.rng.choice(["colour", "wind", "hum", "street"])
        coloured = self.noise((np.maximum(FREQUENCY, 20) / 1000) ** -self.rng.uniform(0.0, 1.3))
        coloured /= coloured.std()
        if kind == "wind":
            gusts = self.noise(self.band(40, self.between(150, 700)))
            return gusts / gusts.std() * np.abs(1 + 0.6 * self.slow(1.5)) + 0.05 * coloured
        if kind == "hum":
            mains, level = self.rng.choice([50.0, 60.0]), self.rng.uniform(0.1, 1.5)
            return level * self.tone(np.full(LENGTH, mains, np.float32), self.rng.uniform(0, 0.5)) + 0.5 * coloured
        if kind == "street":
            tyres = self.noise(self.band(self.between(60, 200), self.between(500, 1500)))
            return tyres / tyres.std() * np.abs(1 + 0.4 * self.slow(0.7)) + 0.3 * coloured
        return coloured


def generated(count: int, split: str, seed: int) -> Iterator[Clip]:
    """`count` clips of every generated label, the same for the same seed."""
    held_out = split == "test"
    kinds: dict[str, Callable[[Synth], Signal]] = {
        "siren": Synth.siren,
        "horn": Synth.horn,
        "engine": Synth.engine,
        "brake_squeal": Synth.brake_squeal,
        "impact": Synth.impact,
        "alarm": Synth.alarm,
        "hiss": Synth.hiss,
        "grinding": Synth.grinding,
        "quiet": Synth.quiet,
    }
    for kind, (label, make) in enumerate(kinds.items()):
        synth = Synth(np.random.default_rng([seed, held_out, kind]), held_out)
        for index in range(count):
            yield Clip(normalise(make(synth)), label, split, f"generated {index}")
