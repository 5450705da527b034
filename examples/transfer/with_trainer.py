# with_trainer.py
"""Trains the large GPT under the Trainer of transformers."""

import torch
from gpt import GPT
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainerCallback, TrainingArguments
from tune import batches

import isoinit


class Clip(TrainerCallback):
    """Clips in place of `max_grad_norm`."""

    def __init__(self, t):
        self.t = t

    def on_pre_optimizer_step(self, args, state, control, model=None, optimizer=None, **kwargs):
        self.t.clip_grad_norm_(model, 1.0)
        self.t.verify(optimizer)


class Rows(torch.utils.data.IterableDataset):
    def __init__(self, steps):
        self.steps = steps

    def __iter__(self):
        for ids in batches(self.steps):
            yield from ({"ids": row, "labels": row} for row in ids)


def main(steps=10):
    t = isoinit.Transfer(isoinit.Plan.load("plan.json"))
    model = t.plan.apply(GPT(width=128, depth=4), seed=0)
    optimizer = torch.optim.AdamW(t.groups(model, lr=2**-6, weight_decay=0.1))
    schedule = LambdaLR(optimizer, lambda step: min(1, (step + 1) / 5))
    arguments = TrainingArguments(
        "trained",
        max_steps=steps,
        per_device_train_batch_size=8,
        max_grad_norm=0,  # Clip does it
        save_strategy="no",
        report_to="none",
    )
    trainer = Trainer(
        model,
        arguments,
        train_dataset=Rows(steps),
        optimizers=(optimizer, schedule),
        callbacks=[Clip(t)],
    )
    trainer.train()
    ids = next(batches(1)).to(arguments.device)
    print(f"loss {model(ids, labels=ids)['loss']:.4f}")


if __name__ == "__main__":
    main()
