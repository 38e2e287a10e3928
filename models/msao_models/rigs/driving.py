"""Driving scenes: a road in perspective, vehicles, pedestrians, a traffic light, weather and light."""

import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from . import rules
from .asking import Question, Scene, balanced, number, yes_no
from .drawing import CANVAS, COLOURS, Textures, camera, polygon, shade, varied

# Width and height in units of a lane, at a nearness of 1.
KINDS = {"car": (0.72, 0.55), "van": (0.74, 0.78), "truck": (0.9, 1.15), "bus": (0.92, 1.05), "motorcycle": (0.3, 0.6)}
PAINTS = ["red", "blue", "green", "yellow", "white", "black", "orange"]
PLURAL = {"car": "cars", "van": "vans", "truck": "trucks", "bus": "buses", "motorcycle": "motorcycles", "pedestrian": "pedestrians"}
WEATHER = ["clear", "rain", "fog", "snow"]
LIGHT = ["day", "dusk", "night"]
SIGNALS = {"red": (255, 40, 30), "yellow": (255, 200, 30), "green": (40, 240, 90)}
LAMP = 30


@dataclass(frozen=True)
class Thing:
    """A vehicle or pedestrian. `near` in (0, 1]: 1 is at the bottom of the picture. The box is in canvas pixels."""

    kind: str
    colour: str
    near: float
    oncoming: bool
    box: tuple[float, float, float, float]

    @property
    def middle(self) -> float:
        return (self.box[0] + self.box[2]) / 2

    @property
    def name(self) -> str:
        return f"{self.colour} {self.kind}"


def overlap(a: tuple, b: tuple) -> float:
    """Share of box `a` that box `b` covers, with a margin around `b`."""
    width = min(a[2], b[2] + 3) - max(a[0], b[0] - 3)
    height = min(a[3], b[3] + 3) - max(a[1], b[1] - 3)
    return max(0, width) * max(0, height) / ((a[2] - a[0]) * (a[3] - a[1]))


class Road:
    """Where things stand: the horizon, the vanishing point and the lanes."""

    def __init__(self, rng: random.Random):
        self.horizon = CANVAS * rng.uniform(0.3, 0.42)
        self.vanishing = CANVAS * rng.uniform(0.4, 0.6)
        self.lanes = rng.choice([2, 3, 4])
        self.lane = CANVAS * rng.uniform(0.36, 0.46)
        self.shift = rng.uniform(-0.4, 0.4)

    def ground(self, near: float) -> float:
        return self.horizon + (CANVAS * 1.04 - self.horizon) * near

    def across(self, offset: float, near: float) -> float:
        """Pixels from the left at `offset` lanes from the road's middle."""
        return self.vanishing + (offset + self.shift) * self.lane * near + (CANVAS / 2 - self.vanishing) * near

    def box(self, width: float, height: float, offset: float, near: float) -> tuple[float, float, float, float]:
        x, y, scale = self.across(offset, near), self.ground(near), self.lane * near
        return (x - width * scale / 2, y - height * scale, x + width * scale / 2, y)


def place(rng: random.Random, road: Road, wanted: int) -> list[Thing]:
    """Things that are in the picture, large enough and hardly hidden, the farthest first."""
    things: list[Thing] = []
    paints = rng.sample(PAINTS, rng.randint(2, 4))
    kinds = rng.sample(list(KINDS), rng.randint(1, 4))
    for _ in range(wanted * 6):
        if len(things) == wanted:
            break
        if rng.random() < 0.3:
            side = rng.choice([-1, 1]) * (road.lanes / 2 + rng.uniform(0.15, 0.6))
            offset = rng.uniform(-road.lanes / 2, road.lanes / 2) if rng.random() < 0.25 else side
            near, kind, size = rng.uniform(0.3, 0.85), "pedestrian", (0.24, 0.66)
        else:
            offset = rng.randrange(road.lanes) - (road.lanes - 1) / 2 + rng.uniform(-0.12, 0.12)
            near, kind = rng.uniform(0.24, 0.82), rng.choice(kinds)
            size = KINDS[kind]
        box = road.box(*size, offset, near)
        inside = box[0] > 4 and box[2] < CANVAS - 4 and box[1] > 2 and box[3] < CANVAS - 2
        clear = all(overlap(*((box, t.box) if t.near > near else (t.box, box))) < 0.12 for t in things)
        apart = all(abs(t.near - near) > 0.05 for t in things)
        if inside and clear and apart and box[2] - box[0] > 16:
            things.append(Thing(kind, rng.choice(paints), near, offset < 0, box))
    return sorted(things, key=lambda t: t.near)


