"""Every module of torch.nn with parameters, and real models, become distributions and train."""

import copy
import inspect
import os

import pytest
import torch
from torch import nn

import isoinit
from isoinit.variational import convert, elbo, freeze, kl, posterior, predict, sample

os.environ["HF_HUB_OFFLINE"] = "1"
import transformers as t

SEQUENCE = torch.randn(2, 3, 8)
MODULES = {
    "Linear": (lambda: nn.Linear(4, 3), (torch.randn(5, 4),)),
    "Bilinear": (lambda: nn.Bilinear(4, 3, 2), (torch.randn(5, 4), torch.randn(5, 3))),
    "Embedding": (lambda: nn.Embedding(7, 4, padding_idx=2), (torch.tensor([[1, 2, 3]]),)),
    "EmbeddingBag": (lambda: nn.EmbeddingBag(7, 4), (torch.tensor([[1, 2, 3]]),)),
    "PReLU": (lambda: nn.PReLU(4), (torch.randn(5, 4),)),
    "LayerNorm": (lambda: nn.LayerNorm(4), (torch.randn(5, 4),)),
    "RMSNorm": (lambda: nn.RMSNorm(4), (torch.randn(5, 4),)),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), (torch.randn(5, 4),)),
    "MultiheadAttention": (lambda: nn.MultiheadAttention(8, 2, batch_first=True), (SEQUENCE,) * 3),
    "MultiheadAttention, other keys": (
        lambda: nn.MultiheadAttention(8, 2, kdim=4, vdim=6, add_bias_kv=True),
        (torch.randn(3, 2, 8), torch.randn(5, 2, 4), torch.randn(5, 2, 6)),
    ),
    "TransformerEncoderLayer": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        (SEQUENCE,),
    ),
    "TransformerEncoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2),
        (SEQUENCE,),
    ),
    "TransformerDecoderLayer": (
        lambda: nn.TransformerDecoderLayer(8, 2, 16, batch_first=True),
        (SEQUENCE, SEQUENCE),
    ),
    "TransformerDecoder": (
        lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), 2),
        (SEQUENCE, SEQUENCE),
    ),
    "Transformer": (
        lambda: nn.Transformer(8, 2, 1, 1, 16, batch_first=True),
        (SEQUENCE, SEQUENCE),
    ),
    "AdaptiveLogSoftmaxWithLoss": (
        lambda: nn.AdaptiveLogSoftmaxWithLoss(16, 12, [4, 8], div_value=2.0),
        (torch.randn(5, 16), torch.tensor([0, 3, 5, 9, 11])),
    ),
    "LSTM, projected": (lambda: nn.LSTM(4, 5, proj_size=3), (torch.randn(6, 2, 4),)),
}
for kind in ("RNN", "LSTM", "GRU"):
    make = getattr(nn, kind)
    MODULES[kind] = (
        lambda make=make: make(4, 5, num_layers=2, bidirectional=True, batch_first=True),
        (torch.randn(2, 6, 4),),
    )
    cell = getattr(nn, f"{kind}Cell")
    MODULES[f"{kind}Cell"] = (lambda cell=cell: cell(4, 5), (torch.randn(2, 4),))
for n in (1, 2, 3):
    x = torch.randn(2, 4, *[5] * n)
    for kind, options in {
        "Conv": {"out_channels": 6, "groups": 2, "padding": 1, "padding_mode": "circular"},
        "ConvTranspose": {"out_channels": 6, "stride": 2},
    }.items():
        make = getattr(nn, f"{kind}{n}d")
        MODULES[f"{kind}{n}d"] = (
            lambda make=make, options=options: make(4, kernel_size=3, **options),
            (x,),
        )
    MODULES[f"BatchNorm{n}d"] = (lambda n=n: getattr(nn, f"BatchNorm{n}d")(4), (x,))
    norm = getattr(nn, f"InstanceNorm{n}d")
    MODULES[f"InstanceNorm{n}d"] = (lambda norm=norm: norm(4, affine=True), (x,))
# Containers and bases; the last two need processes or devices of their own.
OTHERS = {"Module", "RNNBase", "RNNCellBase", "ParameterList", "ParameterDict"}
OTHERS |= {"SyncBatchNorm", "DataParallel"}


def test_no_module_with_parameters_is_missing():
    """Lazy ones become those here."""
    covered = {name.split(",")[0] for name in MODULES}
    known = {
        name
        for name, kind in vars(nn).items()
        if inspect.isclass(kind) and issubclass(kind, nn.Module)
        if any("Parameter(" in inspect.getsource(base) for base in kind.__mro__[:-2])
        if not name.startswith("Lazy")
    }
    assert len(known) > 20
    assert known - covered - OTHERS == set()


def first(output):
    while not isinstance(output, torch.Tensor):
        output = output[0]
    return output


