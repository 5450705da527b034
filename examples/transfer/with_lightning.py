# with_lightning.py
"""Trains the large GPT under a Trainer of Lightning."""

import pytorch_lightning as lightning
import torch
from gpt import GPT
from torch.optim.lr_scheduler import LambdaLR
from tune import batches

import isoinit


class Learner(lightning.LightningModule):
    def __init__(self, model, t, lr):
        super().__init__()
        self.model, self.t, self.lr = model, t, lr

    def training_step(self, ids):
        return self.model(ids, labels=ids)["loss"]

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.t.groups(self.model, lr=self.lr, weight_decay=0.1))
        schedule = LambdaLR(optimizer, lambda step: min(1, (step + 1) / 5))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def configure_gradient_clipping(self, optimizer, gradient_clip_val, gradient_clip_algorithm):
        self.t.clip_grad_norm_(self.model, gradient_clip_val)

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.t.verify(self.optimizers())


def main(steps=10):
    t = isoinit.Transfer(isoinit.Plan.load("plan.json"))
    model = t.plan.apply(GPT(width=128, depth=4), seed=0)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(max_epochs=1, gradient_clip_val=1.0, **options)
    loader = torch.utils.data.DataLoader(list(batches(steps)), batch_size=None)
    trainer.fit(Learner(model, t, lr=2**-6), loader)
    ids = next(batches(1))
    print(f"loss {model(ids, labels=ids)['loss']:.4f}")


if __name__ == "__main__":
    main()
