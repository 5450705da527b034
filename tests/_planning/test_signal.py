"""What the fans promise, measured: each layer of torch keeps the variance of a standard normal.

With weights of variance 1/fan_in the outputs of a layer have variance 1 inside, away from padding;
with 1/fan_out the gradients of its inputs. The layout is the one that a plan finds. Where the fans
that torch takes from the shape alone are right, so is `torch.nn.init`; the tests say where not, and
by how much the layer itself then misses.

Seeds are fixed; a correct library fails a check under one seed in a million (Student's t over the
seeds). The standard error is below 0.35 %, so a variance that is off by 3 % is noticed.
"""

import pytest
import torch
from scipy import stats
from torch import nn
from transformers.pytorch_utils import Conv1D

import isoinit
from checkers import ALARM
from isoinit import LeCunUniform, XavierUniform

SEEDS = 32


def normal(*shape):
    return torch.randn(shape)


@pytest.fixture(autouse=True)
def _inputs_have_a_seed():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for small tensors the faster
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def agree(values, expected):
    assert stats.sem(values) < 0.0035 * expected
    return stats.ttest_1samp(values, expected).pvalue > ALARM


# ---------------------------------------------------------------- layers

# Layer; shapes of its inputs; how far the ends of each spatial axis feel that there is no more, in
# the output and in the input; and which fans torch gets right.
BOTH, ONE, NONE = ("fan_in", "fan_out"), ("fan_in",), ()
LAYERS = [
    (nn.Linear(200, 300), [(400, 200)], 0, 0, BOTH),
    (Conv1D(300, 200), [(400, 200)], 0, 0, NONE),  # stored (in, out)
    (nn.Bilinear(20, 40, 25), [(1200, 20), (1200, 40)], 0, 0, ONE),
    (nn.Conv1d(48, 96, 5), [(40, 48, 40)], 0, 4, BOTH),
    (nn.Conv1d(48, 96, 5, padding=2, groups=4), [(40, 48, 44)], 2, 2, ONE),
    (
        nn.Conv1d(64, 96, 3, stride=2, padding=3, dilation=3, padding_mode="circular"),
        *([(40, 64, 40)], 0, 0, ONE),
    ),
    (nn.Conv2d(32, 48, 3, padding=1, padding_mode="circular"), [(8, 32, 12, 12)], 0, 0, BOTH),
    (nn.Conv2d(32, 64, (3, 5), stride=(2, 1), groups=2), [(24, 32, 17, 16)], 0, 4, ONE),
    (nn.Conv2d(400, 800, 3, dilation=2, groups=400), [(3, 400, 12, 12)], 0, 4, ONE),  # depthwise
    (nn.Conv3d(20, 30, 3, padding=1, padding_mode="circular"), [(5, 20, 6, 6, 6)], 0, 0, BOTH),
    (nn.Conv3d(40, 60, 2, stride=2, groups=2), [(6, 40, 8, 8, 8)], 0, 0, ONE),
    (nn.ConvTranspose1d(48, 96, 4), [(30, 48, 40)], 3, 0, NONE),
    (nn.ConvTranspose1d(48, 96, 4, stride=3), [(30, 48, 30)], 3, 0, NONE),
    (nn.ConvTranspose2d(32, 48, 4, stride=2, padding=1), [(8, 32, 12, 12)], 1, 1, NONE),
    (nn.ConvTranspose2d(64, 96, 3, stride=2, groups=4), [(4, 64, 12, 12)], 1, 0, NONE),
    (nn.ConvTranspose3d(16, 40, 3, stride=2), [(6, 16, 6, 6, 6)], 1, 0, NONE),
    (nn.Embedding(500, 300), [(500,)], 0, 0, NONE),
    (nn.EmbeddingBag(500, 300, mode="sum"), [(1000, 7)], 0, 0, NONE),
]


def example(layer, shapes):
    """Standard normals; of a table, rows that differ within a bag."""
    if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
        bags, *width = shapes[0]
        first = torch.arange(bags) % 500
        return [(first[:, None] + 61 * torch.arange(*width)) % 500 if width else first]
    return [normal(*shape).requires_grad_() for shape in shapes]


