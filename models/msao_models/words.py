"""What is said of sounds and motions: clauses of captions, questions and answers."""

import random

HEARD = {
    "siren": ("a siren", "a siren sounds"),
    "horn": ("a horn", "a horn sounds"),
    "engine": ("an engine", "an engine runs"),
    "brake_squeal": ("squealing brakes", "brakes squeal"),
    "impact": ("an impact", "something hits"),
    "alarm": ("an alarm", "an alarm sounds"),
    "hiss": ("a hiss", "something hisses"),
    "grinding": ("grinding", "something grinds"),
    "speech": ("speech", "someone speaks"),
}
FELT = {
    "still": ("standing still", ""),
    "cruising": ("steady motion", ""),
    "hard_braking": ("hard braking", "hard braking"),
    "turn_left": ("a left turn", "left turn"),
    "turn_right": ("a right turn", "right turn"),
    "bump": ("a bump", "bump"),
    "vibration_fault": ("a vibration fault", "vibration fault"),
}
# Asked about a sense that a window lacks.
UNKNOWN = "unknown"

HEARD_QUESTIONS = ["What is heard?", "What do you hear?", "What sound is there?", "Which sound is heard?"]
FELT_QUESTIONS = ["What is felt?", "What does the rig feel?", "How does the rig move?", "What do the sensors say?"]
PRESENT_QUESTIONS = ["Is {} heard?", "Do you hear {}?", "Is there {}?"]
BRAKED_QUESTIONS = ["Did we brake?", "Did we brake hard?", "Was there hard braking?"]
MOVING_QUESTIONS = ["Are we moving?", "Is the rig moving?"]


def heard(sounds: list[str] | None) -> str:
    """Answer to what is heard: `None` for no microphone, an empty list for quiet."""
    if sounds is None:
        return UNKNOWN
    return " and ".join(HEARD[s][0] for s in sounds) or "nothing"


def felt(motion: str | None) -> str:
    return UNKNOWN if motion is None else FELT[motion][0]


def clause(sounds: list[str] | None, motion: str | None) -> str:
    """What a caption gains: "", ", while a siren sounds", "; hard braking" or both."""
    while_ = " and ".join(HEARD[s][1] for s in sounds or [])
    feels = FELT[motion][1] if motion else ""
    return (f", while {while_}" if while_ else "") + (f"; {feels}" if feels else "")


def caption(seen: str | None, sounds: list[str] | None, motion: str | None) -> str:
    """A whole caption. Without a picture it says what is heard and felt."""
    more = clause(sounds, motion)
    if seen is not None:
        return seen + more
    return more.removeprefix(", while ").removeprefix("; ") or "nothing is seen"


def heard_questions(sounds: list[str] | None, rng: random.Random) -> list[tuple[str, str, str]]:
    """(kind, question, answer) about sound: what is heard, and whether one sound is, yes half of the time."""
    items = [("heard", rng.choice(HEARD_QUESTIONS), heard(sounds))]
    if sounds is not None:
        yes = bool(sounds) and rng.random() < 0.5
        about = rng.choice(sounds) if yes else rng.choice([s for s in HEARD if s not in sounds])
        items.append(("hears", rng.choice(PRESENT_QUESTIONS[:2]).format(HEARD[about][0]), "yes" if yes else "no"))
    return items


def felt_questions(motion: str | None, rng: random.Random) -> list[tuple[str, str, str]]:
    """(kind, question, answer) about motion."""
    answer = lambda yes: UNKNOWN if motion is None else "yes" if yes else "no"
    items = [("felt", rng.choice(FELT_QUESTIONS), felt(motion))]
    if rng.random() < 0.5:
        items.append(("braked", rng.choice(BRAKED_QUESTIONS), answer(motion == "hard_braking")))
    else:
        items.append(("moves", rng.choice(MOVING_QUESTIONS), answer(motion != "still")))
    return items
