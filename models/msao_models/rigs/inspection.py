"""Inspection scenes: parts on a belt with their defects, and gauges with lamps."""

import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from . import rules
from .asking import Question, Scene, balanced, number, yes_no
from .drawing import CANVAS, COLOURS, Textures, camera, shade, varied

PARTS = {"plate": "plates", "washer": "washers", "bottle": "bottles", "box": "boxes"}
PAINTS = ["red", "blue", "green", "yellow", "white", "black", "orange", "grey"]
DEFECTS = ["scratch", "dent", "missing bolt"]
PLACES = {1: ["middle"], 2: ["left", "right"], 3: ["left", "middle", "right"]}
LAMPS = {"red": (255, 40, 30), "green": (50, 240, 90), "yellow": (255, 205, 40), "blue": (70, 130, 255)}


@dataclass(frozen=True)
class Part:
    """A part on the belt: where it lies, and each of its defects."""

    kind: str
    colour: str
    place: str
    scratches: int
    dents: int
    missing: int
    bolts: int

    @property
    def defect(self) -> str:
        found = [name for name, n in zip(DEFECTS, (self.scratches, self.dents, self.missing)) if n]
        return found[0] if found else "none"


def draw_part(canvas: Image.Image, rng: random.Random, part: Part, textures: Textures, x: float, y: float, size: float) -> None:
    """The part, about `size` canvas pixels wide, with its middle at (x, y)."""
    paint = varied(rng, COLOURS[part.colour])
    half = size / 2
    mask = Image.new("L", canvas.size, 0)
    shape = ImageDraw.Draw(mask)
    if part.kind == "plate":
        shape.rounded_rectangle([x - half, y - half * 0.8, x + half, y + half * 0.8], 8, fill=255)
    elif part.kind == "washer":
        shape.ellipse([x - half, y - half, x + half, y + half], fill=255)
    elif part.kind == "bottle":
        shape.rounded_rectangle([x - half * 0.5, y - half * 0.5, x + half * 0.5, y + half * 1.1], 14, fill=255)
        shape.rectangle([x - half * 0.2, y - half * 1.1, x + half * 0.2, y - half * 0.4], fill=255)
    else:
        shape.rectangle([x - half * 0.85, y - half * 0.85, x + half * 0.85, y + half * 0.85], fill=255)
    shadow = mask.point(lambda v: v // 3)
    canvas.paste((0, 0, 0), (8, 8), shadow.crop((0, 0, CANVAS - 8, CANVAS - 8)))
    canvas.paste(textures.surface(rng, paint, CANVAS, CANVAS, 0.12), (0, 0), mask)
    draw = ImageDraw.Draw(canvas)
    dark, bright = shade(paint, 0.55), tuple(min(255, c + 90) for c in paint)
    mark = bright if sum(paint) < 330 else shade(paint, 0.35)
    if part.kind == "washer":
        draw.ellipse([x - half * 0.36, y - half * 0.36, x + half * 0.36, y + half * 0.36], fill=(40, 40, 42))
    if part.kind == "box":
        draw.line([x - half * 0.85, y, x + half * 0.85, y], fill=dark, width=3)
        draw.rectangle([x - half * 0.85, y - half * 0.85, x + half * 0.85, y + half * 0.85], outline=dark, width=3)
    if part.kind == "bottle":
        draw.rectangle([x - half * 0.5, y + half * 0.05, x + half * 0.5, y + half * 0.55], fill=(235, 235, 225))
    if part.kind == "plate":
        columns = part.bolts // 2
        holes = [(x + half * (1.5 * (c + 0.5) / columns - 0.75), y + half * s) for s in (-0.52, 0.52) for c in range(columns)]
        gone = set(rng.sample(range(part.bolts), part.missing))
        r = half * 0.13
        for i, (bx, by) in enumerate(holes):
            draw.ellipse([bx - r, by - r, bx + r, by + r], fill=(12, 12, 14) if i in gone else (205, 208, 212), outline=dark)
            if i not in gone:
                draw.line([bx - r * 0.6, by, bx + r * 0.6, by], fill=(90, 92, 96), width=2)
    # Marks lie apart from each other, on a ring or along lines that every kind of part has.
    slots = [-0.28, 0.02, 0.3]
    rng.shuffle(slots)
    spread = 0.4 if part.kind == "bottle" else 0.62
    for i in range(part.scratches):
        sy = y + half * (slots[i] + (0.62 if part.kind == "washer" and slots[i] > -0.1 else -0.4 if part.kind == "washer" else 0))
        tilt = rng.uniform(-0.06, 0.06) * half
        draw.line([x - half * spread * 0.8, sy - tilt, x + half * spread * 0.8, sy + tilt], fill=mark, width=3)
    for i in range(part.dents):
        dx, dy = x + half * spread * (0.7 * (i - (part.dents - 1) / 2)), y + half * (0.66 if part.kind == "washer" else 0.2 if part.kind != "plate" else 0)
        r = half * 0.13
        draw.ellipse([dx - r, dy - r, dx + r, dy + r], fill=shade(paint, 0.42))
        draw.arc([dx - r, dy - r, dx + r, dy + r], 20, 160, fill=bright, width=3)


def belt(rng: random.Random, textures: Textures) -> Scene:
    count = rng.choice([1, 2, 2, 3, 3])
    mixed = rng.random() < 0.6
    kinds = [rng.choice(list(PARTS)) for _ in range(count)] if mixed else [rng.choice(list(PARTS))] * count
    parts = []
    bad = set(rng.sample(range(count), rng.choice([0, 1, 1, min(2, count)])))
    for i, (kind, place) in enumerate(zip(kinds, PLACES[count])):
        scratches = dents = missing = 0
        if i in bad:
            what = rng.choice(DEFECTS if kind == "plate" else DEFECTS[:2])
            many = rng.choice([1, 2, 3])
            scratches, dents, missing = (many if what == d else 0 for d in DEFECTS)
            dents = min(dents, 2)
        bolts = rng.choice([4, 6])
        parts.append(Part(kind, rng.choice(PAINTS), place, scratches, dents, missing, bolts if kind == "plate" else 0))
    motion = rng.choice(["still", "cruising", "cruising", "vibration_fault", "bump"])
    moving = motion != "still"
    canvas = textures.surface(rng, varied(rng, (105, 105, 110), 25), CANVAS, CANVAS, 0.5)
    edge = rng.randint(30, 70)
    surface = textures.surface(rng, varied(rng, rng.choice([(60, 62, 66), (70, 90, 75), (150, 140, 120)])), CANVAS, CANVAS - 2 * edge, 0.25)
    canvas.paste(surface, (0, edge))
    draw = ImageDraw.Draw(canvas)
    for y in (edge, CANVAS - edge):
        draw.rectangle([0, y - 6, CANVAS, y + 6], fill=(200, 170, 40) if rng.random() < 0.4 else (150, 152, 155))
    for part, i in zip(parts, range(count)):
        x = CANVAS * (i + 0.5) / count + rng.uniform(-10, 10)
        size = {1: 190, 2: 165, 3: 125}[count] * rng.uniform(0.85, 1.05)
        draw_part(canvas, rng, part, textures, x, CANVAS / 2 + rng.uniform(-25, 25), size)
    sound = rng.choice(["engine", "grinding", "hiss", "alarm", "impact", "speech", "quiet", "quiet", "horn", "siren", "brake_squeal"])
    frame = camera(canvas, rng, rng.uniform(0, 2.5) if moving else 0)
    asked = ask_parts(rng, parts, moving) + rules.ask(rng, part_facts(parts))
    return Scene(frame, sound, motion, describe(parts), asked)


def describe(parts: list[Part]) -> str:
    groups: dict[tuple[str, str], int] = {}
    for part in parts:
        groups[part.colour, part.kind] = groups.get((part.colour, part.kind), 0) + 1
    names = [number(n, f"{c} {k}", f"{c} {PARTS[k]}") for (c, k), n in groups.items()]
    what = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) + " on a belt"
    bad = [p.defect for p in parts if p.defect != "none"]
    if not bad:
        return what
    return what + " with " + " and ".join(("a " if d[0] != "a" else "") + d for d in dict.fromkeys(bad))


