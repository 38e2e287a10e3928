"""What a sound can be, and the rate of all sounds."""

LABELS = ("siren", "horn", "engine", "brake_squeal", "impact", "alarm", "hiss", "grinding", "speech", "quiet")
# Samples a second, mono.
RATE = 16_000
# Sounds that last as long as one likes: a short recording of one is repeated.
SUSTAINED = frozenset({"siren", "engine", "brake_squeal", "hiss", "grinding", "quiet"})
SPLITS = ("train", "test")
