"""Labelled sounds: recordings from Debian packages, spoken and generated sounds, and windows mixed from them."""

from msao_models.sounds.bank import SoundBank
from msao_models.sounds.labels import LABELS, RATE

__all__ = ["LABELS", "RATE", "SoundBank"]