def draw_vehicle(draw: ImageDraw.ImageDraw, rng: random.Random, thing: Thing, dark: bool) -> None:
    x0, y0, x1, y1 = thing.box
    w, h = x1 - x0, y1 - y0
    paint = varied(rng, COLOURS[thing.colour])
    glass, tyre = (70, 90, 110), (20, 20, 22)
    at = lambda x, y: (x0 + x * w, y0 + y * h)
    box = lambda a, b, c, d, colour: draw.rectangle([*at(a, b), *at(c, d)], fill=colour)
    draw.ellipse([x0 - 0.03 * w, y1 - 0.1 * h, x1 + 0.03 * w, y1 + 0.05 * h], fill=(25, 25, 25))
    if thing.kind == "motorcycle":
        draw.ellipse([*at(0.36, 0.55), *at(0.64, 1.0)], fill=tyre)
        box(0.25, 0.42, 0.75, 0.72, paint)
        box(0.3, 0.16, 0.7, 0.45, (60, 60, 70))
        draw.ellipse([*at(0.33, 0), *at(0.67, 0.2)], fill=paint)
        lamps = [(0.42, 0.5)]
    else:
        box(0.08, 0.86, 0.26, 1, tyre), box(0.74, 0.86, 0.92, 1, tyre)
        if thing.kind == "car":
            polygon(draw, [at(0.17, 0.42), at(0.28, 0), at(0.72, 0), at(0.83, 0.42)], paint)
            polygon(draw, [at(0.24, 0.4), at(0.32, 0.07), at(0.68, 0.07), at(0.76, 0.4)], glass)
            draw.rounded_rectangle([*at(0, 0.38), *at(1, 0.92)], w * 0.08, fill=paint)
            lamps = [(0.06, 0.52), (0.8, 0.52)]
        elif thing.kind == "van":
            draw.rounded_rectangle([*at(0.03, 0), *at(0.97, 0.94)], w * 0.1, fill=paint)
            box(0.13, 0.1, 0.87, 0.42, glass)
            draw.line([*at(0.5, 0.1), *at(0.5, 0.9)], fill=shade(paint, 0.6), width=max(1, int(w * 0.02)))
            lamps = [(0.05, 0.62), (0.81, 0.62)]
        elif thing.kind == "truck":
            box(0, 0, 1, 0.8, paint)
            draw.rectangle([*at(0, 0), *at(1, 0.8)], outline=shade(paint, 0.55), width=max(1, int(w * 0.03)))
            draw.line([*at(0.5, 0), *at(0.5, 0.8)], fill=shade(paint, 0.55), width=max(1, int(w * 0.02)))
            box(0.06, 0.8, 0.94, 0.9, (50, 50, 52))
            lamps = [(0.05, 0.81), (0.83, 0.81)]
        else:
            draw.rounded_rectangle([*at(0, 0), *at(1, 0.94)], w * 0.06, fill=paint)
            box(0.07, 0.16, 0.93, 0.46, glass)
            for part in (0.33, 0.62):
                box(part, 0.16, part + 0.03, 0.46, paint)
            box(0.25, 0.04, 0.75, 0.12, (250, 160, 40))
            lamps = [(0.05, 0.7), (0.83, 0.7)]
        box(0.4, 0.72, 0.6, 0.8, (225, 225, 215))
    light = (255, 250, 220) if thing.oncoming else (210, 30, 25)
    for x, y in lamps:
        draw.ellipse([*at(x, y), *at(x + 0.14, y + 0.14 * w / h)], fill=light if dark else shade(light, 0.85))


def draw_pedestrian(draw: ImageDraw.ImageDraw, rng: random.Random, thing: Thing) -> None:
    x0, y0, x1, y1 = thing.box
    w, h = x1 - x0, y1 - y0
    at = lambda x, y: (x0 + x * w, y0 + y * h)
    skin = varied(rng, rng.choice([(225, 180, 150), (150, 100, 70), (95, 65, 45)]))
    stride = rng.uniform(0.05, 0.25)
    for leg in (-stride, stride):
        draw.line([*at(0.5, 0.55), *at(0.5 + leg, 1)], fill=(45, 45, 60), width=max(2, int(w * 0.2)))
    draw.rounded_rectangle([*at(0.22, 0.19), *at(0.78, 0.6)], w * 0.15, fill=varied(rng, COLOURS[thing.colour]))
    draw.ellipse([*at(0.33, 0), *at(0.67, 0.2)], fill=skin)


