"""A small tokenizer by the Python package `tokenizers`, and what it says: run beside tests/text.rs."""

import json
import pathlib

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

here = pathlib.Path(__file__).parent
verse = [
    "Twas brillig, and the slithy toves did gyre and gimble in the wabe",
    "All mimsy were the borogoves, and the mome raths outgrabe",
    "He took his vorpal sword in hand: long time the manxome foe he sought",
]
tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(
    vocab_size=300, special_tokens=["[PAD]", "[UNK]", "[BOS]", "[EOS]"],
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
)
tokenizer.train_from_iterator(verse, trainer)
tokenizer.post_processor = processors.TemplateProcessing(
    single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 2), ("[EOS]", 3)],
)
tokenizer.save(str(here / "tokenizer.json"), pretty=False)
cases = []
for text in ["The vorpal sword", "slithy toves — ünknown ☃", "", "  two  spaces\n"]:
    ids = tokenizer.encode(text).ids
    cases.append({"text": text, "ids": ids, "decoded": tokenizer.decode(ids)})
(here / "tokens.json").write_text(json.dumps(cases) + "\n")