@pytest.mark.parametrize("name", MODULES)
def test_every_module_of_torch(name):
    make, args = MODULES[name]
    plain = make()
    plan = isoinit.plan(plain, args)
    model = convert(plain, plan, parameters="all", inplace=False, seed=0)
    assert list(posterior(model)) == [name for name, _ in plain.named_parameters()]
    assert vars(model).keys() >= vars(plain).keys() - {"_flat_weights"}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        elbo(first(model(*args)).square().mean(), model, n_data=10).backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
    model.eval()
    with torch.no_grad():
        assert not torch.equal(first(model(*args)), first(model(*args)))
    shapes = {key: value.shape for key, value in plain.state_dict().items()}
    for back in (sample(model, 0), freeze(model)):
        assert {key: value.shape for key, value in back.state_dict().items()} == shapes
        first(back(*args))
    fresh = convert(make(), plan, parameters="all", seed=9).eval()
    fresh.load_state_dict(model.state_dict())
    torch.manual_seed(3)
    expected = first(model(*args))
    torch.manual_seed(3)
    assert torch.equal(first(fresh(*args)), expected)
    assert kl(fresh) == kl(model)


def test_double_precision_stays():
    model = convert(nn.LSTM(4, 5).double(), seed=0)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert model(torch.randn(3, 2, 4).double())[0].dtype == torch.float64


def test_a_lazy_layer_becomes_a_distribution_once_it_has_a_shape():
    model = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d())
    with pytest.raises(isoinit.IsoinitError, match=r"0\.weight.*lazy.*Run the model once"):
        convert(model, seed=0)
    model(torch.randn(5, 3))
    convert(model, parameters="all", seed=0)(torch.randn(5, 3)).sum().backward()


def test_lists_and_dicts_of_parameters():
    class Direct(nn.Module):
        def __init__(self):
            super().__init__()
            self.several = nn.ParameterList([torch.randn(4, 4) for _ in range(2)])
            self.named = nn.ParameterDict({"a": torch.randn(4, 4)})

        def forward(self, x):
            return x @ self.several[0] @ self.several[1] @ self.named["a"]

    model = Direct()
    x = torch.randn(2, 4)
    convert(model, isoinit.plan(model, x), seed=0)
    assert list(posterior(model)) == ["several.0", "several.1", "named.a"]
    assert not torch.equal(model(x), model(x))


SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
WORDS = torch.randint(1, 50, (6, 8), generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(6) % 3


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.lstm = nn.LSTM(16, 16, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, 3)

    def forward(self, input_ids):
        return self.head(self.lstm(self.embed(input_ids))[0].mean(1))


REAL = {
    "GPT-2": (
        lambda: t.GPT2ForSequenceClassification(
            t.GPT2Config(
                vocab_size=50, n_embd=16, n_layer=2, n_head=2, pad_token_id=0, num_labels=3
            )
        ),
        {"input_ids": WORDS},
    ),
    "BERT": (
        lambda: t.BertForSequenceClassification(
            t.BertConfig(vocab_size=50, intermediate_size=32, num_labels=3, **SMALL)
        ),
        {"input_ids": WORDS},
    ),
    "ViT": (
        lambda: t.ViTForImageClassification(
            t.ViTConfig(intermediate_size=32, image_size=16, patch_size=8, num_labels=3, **SMALL)
        ),
        {"pixel_values": torch.randn(6, 3, 16, 16)},
    ),
    "LSTM": (Recurrent, {"input_ids": WORDS}),
}


@pytest.mark.parametrize("noise", ["common", "flipout"])
@pytest.mark.parametrize("name", REAL)
def test_real_classifiers_learn_a_batch(name, noise):
    make, batch = REAL[name]
    torch.manual_seed(0)
    model = make()
    convert(model, isoinit.plan(model, batch), noise=noise, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(60 if "input_ids" in batch else 30):  # images of noise are told apart at once
        output = model(**batch)
        nll = nn.functional.cross_entropy(getattr(output, "logits", output), LABELS)
        loss = elbo(nll, model, n_data=100_000)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(nll.item())
    assert all(p.grad is not None for p in model.parameters())
    assert sum(losses[-5:]) / 5 < 0.5 < losses[0]
    prediction = predict(model.eval(), batch, 8, likelihood="logits", seed=0)
    assert (prediction.mean.argmax(-1) == LABELS).all()
    assert sample(model, 0)(**batch) is not None
    assert not any("parametrizations" in key for key in freeze(model).state_dict())


def test_a_language_model_keeps_its_tied_embedding():
    config = t.GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2)
    model = t.GPT2LMHeadModel(config)
    convert(model, isoinit.plan(model, {"input_ids": WORDS}), seed=0)
    assert (
        model.lm_head.parametrizations.weight[0] is model.transformer.wte.parametrizations.weight[0]
    )
    model(input_ids=WORDS, labels=WORDS).loss.backward()
    twin = copy.deepcopy(model)
    plain = freeze(twin)
    assert plain.lm_head.weight is plain.transformer.wte.weight
    assert plain.generate(WORDS[:1], max_new_tokens=2, do_sample=False).shape == (1, 10)