def inner(values, edge, period):
    """Without the ends of each spatial axis, and a whole number of periods long."""
    for axis, step in enumerate(period, start=2):
        values = values.narrow(axis, edge, (values.shape[axis] - 2 * edge) // step * step)
    return values


def mean_squares(row, fill):
    """Of the outputs, and of the gradients of the inputs: one of each a seed."""
    layer, shapes, outer_edge, inner_edge, _ = row
    stride = getattr(layer, "stride", ())
    ones, transposed = (1,) * len(stride), "Transpose" in type(layer).__name__
    forward, backward = [], []
    for seed in range(SEEDS):
        fill(seed)
        inputs = example(layer, shapes)
        outputs = layer(*inputs)
        middle = inner(outputs.detach(), outer_edge, stride if transposed else ones)
        forward.append(middle.square().mean().item())
        if outputs.requires_grad:
            outputs.backward(normal(*outputs.shape))
            grads = [inner(x.grad, inner_edge, ones if transposed else stride) for x in inputs]
            backward.append(sum(g.square().mean().item() for g in grads) / len(grads))
    return {"fan_in": forward, "fan_out": backward}


@pytest.mark.parametrize("row", LAYERS, ids=lambda row: str(row[0]))
def test_a_layer_keeps_the_variance(row):
    layer, shapes, _, _, right = row
    layer.requires_grad_(False)
    inputs = tuple(x.detach() for x in example(layer, shapes))
    plan = isoinit.plan(layer, inputs, keep="nothing")
    plan["weight"] = LeCunUniform()
    found = mean_squares(row, lambda seed: plan.apply(layer, seed=seed))
    fans = {"fan_in": plan["weight"].fan_in, "fan_out": plan["weight"].fan_out}
    assert agree(found["fan_in"], 1)
    if found["fan_out"]:
        assert agree(found["fan_out"], fans["fan_out"] / fans["fan_in"])

    known = nn.init._calculate_fan_in_and_fan_out(layer.weight)
    theirs = dict(zip(BOTH, known, strict=True))
    assert tuple(mode for mode in BOTH if fans[mode] == theirs[mode]) == right
    for mode in BOTH:
        if mode in right or not found[mode]:
            continue

        def as_torch(seed, mode=mode):
            seeded = torch.Generator().manual_seed(seed)
            options = {"mode": mode, "nonlinearity": "linear", "generator": seeded}
            nn.init.kaiming_uniform_(layer.weight, **options)

        missed = mean_squares(row, as_torch)[mode]
        assert agree(missed, fans[mode] / theirs[mode])
        assert not agree(missed, fans[mode] / theirs[mode] * 1.03)  # so much is noticed
        break


# ---------------------------------------------------------------- packed weights

# Several maps are stored as one weight. What each of them computes is read back from the outputs of
# torch's own layer, whose other gates are opened or shut by their biases (a sigmoid of 40 is 1).
IN, WIDTH, BATCH, OPEN, SHUT = 96, 128, 300, 40.0, -40.0


def run(layer, drive, biases, hidden_biases=(), cell=0.0):
    """One step of a recurrent layer under these biases: its next state, and the LSTM's cell."""
    pairs = (layer.bias_ih_l0, biases), (layer.bias_hh_l0, hidden_biases or (0.0,) * len(biases))
    for parameter, values in pairs:
        parameter.copy_(torch.tensor(values).repeat_interleave(WIDTH))
    if not isinstance(layer, nn.LSTM):
        return layer(*drive)[1][0]
    inputs, state = drive
    return [part[0] for part in layer(inputs, (state, torch.full_like(state, cell)))[1]]


def rnn_gates(layer, drive):
    return [run(layer, drive, (0.0,)).atanh()]


def lstm_gates(layer, drive):
    """c' = σ(f) c + σ(i) tanh(g) and h' = σ(o) tanh(c'), in the order i, f, g, o."""
    return [
        run(layer, drive, (0.0, 0.0, OPEN, 0.0))[1].logit(),
        run(layer, drive, (SHUT, 0.0, 0.0, 0.0), cell=1.0)[1].logit(),
        run(layer, drive, (OPEN, 0.0, 0.0, 0.0))[1].atanh(),
        run(layer, drive, (SHUT, OPEN, 0.0, 0.0), cell=OPEN)[0].logit(),
    ]


def gru_gates(layer, drive):
    """h' = (1 - σ(z)) n + σ(z) h and n = tanh(n_in + σ(r) n_h), in the order r, z, n.

    With r open and z shut atanh(h') is n; a bias of 1 in n_h then adds σ(r).
    """
    state = drive[1][0]
    plain = run(layer, drive, (0.0, SHUT, 0.0)).atanh()
    more = run(layer, drive, (0.0, SHUT, 0.0), (0.0, 0.0, 1.0)).atanh()
    update = (run(layer, drive, (0.0, 0.0, OPEN)) - 1) / (state - 1)
    return [
        (more - plain).logit(),
        update.logit(),
        run(layer, drive, (OPEN, SHUT, 0.0)).atanh(),
    ]


def attention_maps(layer, drive):
    """q, k and v of attention with one number a head and one constant key and value beside.

    The two weights have logits q k and q k', so their ratio tells q where k' - k = 1, and k where
    q = 1 and k' = 0; where q k' = -1000 only v is left, and the output projection is the identity.
    """
    nothing, (query, key, value) = torch.zeros_like(drive[0]), drive

    def attend(q, k, v, q_bias, constant):
        layer.in_proj_bias.zero_()[:WIDTH] = q_bias
        layer.bias_k.fill_(constant), layer.bias_v.zero_()
        out, weights = layer(q, k, v, average_attn_weights=False)
        return out, (weights[..., 1] / weights[..., 0]).log()

    layer.out_proj.weight.copy_(torch.eye(WIDTH)), layer.out_proj.bias.zero_()
    return [
        attend(query, nothing, nothing, 0.0, 1.0)[1],
        attend(nothing, key, nothing, 1.0, 0.0)[1],
        attend(nothing, nothing, value, 1.0, -1000.0)[0],
    ]


def inputs_of(kind):
    """What drives a recurrent layer through one of its weights alone; or queries, keys, values."""
    if kind == "in_proj_weight":
        return tuple(normal(BATCH, 1, WIDTH).double() for _ in range(3))
    x, h = normal(1, BATCH, IN).double(), normal(1, BATCH, WIDTH).double()
    return (x, 0 * h) if kind == "weight_ih_l0" else (0 * x, h)


def attention():
    return nn.MultiheadAttention(WIDTH, WIDTH, batch_first=True, add_bias_kv=True)


PACKED = [
    (lambda: nn.RNN(IN, WIDTH), "weight_ih_l0", rnn_gates, 1),
    (lambda: nn.RNN(IN, WIDTH), "weight_hh_l0", rnn_gates, 1),
    (lambda: nn.LSTM(IN, WIDTH), "weight_ih_l0", lstm_gates, 4),
    (lambda: nn.LSTM(IN, WIDTH), "weight_hh_l0", lstm_gates, 4),
    (lambda: nn.GRU(IN, WIDTH), "weight_ih_l0", gru_gates, 3),
    (lambda: nn.GRU(IN, WIDTH), "weight_hh_l0", gru_gates, 3),
    (attention, "in_proj_weight", attention_maps, 3),
]


@pytest.mark.parametrize(
    ("make", "name", "read", "blocks"), PACKED, ids=lambda value: getattr(value, "__name__", value)
)
def test_each_packed_map_has_its_own_fans(make, name, read, blocks):
    """Xavier promises 2 n / (n + m) of a map n to m; torch counts m once for every block."""
    layer = make().double().requires_grad_(False)
    n = IN if name == "weight_ih_l0" else WIDTH
    drive = inputs_of(name)
    plan = isoinit.plan(layer, drive if name == "in_proj_weight" else drive[0])
    plan[name] = XavierUniform()

    def mean_squares(fill):
        found = []
        for seed in range(SEEDS):
            fill(seed)
            found.append([part.square().mean().item() for part in read(layer, inputs_of(name))])
        return zip(*found, strict=True)

    for values in mean_squares(lambda seed: plan.apply(layer, seed=seed)):
        assert agree(values, 2 * n / (n + WIDTH))

    def as_torch(seed):
        plan.apply(layer, seed=seed)
        nn.init.xavier_uniform_(getattr(layer, name), generator=torch.Generator().manual_seed(seed))

    for values in mean_squares(as_torch):
        assert agree(values, 2 * n / (n + blocks * WIDTH))
