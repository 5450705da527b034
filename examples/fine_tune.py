"""Fine-tunes a pretrained model with a new head: `python examples/fine_tune.py`.

A small BERT learns to fill in masked tokens and is saved. Loaded as a classifier it lacks a pooler
and a head: `isoinit.init` draws these for the features that the trained layers give, and leaves the
rest.
"""

import tempfile

import torch
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

import isoinit

WORDS, LENGTH, CLASSES, MASK = 64, 16, 8, 1


def texts(count, generator):
    """Texts whose tokens count up from a first one; their class is where they start."""
    first = torch.randint(2, WORDS - LENGTH, (count, 1), generator=generator)
    return first + torch.arange(LENGTH), first.squeeze(1) * CLASSES // WORDS


def train(model, make_batch, steps, lr=1e-3):
    """Train on new batches; return the loss at the first step, and at the last."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        loss = model(**make_batch()).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses[0], losses[-1]


def main():
    """Pretrain, save, load with a new head, initialize the head, and train."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    config = BertConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=WORDS,
        max_position_embeddings=LENGTH,
    )

    def masked():
        ids, _ = texts(32, generator)
        hidden = torch.rand(ids.shape, generator=generator) < 0.15
        hidden[:, 0] = True  # at least one
        labels = ids.masked_fill(~hidden, -100)
        return {"input_ids": ids.masked_fill(hidden, MASK), "labels": labels}

    def classified():
        ids, classes = texts(32, generator)
        return {"input_ids": ids, "labels": classes}

    pretrained = BertForMaskedLM(config)
    isoinit.init(pretrained, masked(), seed=0)
    print("pretraining: loss {:.2f} to {:.2f}".format(*train(pretrained, masked, 60)))

    with tempfile.TemporaryDirectory() as folder:
        pretrained.save_pretrained(folder)
        model = BertForSequenceClassification.from_pretrained(folder, num_labels=CLASSES)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    batch = classified()
    plan = isoinit.init(model, batch, seed=0)  # the same as only=["bert.pooler.*", "classifier.*"]
    new = [entry.name for entry in plan if not entry.kept]
    print("initialized:", ", ".join(new))
    kept = [name for name in before if name not in new]
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in kept)

    model.eval()
    with torch.no_grad():
        size = model(**batch).logits.square().mean().sqrt()
    print(f"size of the logits: {size:.2f}, expected {plan['classifier.weight'].expected:.2f}")
    model.train()
    print("fine-tuning: loss {:.2f} to {:.2f}".format(*train(model, classified, 60)))


if __name__ == "__main__":
    main()
