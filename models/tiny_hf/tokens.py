"""A byte-level BPE of a few hundred pieces, with the special tokens that each architecture needs."""

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

SENTENCES = [
    "a red car stands at the left of the road, and a van is behind it",
    "what is on the road? a man on a bike is on the road",
    "describe the picture in a few words",
    "the dog runs over the green field, the man looks at the dog",
    "how many cars are there? there are three cars and a lorry",
    "user: assistant: system: you are of help",
    "are the two pictures alike? no, the second has a house in it",
]
PIECES = 320


def build(special: list[str]) -> Tokenizer:
    """Trains it; the ids of `special` follow those of the pieces."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    return tokenizer