def backdrop(rng: random.Random, road: Road, textures: Textures, weather: str, light: str) -> Image.Image:
    sky = {"clear": (130, 180, 230), "rain": (130, 135, 145), "fog": (190, 192, 195), "snow": (205, 210, 218)}[weather]
    canvas = Image.new("RGB", (CANVAS, CANVAS), varied(rng, sky))
    horizon = int(road.horizon)
    if rng.random() < 0.6:
        clouds = textures.cut(rng, CANVAS, horizon).convert("L").convert("RGB")
        canvas.paste(Image.blend(canvas.crop((0, 0, CANVAS, horizon)), clouds, rng.uniform(0.05, 0.3)), (0, 0))
    verge = (225, 228, 232) if weather == "snow" else rng.choice([(80, 120, 60), (120, 110, 80), (140, 140, 138)])
    canvas.paste(textures.surface(rng, varied(rng, verge), CANVAS, CANVAS - horizon, 0.6), (0, horizon))
    draw = ImageDraw.Draw(canvas)
    x = -20
    while x < CANVAS:
        width, height = rng.randint(40, 120), rng.randint(20, max(21, horizon - 10))
        if rng.random() < 0.7:
            canvas.paste(textures.cut(rng, width, height, (1, 3)), (x, horizon - height))
        x += width + rng.randint(0, 40)
    asphalt = textures.surface(rng, varied(rng, (90, 90, 95) if weather != "snow" else (150, 152, 158)), CANVAS, CANVAS, 0.35)
    mask = Image.new("L", (CANVAS, CANVAS), 0)
    edge = road.lanes / 2 + 0.08
    corners = [(road.across(s * edge, n), road.ground(n)) for s, n in ((-1, 0.02), (1, 0.02), (1, 1.1), (-1, 1.1))]
    ImageDraw.Draw(mask).polygon([(int(a), int(b)) for a, b in corners], fill=255)
    canvas.paste(asphalt, (0, 0), mask)
    for line in range(road.lanes + 1):
        offset, solid = line - road.lanes / 2, line in (0, road.lanes)
        near = 0.06
        while near < 1.1:
            far, near = near, near * (1.35 if solid else 1.22)
            quad = [(road.across(offset + d, n), road.ground(n)) for n, d in ((far, -0.02), (far, 0.02), (near, 0.02), (near, -0.02))]
            polygon(draw, quad, (225, 225, 220))
            near *= 1 if solid else 1.3
    return canvas


def draw_signal(canvas: Image.Image, rng: random.Random, road: Road, state: str) -> None:
    draw = ImageDraw.Draw(canvas)
    x = int(rng.choice([rng.uniform(30, 90), rng.uniform(CANVAS - 90, CANVAS - 30)]))
    y = int(rng.uniform(14, 50))
    draw.rectangle([x - 4, y, x + 4, road.ground(0.35)], fill=(60, 60, 62))
    draw.rectangle([x - LAMP * 0.7, y - 6, x + LAMP * 0.7, y + 3 * LAMP + 6], fill=(20, 20, 20))
    for i, (name, colour) in enumerate(SIGNALS.items()):
        lit = name == state
        box = [x - LAMP * 0.45, y + i * LAMP + 2, x + LAMP * 0.45, y + (i + 0.9) * LAMP + 2]
        draw.ellipse(box, fill=colour if lit else shade(colour, 0.22))