def ask_parts(rng: random.Random, parts: list[Part], moving: bool) -> list[Question]:
    found: list[Question] = []
    add = lambda kind, text, answer, about="video": found.append(Question(kind, text, answer, about))
    kinds = {k: [p for p in parts if p.kind == k] for k in PARTS}
    counted = rng.choice([k for k in kinds if kinds[k]]) if rng.random() < 0.6 else rng.choice(list(kinds))
    add("count", f"How many {PARTS[counted]} are there?", str(len(kinds[counted])))
    defect = rng.choice([d for d, _ in zip(DEFECTS, range(3)) if any(p.defect == d for p in parts)] or DEFECTS) if rng.random() < 0.7 else rng.choice(DEFECTS)
    many = {"scratch": ("scratches", sum(p.scratches for p in parts)), "dent": ("dents", sum(p.dents for p in parts)), "missing bolt": ("missing bolts", sum(p.missing for p in parts))}[defect]
    add("count defects", rng.choice(["How many {} are there?", "How many {} do you see?"]).format(many[0]), str(many[1]))
    part = rng.choice(parts)
    where = f"the {part.place} part" if len(parts) > 1 else "the part"
    add("colour", rng.choice([f"What colour is {where}?", f"Which colour has {where}?"]), part.colour)
    part = rng.choice([p for p in parts if p.defect != "none"] or parts) if rng.random() < 0.6 else rng.choice(parts)
    where = f"the {part.place} part" if len(parts) > 1 else "the part"
    add("defect", rng.choice([f"Which defect has {where}?", f"What is wrong with {where}?"]), part.defect)
    alone = [p for p in parts if sum(o.kind == p.kind for o in parts) == 1]
    if alone and len(parts) > 1:
        part = rng.choice(alone)
        add("which", f"Where is the {part.kind}?", part.place)
        add("defect", f"Is the {part.kind} defective?", yes_no(part.defect != "none"))
    bad = [p for p in parts if p.defect != "none"]
    if len(parts) > 1:
        add("which", rng.choice(["Which part is defective?", "Which part has a defect?"]), bad[0].place if len(bad) == 1 else "none" if not bad else "both" if len(bad) == 2 and len(parts) == 2 else "two")
        a, b = rng.sample(parts, 2)
        if a.colour != b.colour and sum(p.colour == a.colour for p in parts) == 1 and sum(p.colour == b.colour for p in parts) == 1:
            side = rng.choice(["left", "right"])
            order = list(PLACES[len(parts)])
            truth = (order.index(a.place) < order.index(b.place)) == (side == "left")
            add("relation", f"Is the {a.colour} part {side} of the {b.colour} part?", yes_no(truth))
            add("which", f"Which kind of part is the {a.colour} one?", a.kind)
    pair = balanced(rng, [d for d in DEFECTS if any(p.defect == d for p in parts)], [d for d in DEFECTS if all(p.defect != d for p in parts)])
    if pair:
        add("presence", f"Is there a {pair[0]}?", yes_no(pair[1]))
    add("moving", rng.choice(["Is the belt moving?", "Does the belt run?"]), yes_no(moving), "sensor")
    return found


