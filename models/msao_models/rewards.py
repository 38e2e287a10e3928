"""Rewards for self-critical training: CIDEr-D (Vedantam et al., 2015) and smoothed sentence BLEU-4.

Scores that are reported come from pycocoevalcap (`score.py`); these are per caption, and fast enough to train on.
The end of the caption counts as a word, or captions learn to stop in the middle of a phrase.
"""

import collections
import math
import multiprocessing

END = "</s>"
SIGMA = 6.0


def ngrams(words: list[str]) -> list[collections.Counter]:
    """Counts of the n-grams of 1 to 4 words, one counter a length."""
    return [collections.Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1)) for n in range(1, 5)]


def bleu(caption: list[collections.Counter], references: list[list[collections.Counter]], length: int, lengths: list[int]) -> float:
    """Sentence BLEU-4 with one added to numerator and denominator above unigrams (Lin and Och, 2004)."""
    score = 0.0
    for n in range(4):
        best = collections.Counter()
        for reference in references:
            best |= reference[n]
        hits, total = sum((caption[n] & best).values()), sum(caption[n].values())
        smooth = 1 if n else 0
        if hits + smooth == 0 or total + smooth == 0:
            return 0.0
        score += math.log((hits + smooth) / (total + smooth)) / 4
    closest = min(lengths, key=lambda r: (abs(r - length), r))
    return math.exp(score + min(0.0, 1 - closest / max(length, 1)))


class Rewards:
    """Rewards against the references of one set of pictures, which also gives CIDEr's document frequencies."""

    def __init__(self, captions: dict[str, list[str]], bleu_weight: float):
        self.bleu_weight = bleu_weight
        split = {name: [c.split() + [END] for c in five] for name, five in captions.items()}
        self.counts = {name: [ngrams(words) for words in five] for name, five in split.items()}
        self.lengths = {name: [len(words) for words in five] for name, five in split.items()}
        frequency = collections.Counter()
        for five in self.counts.values():
            frequency.update(set().union(*(counter.keys() for counts in five for counter in counts)))
        documents = math.log(len(captions))
        self.weight = {gram: documents - math.log(max(1, n)) for gram, n in frequency.items()}
        self.unseen = documents
        self.vectors = {name: [self.vector(c) for c in five] for name, five in self.counts.items()}

    def vector(self, counts: list[collections.Counter]) -> list[tuple[dict, float]]:
        result = []
        for counter in counts:
            tf_idf = {gram: n * self.weight.get(gram, self.unseen) for gram, n in counter.items()}
            result.append((tf_idf, math.sqrt(sum(x * x for x in tf_idf.values()))))
        return result

    def cider(self, counts: list[collections.Counter], length: int, name: str) -> float:
        caption, total = self.vector(counts), 0.0
        for reference, reference_length in zip(self.vectors[name], self.lengths[name]):
            penalty = math.exp(-((length - reference_length) ** 2) / (2 * SIGMA**2))
            for (ours, norm), (theirs, their_norm) in zip(caption, reference):
                if norm and their_norm:
                    dot = sum(min(x, theirs[gram]) * theirs[gram] for gram, x in ours.items() if gram in theirs)
                    total += penalty * dot / (norm * their_norm) / 4
        return 10 * total / len(self.vectors[name])

    def one(self, caption: str, ended: bool, name: str) -> float:
        words = caption.split() + [END] * ended
        counts = ngrams(words)
        reward = self.cider(counts, len(words), name)
        if self.bleu_weight:
            reward += self.bleu_weight * bleu(counts, self.counts[name], len(words), self.lengths[name])
        return reward


_rewards: Rewards | None = None


def _one(item: tuple[str, bool, str]) -> float:
    return _rewards.one(*item)


class Pool:
    """Rewards by forked workers. Make it before the first use of the GPU: a fork after it is not safe."""

    def __init__(self, rewards: Rewards, workers: int):
        global _rewards
        _rewards = rewards
        self.pool = multiprocessing.get_context("fork").Pool(workers)

    def __call__(self, captions: list[str], ended: list[bool], names: list[str]) -> list[float]:
        return self.pool.map(_one, zip(captions, ended, names), chunksize=16)