def atmosphere(canvas: Image.Image, rng: random.Random, weather: str, light: str, things: list[Thing]) -> Image.Image:
    if weather == "fog":
        ramp = np.linspace(0.75, 0.15, CANVAS)[:, None].repeat(CANVAS, 1)
        mask = Image.fromarray((ramp * 255 * rng.uniform(0.7, 0.95)).astype(np.uint8))
        canvas = Image.composite(Image.new("RGB", canvas.size, (198, 200, 203)), canvas, mask)
    tint = {"day": (1, 1, 1), "dusk": (0.9, 0.7, 0.6), "night": (0.36, 0.38, 0.48)}[light]
    values = np.asarray(canvas, np.float32) * np.array(tint, np.float32)
    canvas = Image.fromarray(values.astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    if light != "day":
        for thing in things:
            if thing.kind == "pedestrian":
                continue
            x0, y0, x1, y1 = thing.box
            r = (x1 - x0) * (0.1 if light == "night" else 0.06)
            for x in ((thing.middle,) if thing.kind == "motorcycle" else (x0 + 2.2 * r, x1 - 2.2 * r)):
                y = y1 - 0.35 * (y1 - y0)
                draw.ellipse([x - r, y - r, x + r, y + r], fill=(255, 250, 215) if thing.oncoming else (235, 40, 30))
    if weather in ("rain", "snow"):
        over = Image.new("L", canvas.size, 0)
        flakes, slant = ImageDraw.Draw(over), rng.uniform(-6, 6)
        for _ in range(rng.randint(130, 260)):
            x, y, s = rng.uniform(0, CANVAS), rng.uniform(0, CANVAS), rng.uniform(1, 4)
            if weather == "rain":
                flakes.line([x, y, x + slant, y + 14 + 6 * s], fill=rng.randint(90, 170), width=1)
            else:
                flakes.ellipse([x - s, y - s, x + s, y + s], fill=rng.randint(150, 250))
        canvas.paste(Image.new("RGB", canvas.size, (225, 230, 238)), (0, 0), over.filter(ImageFilter.GaussianBlur(0.6)))
    return canvas


def describe(things: list[Thing], weather: str, light: str) -> str:
    """The nearest vehicles and the pedestrians, and in what weather and light."""
    groups: dict[tuple[str, str], int] = {}
    for thing in reversed(things):
        if thing.kind != "pedestrian":
            groups[thing.colour, thing.kind] = groups.get((thing.colour, thing.kind), 0) + 1
    parts = [number(n, f"{c} {k}", f"{c} {PLURAL[k]}") for (c, k), n in list(groups.items())[:3]]
    walking = sum(t.kind == "pedestrian" for t in things)
    if walking:
        parts.append(number(walking, "pedestrian", "pedestrians"))
    what = " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]])) if parts else "nobody"
    road = {"clear": "a road", "rain": "a wet road", "fog": "a road in fog", "snow": "a snowy road"}[weather]
    return f"{what} on {road}" + {"day": "", "dusk": " at dusk", "night": " at night"}[light]


def ask(rng: random.Random, things: list[Thing], signal: str | None, weather: str, light: str) -> list[Question]:
    vehicles = [t for t in things if t.kind != "pedestrian"]
    kinds = {k: [t for t in things if t.kind == k] for k in [*KINDS, "pedestrian"]}
    alone = [t for t in vehicles if len(kinds[t.kind]) == 1]
    named = [t for t in vehicles if sum(o.name == t.name for o in vehicles) == 1]
    found: list[Question] = []
    add = lambda kind, text, answer: found.append(Question(kind, text, answer))

    counted = rng.choice([k for k in kinds if kinds[k]] or list(kinds)) if rng.random() < 0.75 else rng.choice(list(kinds))
    add("count", rng.choice(["How many {} are there?", "How many {} do you see?"]).format(PLURAL[counted]), str(len(kinds[counted])))
    if rng.random() < 0.6:
        add("count", rng.choice(["How many vehicles are there?", "How many vehicles are on the road?"]), str(len(vehicles)))
    colour = rng.choice([t.colour for t in vehicles] or PAINTS) if rng.random() < 0.8 else rng.choice(PAINTS)
    add("count by colour", f"How many {colour} vehicles are there?", str(sum(t.colour == colour for t in vehicles)))
    if alone:
        thing = rng.choice(alone)
        add("colour", rng.choice(["What colour is the {}?", "Which colour has the {}?"]).format(thing.kind), thing.colour)
    pair = balanced(rng, [k for k in kinds if kinds[k]], [k for k in kinds if not kinds[k]])
    if pair:
        add("presence", rng.choice(["Is there a {}?", "Do you see a {}?"]).format(pair[0]), yes_no(pair[1]))
    names = {t.name for t in vehicles}
    others = [f"{c} {k}" for k in {t.kind for t in vehicles} for c in {t.colour for t in vehicles}]
    pair = balanced(rng, sorted(names), sorted(set(others) - names))
    if pair:
        article = "an" if pair[0][0] == "o" else "a"
        add("presence by colour", f"Is there {article} {pair[0]}?", yes_no(pair[1]))
    if len(named) >= 2:
        a, b = rng.sample(named, 2)
        add("nearer", rng.choice(["Which is nearer, the {} or the {}?", "What is closer, the {} or the {}?"]).format(a.name, b.name), (a if a.near > b.near else b).name)
        a, b = rng.sample(named, 2)
        if abs(a.middle - b.middle) > 20:
            side = rng.choice(["left", "right"])
            truth = (a.middle < b.middle) == (side == "left")
            add("relation", f"Is the {a.name} {side} of the {b.name}?", yes_no(truth))
    ordered = sorted(vehicles, key=lambda t: t.middle)
    if len(ordered) >= 2 and all(b.middle - a.middle > 16 for a, b in zip(ordered, ordered[1:])):
        side = rng.choice(["left", "right"])
        last = ordered[0] if side == "left" else ordered[-1]
        add("which", rng.choice(["Which vehicle is farthest to the {}?", "What vehicle is on the far {}?"]).format(side), last.name)
        inner = [t for t in (ordered[1:] if side == "left" else ordered[:-1]) if t in named]
        if inner:
            thing = rng.choice(inner)
            beside = ordered[ordered.index(thing) + (-1 if side == "left" else 1)]
            add("which", f"Which vehicle is next to the {thing.name} on its {side}?", beside.name)
    if len(vehicles) >= 2:
        nearest = max(vehicles, key=lambda t: t.near)
        add("colour", rng.choice(["What colour is the nearest vehicle?", "Which colour has the closest vehicle?"]), nearest.colour)
        a, b = rng.sample([k for k in kinds], 2)
        if len(kinds[a]) != len(kinds[b]):
            add("compare", f"Are there more {PLURAL[a]} than {PLURAL[b]}?", yes_no(len(kinds[a]) > len(kinds[b])))
    add("signal", rng.choice(["What does the traffic light show?", "Which colour has the traffic light?"]), signal or "there is none")
    add("weather", rng.choice(["How is the weather?", "What is the weather?"]), weather)
    add("light", rng.choice(["Is it day, dusk or night?", "What time of day is it?"]), light)
    return found


def facts(things: list[Thing], signal: str | None, weather: str, light: str) -> list[rules.Fact]:
    """What rules may go by."""
    vehicles = [t for t in things if t.kind != "pedestrian"]
    found = [rules.there(kind, any(t.kind == kind for t in things)) for kind in [*KINDS, "pedestrian"]]
    found += [rules.there(f"{colour} vehicle", any(t.colour == colour for t in vehicles)) for colour in PAINTS]
    found += [
        rules.there(f"{colour} {kind}", any(t.name == f"{colour} {kind}" for t in vehicles))
        for kind in sorted({t.kind for t in vehicles})
        for colour in sorted({t.colour for t in vehicles})
    ]
    found += [
        rules.Fact(f"more than {n} vehicles are there", f"at most {n} vehicles are there", len(vehicles) > n) for n in (2, 3, 4)
    ]
    skies = {"rain": ("it rains", "it does not rain"), "snow": ("it snows", "it does not snow"), "fog": ("there is fog", "there is no fog")}
    found += [rules.Fact(*words, weather == name) for name, words in skies.items()]
    found += [rules.Fact(f"it is {name}", f"it is not {name}", light == name) for name in LIGHT]
    return found + [rules.Fact(f"the light is {name}", f"the light is not {name}", signal == name) for name in SIGNALS]


def make(rng: random.Random, textures: Textures) -> Scene:
    road = Road(rng)
    weather, light = rng.choices(WEATHER, [4, 2, 2, 2])[0], rng.choices(LIGHT, [4, 2, 2])[0]
    things = place(rng, road, rng.choice([0, 1, 2, 2, 3, 3, 4, 4, 5, 6, 7]))
    signal = rng.choice(list(SIGNALS)) if rng.random() < 0.7 else None
    canvas = backdrop(rng, road, textures, weather, light)
    draw = ImageDraw.Draw(canvas)
    for thing in things:
        if thing.kind == "pedestrian":
            draw_pedestrian(draw, rng, thing)
        else:
            draw_vehicle(draw, rng, thing, light != "day")
    motion = rng.choice(["still", "cruising", "hard_braking", "turn_left", "turn_right", "bump", "vibration_fault"])
    if signal == "red" and rng.random() < 0.4:
        motion = rng.choice(["still", "hard_braking"])
    sound = rng.choice(["siren", "horn", "engine", "brake_squeal", "impact", "alarm", "hiss", "grinding", "speech", "quiet", "quiet"])
    if motion == "hard_braking" and rng.random() < 0.4:
        sound = rng.choice(["brake_squeal", "horn"])
    blur = 0.0 if motion == "still" else rng.uniform(0, 2)
    canvas = atmosphere(canvas, rng, weather, light, things)
    if signal:
        draw_signal(canvas, rng, road, signal)
    frame = camera(canvas, rng, blur)
    asked = ask(rng, things, signal, weather, light) + rules.ask(rng, facts(things, signal, weather, light))
    return Scene(frame, sound, motion, describe(things, weather, light), asked)