def part_facts(parts: list[Part]) -> list[rules.Fact]:
    """What rules may go by."""
    found = [rules.there(defect, any(p.defect == defect for p in parts)) for defect in DEFECTS]
    found += [rules.there(kind, any(p.kind == kind for p in parts)) for kind in PARTS]
    found += [rules.there(f"{colour} part", any(p.colour == colour for p in parts)) for colour in PAINTS]
    for part in parts:
        where = f"the {part.place} part" if len(parts) > 1 else "the part"
        is_ = lambda what, holds: rules.Fact(f"{where} is {what}", f"{where} is not {what}", holds)
        found += [is_("defective", part.defect != "none"), *(is_(f"a {kind}", part.kind == kind) for kind in PARTS)]
    return found


def gauges(rng: random.Random, textures: Textures) -> Scene:
    """One or two dials from 0 to 100, and a row of lamps."""
    canvas = textures.surface(rng, varied(rng, rng.choice([(150, 152, 155), (70, 85, 100), (190, 185, 170), (90, 110, 95)])), CANVAS, CANVAS, 0.4)
    draw = ImageDraw.Draw(canvas)
    count = rng.choice([1, 1, 2])
    readings = [rng.randrange(0, 11) * 10 for _ in range(count)]
    top = rng.uniform(150, 190)
    for i, reading in enumerate(readings):
        x = CANVAS * (i + 0.5) / count + rng.uniform(-12, 12)
        radius = rng.uniform(125, 145) if count == 1 else rng.uniform(92, 104)
        face = rng.choice([(245, 245, 240), (250, 246, 225), (30, 30, 34)])
        ink = (20, 20, 20) if face[0] > 100 else (235, 235, 235)
        draw.ellipse([x - radius - 7, top - radius - 7, x + radius + 7, top + radius + 7], fill=(55, 55, 58))
        draw.ellipse([x - radius, top - radius, x + radius, top + radius], fill=face)
        font = ImageFont.load_default(int(radius * 0.2))
        turn = lambda value: math.radians(225 - 270 * value / 100)
        for value in range(0, 101, 10):
            c, s = math.cos(turn(value)), -math.sin(turn(value))
            inner = 0.8 if value % 50 else 0.74
            draw.line([x + c * radius * inner, top + s * radius * inner, x + c * radius * 0.94, top + s * radius * 0.94], fill=ink, width=3)
            if value % 20 == 0:
                draw.text((x + c * radius * 0.6, top + s * radius * 0.6), str(value), fill=ink, font=font, anchor="mm")
        value = reading + rng.uniform(-3, 3)
        c, s = math.cos(turn(value)), -math.sin(turn(value))
        needle = rng.choice([(210, 30, 30), (230, 90, 20)]) if face[0] > 100 or rng.random() < 0.5 else (250, 220, 60)
        draw.line([x - c * radius * 0.15, top - s * radius * 0.15, x + c * radius * 0.82, top + s * radius * 0.82], fill=needle, width=6)
        draw.ellipse([x - 9, top - 9, x + 9, top + 9], fill=(70, 70, 72))
    lamps = rng.sample(list(LAMPS), rng.choice([2, 3, 4]))
    lit = {name: rng.random() < 0.5 for name in lamps}
    for i, name in enumerate(lamps):
        x, y, r = CANVAS * (i + 0.5) / len(lamps), 385 + rng.uniform(-8, 8), 26
        draw.ellipse([x - r - 5, y - r - 5, x + r + 5, y + r + 5], fill=(40, 40, 42))
        draw.ellipse([x - r, y - r, x + r, y + r], fill=LAMPS[name] if lit[name] else shade(LAMPS[name], 0.25))
    motion = rng.choice(["still", "cruising", "vibration_fault"])
    sound = rng.choice(["alarm", "hiss", "engine", "grinding", "quiet", "quiet", "speech", "horn", "impact"])
    frame = camera(canvas, rng, rng.uniform(0, 1.2) if motion == "vibration_fault" else 0)
    asked = ask_gauges(rng, readings, lit) + rules.ask(rng, gauge_facts(rng, readings, lit))
    return Scene(frame, sound, motion, describe_gauges(readings, lit), asked)


