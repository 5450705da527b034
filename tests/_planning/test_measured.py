"""What cannot be worked out is measured in a run with the plan's own values, or named."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import isoinit
from isoinit._planning.calibration.moments import coarse
from isoinit._reading.graph import Given

WIDTH, TOKENS, NODES = 64, 12, 60


class Layers(nn.Module):
    """An embedding, two layers for a function to use, and an output that reads what it gives."""

    def __init__(self, function):
        super().__init__()
        self.embed = nn.Linear(16, WIDTH)
        self.a, self.b = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.out, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 8)
        self.function = function

    def forward(self, x, *others):
        return self.head(self.out(self.function(self, self.embed(x), *others)))


def counted_attention(m, x):
    """Linear attention; a column of ones beside the values counts the weights."""
    q, k, v = m.a(x).relu(), m.b(x).relu(), F.pad(x, (0, 1), value=1.0)
    y = q @ (k.transpose(1, 2) @ v)
    return y[..., :-1] / (y[..., -1:] + 1e-6)


def kernel_attention(m, x):
    """Katharopoulos et al. 2020, eq. 5: a numerator over its denominator."""
    q, k = F.elu(m.a(x)) + 1, F.elu(m.b(x)) + 1
    return q @ (k.transpose(1, 2) @ x) / (q @ k.sum(1, keepdim=True).transpose(1, 2))


def sum_of_neighbours(m, x, edges):
    for layer in (m.a, m.b):
        x = layer(x + torch.zeros_like(x).index_add(0, edges[1], x[edges[0]])).relu()
    return x


def scattered(m, x, edges):
    into = edges[1][:, None].expand(-1, WIDTH)
    x = m.b(m.a(x).relu())
    return torch.zeros(NODES, WIDTH).scatter_add_(0, into, x[edges[0]])


def mean_of_neighbours(m, x, edges):
    degree = torch.zeros(NODES).index_add(0, edges[1], torch.ones(edges.shape[1])).clamp(min=1)
    x = m.b(m.a(x).relu())
    return torch.zeros_like(x).index_add(0, edges[1], x[edges[0]]) / degree[:, None]


def adjacency(m, x, matrix):
    return matrix @ m.b(matrix @ m.a(matrix @ x).relu())


def sparse_adjacency(m, x, matrix):
    return torch.sparse.mm(matrix, m.b(torch.sparse.mm(matrix, m.a(x)).relu()))


def graph_attention(m, x, edges):
    scores = (m.a(x)[edges[0]] * m.b(x)[edges[1]]).sum(-1).mul(0.1).exp()
    weights = scores / torch.zeros(NODES).index_add(0, edges[1], scores)[edges[1]]
    return torch.zeros_like(x).index_add(0, edges[1], weights[:, None] * x[edges[0]])


def running_sum(m, x):
    return m.b(m.a(x).relu()).cumsum(1)


def sum_over_units(m, x):
    return m.b(m.a(x).relu()).cumsum(-1)


def selective_scan(m, x):
    """Gu & Dao 2023, algorithm 2, in a loop over time."""
    step, source, state = F.softplus(m.a(x)), m.b(x), torch.zeros(len(x), WIDTH)
    states = []
    for t in range(TOKENS):
        state = state * torch.exp(-step[:, t]) + step[:, t] * source[:, t]
        states.append(state)
    return torch.stack(states, 1)


def moving_average(m, x):
    x, state = m.b(m.a(x).relu()), torch.zeros(len(x), WIDTH)
    for t in range(TOKENS):
        state = 0.9 * state + x[:, t]
    return state


def until_small(m, x):
    x = m.b(m.a(x).relu())
    while x.square().mean() > 0.05:
        x = 0.7 * x
    return x


def masked_mean(m, x, mask):
    x = m.b(m.a(x).relu()).relu()
    return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def on_probabilities(m, x):
    return m.b(m.a(x).relu()).softmax(-1)


def on_few_probabilities(m, x):
    return (2 * m.b(m.a(x).relu())).unflatten(-1, (16, 4)).softmax(-1).flatten(-2)


def on_log_probabilities(m, x):
    return m.b(m.a(x).relu()).log_softmax(-1)


class Steps(torch.autograd.Function):
    @staticmethod
    def forward(_ctx, x):
        return x.sort(-1)[0] * 3

    @staticmethod
    def backward(_ctx, gradient):
        return gradient


def custom_function(m, x):
    return Steps.apply(m.b(m.a(x).relu()))


def spectrum(m, x):
    return torch.fft.fft(m.b(m.a(x).relu()), dim=1).real


def with_itself(m, x):
    x = m.b(m.a(x).relu())
    return x @ x.transpose(1, 2) @ x


def part_of_a_stack(m, x):
    return torch.stack([m.a(x), 20 * m.b(x)], 1)[:, 0]


def centred(m, x):
    x = m.b(m.a(x).relu())
    return x - x.mean(1, keepdim=True)


def sum_over_places(m, x):
    return m.b(m.a(x).relu()).relu().sum(1)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def uniform(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def edges():
    return torch.randint(0, NODES, (2, 600), generator=torch.Generator().manual_seed(2))


TEXT = (normal(8, TOKENS, 16),)
GRAPH = (normal(NODES, 16), edges())
MATRIX = (normal(NODES, 16), (uniform(NODES, NODES) < 0.2).float())
CASES = {
    counted_attention: TEXT,
    kernel_attention: TEXT,
    sum_of_neighbours: GRAPH,
    scattered: GRAPH,
    mean_of_neighbours: GRAPH,
    graph_attention: GRAPH,
    adjacency: MATRIX,
    sparse_adjacency: (MATRIX[0], MATRIX[1].to_sparse()),
    running_sum: TEXT,
    sum_over_units: TEXT,
    selective_scan: TEXT,
    moving_average: TEXT,
    until_small: TEXT,
    masked_mean: (*TEXT, (uniform(8, TOKENS) < 0.5).float()),
    on_probabilities: TEXT,
    on_few_probabilities: TEXT,
    on_log_probabilities: TEXT,
    custom_function: TEXT,
    spectrum: TEXT,
    with_itself: TEXT,
    part_of_a_stack: TEXT,
    centred: TEXT,
    sum_over_places: TEXT,
}


def build(function):
    torch.manual_seed(0)
    return Layers(function)


@pytest.mark.parametrize("function", CASES, ids=lambda function: function.__name__)
def test_each_layer_is_scaled_for_what_reaches_it(function):
    model, batch = build(function), CASES[function]
    plan = isoinit.plan(model, batch)
    squares = {}
    for seed in range(1, 4):  # not the seed that was measured with
        plan.apply(model, seed)
        for layer in isoinit.check(model, batch, plan=plan).layers:
            squares.setdefault(layer.name, []).append(layer.rms**2)
    found = {name: math.sqrt(sum(of) / len(of)) for name, of in squares.items()}
    for name, rms in found.items():
        assert rms == pytest.approx(plan[f"{name}.weight"].expected, rel=0.35), name
    assert found["out"] == pytest.approx(1, rel=0.35)


@pytest.mark.parametrize(
    "function", [counted_attention, sum_of_neighbours, adjacency, sum_over_units]
)
def test_a_check_does_not_condemn_what_was_measured(function):
    model, batch = build(function), CASES[function]
    plan = isoinit.plan(model, batch)
    plan.apply(model, seed=0)
    assert isoinit.check(model, batch, plan=plan).findings == []


def test_the_entry_says_that_it_was_measured():
    plan = isoinit.plan(build(scattered), GRAPH)
    entry = plan["out.weight"]
    assert entry.rule == "measured on the example"
    assert "run on the example" in entry.reason
    assert dict(entry.numbers)["E[x²]"] * entry.std**2 * WIDTH == pytest.approx(1, rel=1e-5)
    assert plan.warnings == []
    assert plan["a.weight"].rule == "unit signal"  # before the sum all is worked out


def test_another_rule_says_that_its_input_was_measured():
    class Branch(Layers):
        def forward(self, x, edges):
            x = self.embed(x)
            s = torch.zeros_like(x).index_add(0, edges[1], x[edges[0]])
            return self.head(x + self.out(s))

    torch.manual_seed(0)
    entry = isoinit.plan(Branch(None), GRAPH)["out.weight"]
    assert entry.rule == "residual branch"
    assert entry.reason.endswith("the size of its input was measured on the example")
    assert dict(entry.numbers)["E[x²]"] == pytest.approx(10, rel=0.3)  # ten edges a node


def digests(function, *variants):
    return {isoinit.plan(build(function), batch).digest for batch in variants}


def test_the_plan_is_the_same_with_any_number_of_threads():
    before = torch.get_num_threads()
    found = set()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found |= digests(sum_of_neighbours, GRAPH) | {
                isoinit.plan(build(with_itself), TEXT).digest
            }
    finally:
        torch.set_num_threads(before)
    assert len(found) == 2  # one for each model


def test_the_plan_is_the_same_in_another_order_of_summation():
    order = torch.randperm(NODES, generator=torch.Generator().manual_seed(3))
    place = torch.empty_like(order)
    place[order] = torch.arange(NODES)
    moved = (GRAPH[0][order], place[GRAPH[1]].flip(1))
    assert len(digests(sum_of_neighbours, GRAPH, moved)) == 1
    assert len(digests(with_itself, TEXT, (TEXT[0].flip(0),))) == 1


def test_the_plan_is_the_same_in_double_precision():
    for function in (sum_of_neighbours, counted_attention):
        batch = CASES[function]
        doubles = tuple(t.double() if t.is_floating_point() else t for t in batch)
        single = isoinit.plan(build(function), batch)
        with_doubles = isoinit.plan(build(function).double(), doubles)
        assert [e.initializer for e in single] == [e.initializer for e in with_doubles]


def test_the_plan_does_not_depend_on_what_the_model_holds_or_on_random_numbers():
    batch = (*GRAPH[:1], GRAPH[1])
    torch.manual_seed(5)
    other = Layers(sum_of_neighbours)
    assert isoinit.plan(other, batch).digest in digests(sum_of_neighbours, batch)


def test_the_model_is_left_as_it_was():
    class Counts(Layers):
        def __init__(self):
            super().__init__(scattered)
            self.norm, self.seen = nn.BatchNorm1d(WIDTH), []

        def forward(self, x, edges):
            self.seen.append(1)
            return super().forward(x, edges) + self.norm(self.embed(x)).sum()

    torch.manual_seed(0)
    model = Counts()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator = torch.get_rng_state()
    isoinit.plan(model, GRAPH)
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert torch.equal(generator, torch.get_rng_state())
    assert model.seen == []
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_what_cannot_be_run_is_named_with_the_reason():
    with torch.device("meta"):
        meta = Layers(scattered)
    (note,) = isoinit.plan(meta, GRAPH).warnings
    assert "'out.weight', 'head.weight'" in note
    assert "scatter_add" in note
    assert "the model holds no values" in note


def test_a_run_that_fails_is_told_and_not_raised():
    def fails(m, x):
        x = m.b(m.a(x))
        if not isinstance(x, torch._subclasses.FakeTensor):
            raise ValueError("no such graph")
        return x.cumsum(1)

    (note,) = isoinit.plan(build(fails), TEXT).warnings
    assert "'out.weight'" in note
    assert "cumsum" in note
    assert "ValueError: no such graph" in note


def test_what_comes_from_outside_of_torch_is_named():
    def numpy(m, x):
        return torch.from_numpy(m.b(m.a(x)).detach().numpy() ** 3)

    (note,) = isoinit.plan(build(numpy), TEXT).warnings
    assert "'out.weight'" in note
    assert "NumPy" in note


@pytest.mark.parametrize("number", [0.0, 1.0])
def test_an_example_of_equal_numbers_is_replaced(number):
    def plan(x):
        return isoinit.plan(build(sum_of_neighbours), (x, GRAPH[1]))

    plain = plan(torch.full((NODES, 16), number))
    (note,) = plain.warnings
    assert "standard normal numbers" in note
    seconds = [dict(p["a.weight"].numbers)["E[x²]"] for p in (plain, plan(GRAPH[0]))]
    assert seconds[0] == pytest.approx(seconds[1], rel=0.15)


def test_what_is_followed_is_not_run():
    def never(m, x):
        x = m.b(m.a(x).relu())
        assert isinstance(x, torch._subclasses.FakeTensor), "a run on real tensors"
        return x

    assert isoinit.plan(build(never), TEXT).warnings == []


def test_overrides_are_measured_with():
    loud = {"a.weight": isoinit.Normal(std=1.0)}
    plan = isoinit.plan(build(scattered), GRAPH, overrides=loud)
    plain = isoinit.plan(build(scattered), GRAPH)
    assert plan["out.weight"].initializer == plain["out.weight"].initializer
    ratio = plan["out.weight"].expected / plain["out.weight"].expected
    assert ratio == pytest.approx(WIDTH**0.5, rel=0.05)  # 8 times the std of before


def test_a_recipe_expects_what_was_measured():
    model = build(scattered)
    plan = isoinit.plan(model, GRAPH, recipe="own")
    plan.apply(model, seed=0)
    rms = isoinit.check(model, GRAPH).layers[3].rms
    assert plan["out.weight"].expected == pytest.approx(rms, rel=0.2)


def test_a_weight_behind_a_scale_of_zero_says_so():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.conv = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, padding=1)
            self.norm = nn.BatchNorm2d(16)
            self.squeeze, self.excite = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
            self.head = nn.Linear(16, 4)

        def forward(self, x):
            x = self.stem(x)
            y = self.norm(self.conv(x.relu()))
            gate = self.excite(self.squeeze(y.mean((2, 3), keepdim=True)).relu()).sigmoid()
            return self.head((x + y * gate).mean((2, 3)))

    plan = isoinit.plan(Gated(), normal(4, 3, 12, 12))
    assert plan["norm.weight"].initializer == isoinit.Zeros()
    assert plan["squeeze.weight"].rule == "zero signal"
    assert plan["squeeze.weight"].std == pytest.approx(1 / 4, rel=1e-9)
    assert plan["squeeze.weight"].expected == 0
    assert plan["excite.weight"].std == pytest.approx(math.sqrt(2 / 4))  # for when it is not zero


def test_a_run_that_does_otherwise_than_was_read_is_read_anew():
    """Transformers leave out a mask of ones on real tensors, and keep it on fake ones."""

    def masked(m, x):
        x = m.b(m.a(x).relu())
        if isinstance(x, torch._subclasses.FakeTensor) or x.abs().max() < 1e-3:
            x = 2 * x
        return x.cumsum(1)

    model = build(masked)
    plan = isoinit.plan(model, TEXT)
    assert plan.warnings == []
    assert plan.how == "real"
    plan.apply(model, seed=0)
    (rms,) = (layer.rms for layer in isoinit.check(model, TEXT).layers if layer.name == "out")
    assert rms == pytest.approx(1, rel=0.2)


def test_a_mask_of_the_example_does_not_lose_attention():
    def attention(m, x, seen):
        mask = (seen[:, None, None] & torch.ones(TOKENS, TOKENS, dtype=torch.bool))[:, 0]
        return F.scaled_dot_product_attention(m.a(x), m.b(x), x, mask)

    def by_hand(m, x, seen):
        scores = m.a(x) @ m.b(x).transpose(1, 2) / WIDTH**0.5
        return (scores + (1 - seen[:, None].float()) * torch.finfo().min).softmax(-1) @ x

    seen = torch.ones(8, TOKENS, dtype=torch.long)
    for function, mask in ((attention, seen.bool()), (by_hand, seen)):
        plan = isoinit.plan(build(function), (*TEXT, mask))
        assert plan["out.weight"].rule == "unit signal"  # as without a mask
        assert plan["out.weight"].expected is not None


class TestCoarse:
    def test_rounding_errors_do_not_reach_what_is_kept(self):
        numbers = 0.31, 1.97, 0.4, 0.12
        noisy = Given(*(number * (1 + 1e-6) for number in numbers))
        assert coarse(noisy) == coarse(Given(*numbers))

    def test_the_second_moment_is_kept_to_two_percent(self):
        for second in (1e-30, 0.03, 1.0, 7.7, 1e20):
            found = coarse(Given(0.0, second, 0.25 * second, 0.0))
            assert found.second == pytest.approx(second, rel=0.011)
            assert found.nearby == found.second / 4

    def test_nothing_is_nothing(self):
        assert coarse(Given(0.0, 0.0, 0.0, 0.0)) == Given(0.0, 0.0, 0.0, 0.0)
