"""Hugging Face Trainer: a tiny language model reads Python's own help pages, with energy and CO2e in TensorBoard.

Nothing is downloaded: text, tokenizer and model are all made on the spot. Install and run::

    pip install "wattloop[transformers,tensorboard]" torch
    python transformers_pydoc.py
"""

from pathlib import Path
from pydoc_data.topics import topics

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, Trainer, TrainingArguments, set_seed

from wattloop.transformers import EmissionsCallback

CONTEXT = 128


def build_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on the texts themselves."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=1024, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
        ),
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|endoftext|>")


def build_dataset(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> list[dict[str, list[int]]]:
    """Join the texts and cut them into blocks of `CONTEXT` tokens."""
    tokens = tokenizer(tokenizer.eos_token.join(texts))["input_ids"]
    starts = range(0, len(tokens) - CONTEXT + 1, CONTEXT)
    blocks = [tokens[start : start + CONTEXT] for start in starts]
    return [{"input_ids": block, "labels": block} for block in blocks]


def main(log_dir: str | Path = "runs/transformers", max_steps: int = -1) -> None:
    """Train for one epoch, or for `max_steps`, and log to `log_dir`."""
    set_seed(0)
    texts = list(topics.values())
    tokenizer = build_tokenizer(texts)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=CONTEXT,
            n_embd=128,
            n_layer=3,
            n_head=4,
            bos_token_id=tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )

    emissions = EmissionsCallback(region="FR")  # wattloop: this line, and its place in `callbacks` below

    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(log_dir),
            num_train_epochs=1,
            max_steps=max_steps,
            per_device_train_batch_size=8,
            learning_rate=1e-3,
            logging_steps=10,
            save_strategy="no",
            report_to=["tensorboard"],
        ),
        train_dataset=build_dataset(texts, tokenizer),
        callbacks=[emissions],
    )
    trainer.train()
    trainer.save_state()  # trainer_state.json: every logged number, ours among them
    print(emissions.run.summary())


if __name__ == "__main__":
    main()