def describe_gauges(readings: list[int], lit: dict[str, bool]) -> str:
    dials = "a gauge at " + str(readings[0]) if len(readings) == 1 else f"two gauges at {readings[0]} and {readings[1]}"
    on = [name for name, state in lit.items() if state]
    return dials + (" and " + number(len(on), f"{on[0]} lamp" if on else "lamp", "lamps") + " on" if on else "")


def gauge_facts(rng: random.Random, readings: list[int], lit: dict[str, bool]) -> list[rules.Fact]:
    """What rules may go by. A gauge that stands at a limit is not asked about it."""
    on = sum(lit.values())
    found = [rules.Fact(f"the {name} lamp is on", f"the {name} lamp is off", state) for name, state in lit.items()]
    found += [rules.Fact(f"more than {n} lamps are on", f"at most {n} lamps are on", on > n) for n in range(1, len(lit) - 1)]
    for place, reading in zip(["the gauge"] if len(readings) == 1 else ["the left gauge", "the right gauge"], readings):
        limits = [limit for limit in range(10, 100, 10) if limit != reading]
        found += [rules.Fact(f"{place} is above {n}", f"{place} is below {n}", reading > n) for n in rng.sample(limits, 6)]
    return found


def ask_gauges(rng: random.Random, readings: list[int], lit: dict[str, bool]) -> list[Question]:
    found: list[Question] = []
    add = lambda kind, text, answer: found.append(Question(kind, text, answer))
    if len(readings) == 1:
        add("reading", rng.choice(["What does the gauge read?", "What is the reading of the gauge?", "What does the gauge show?"]), str(readings[0]))
        limit = rng.choice([20, 30, 40, 50, 60, 70, 80])
        if readings[0] != limit:
            add("compare", f"Is the gauge above {limit}?", yes_no(readings[0] > limit))
    else:
        side = rng.choice([0, 1])
        add("reading", rng.choice(["What does the {} gauge read?", "What does the {} gauge show?"]).format(("left", "right")[side]), str(readings[side]))
        if readings[0] != readings[1]:
            add("compare", rng.choice(["Which gauge is higher?", "Which gauge shows more?"]), "left" if readings[0] > readings[1] else "right")
            add("compare", "How much do the gauges differ?", str(abs(readings[0] - readings[1])))
    name = rng.choice(list(lit))
    add("lamp", rng.choice(["Is the {} lamp on?", "Is the {} lamp lit?"]).format(name), yes_no(lit[name]))
    on = [n for n, state in lit.items() if state]
    add("count", rng.choice(["How many lamps are on?", "How many lamps are lit?"]), str(len(on)))
    if len(on) == 1:
        add("lamp", "Which lamp is on?", on[0])
    return found
