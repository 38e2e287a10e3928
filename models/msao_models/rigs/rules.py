"""Questions by a rule with several conditions, as rigs are told when to raise an alarm, where to send a part or how
risky a moment is: each condition is easily seen, and the answer needs all of them."""

import random
from dataclasses import dataclass

from .asking import Question, yes_no

# How many conditions a rule has.
SORT, CHECKS, POINTS, ALARM = range(2, 7), range(3, 9), range(3, 7), range(2, 7)
MOST_POINTS = 5
# Conditions that say what is there, and not what is not.
CLAIMS = 0.7


@dataclass(frozen=True)
class Fact:
    """Something that holds in a scene or does not, in words that claim it and words that deny it."""

    claim: str
    denial: str
    holds: bool

    def condition(self, truth: bool) -> str:
        return self.claim if self.holds == truth else self.denial


def there(thing: str, holds: bool) -> Fact:
    """Whether there is a thing."""
    return Fact(f"{'an' if thing[0] in 'aeiou' else 'a'} {thing} is there", f"no {thing} is there", holds)


def conditions(rng: random.Random, facts: list[Fact], truths: list[bool]) -> list[str]:
    """Conditions about different facts, each as true as asked. That something is said to be there, or not to be, does not
    tell whether it is true."""
    left, chosen = list(facts), []
    for truth in truths:
        holds = truth == (rng.random() < CLAIMS)
        fact = rng.choice([f for f in left if f.holds == holds] or left)
        left.remove(fact)
        chosen.append(fact.condition(truth))
    return chosen


def sort(rng: random.Random, facts: list[Fact], size: int) -> Question:
    """The first condition that holds decides."""
    letters, first = rng.sample("ABCDEFGH", size + 1), rng.randrange(size + 1)
    truths = [i == first or i > first and rng.random() < 0.5 for i in range(size)]
    told = [f"{letter} if {c}" for letter, c in zip(letters, conditions(rng, facts, truths))]
    return Question("sort", f"{', '.join(told)}, else {letters[-1]}. Which?", letters[first])


def checks(rng: random.Random, facts: list[Fact], size: int) -> Question:
    """How many of the conditions hold."""
    count = rng.randint(0, size)
    truths = rng.sample([True] * count + [False] * (size - count), size)
    return Question("checks", f"How many of these hold: {', '.join(conditions(rng, facts, truths))}?", str(count))


def points(rng: random.Random, facts: list[Fact], size: int) -> Question:
    """The sum of what the conditions that hold are worth."""
    truths, worth = [rng.random() < 0.5 for _ in range(size)], [rng.randint(1, MOST_POINTS) for _ in range(size)]
    told = [f"{n} if {c}" for n, c in zip(worth, conditions(rng, facts, truths))]
    return Question("points", f"Points: {', '.join(told)}. How many?", str(sum(n for n, truth in zip(worth, truths) if truth)))


def alarm(rng: random.Random, facts: list[Fact], size: int) -> Question:
    """Whether all conditions of one of two or three groups hold; of two conditions, either."""
    cuts = sorted(rng.sample(range(1, size), min(rng.choice([1, 2]), size - 1)))
    groups = [range(a, b) for a, b in zip([0, *cuts], [*cuts, size])]
    truths, answer = [rng.random() < 0.6 for _ in range(size)], rng.random() < 0.5
    if answer:
        for i in rng.choice(groups):
            truths[i] = True
    else:
        for group in groups:
            truths[rng.choice(group)] = False
    told = conditions(rng, facts, truths)
    return Question("alarm", f"Alarm if {', or '.join(' and '.join(told[i] for i in group) for group in groups)}. Alarm?", yes_no(answer))


def ask(rng: random.Random, facts: list[Fact]) -> list[Question]:
    """Nine rules; fewer conditions where there are fewer facts."""
    rules = [(sort, SORT), (checks, CHECKS), (points, POINTS)] * 3
    rules[rng.choice([0, 3, 6])] = (alarm, ALARM)
    return [rule(rng, facts, min(rng.choice(sizes), len(facts))) for rule, sizes in rules]
