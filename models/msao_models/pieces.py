"""Pieces of the vocabulary with a meaning of their own, and the prompt for a plain caption."""

SPECIAL = ["<pad>", "<s>", "</s>", "<a>"]
PAD, BOS, EOS, ANSWER = range(4)
PROMPT = "describe"
