"""Which forward sees which draw; its numbers; what repeats them."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import isoinit
from isoinit._drawing.streams import Stream
from isoinit.errors import IsoinitError
from isoinit.variational import convert, sample
from isoinit.variational.noise import new_index, normals

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))


def test_numbers_are_those_of_the_parameters_stream():
    found = normals(torch.tensor(5), (2, 3), "w", torch.float32, torch.device("cpu"))
    expected = np.empty(6, np.float32)
    Stream(5, "w", "noise").normal(expected)
    assert found.flatten().tolist() == expected.tolist()


def test_a_forward_is_the_draw_of_one_number_of_torchs_generator():
    model = convert(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), seed=0)
    torch.manual_seed(3)
    y, after = model(X), torch.get_rng_state()
    torch.manual_seed(3)
    index = new_index()
    assert torch.equal(after, torch.get_rng_state())
    torch.testing.assert_close(sample(model, int(index))(X), y)


class Steps(nn.Module):
    """A recurrent loop written by hand."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(4, 4)
        self.weights = []

    def forward(self, x):
        state = None
        for _ in range(5):
            state = self.cell(x, state)
            self.weights.append(self.cell.weight_hh)
        return state[0]


@pytest.mark.parametrize("grad", [True, False])
def test_a_loop_over_steps_sees_one_draw(grad):
    model = convert(Steps(), seed=0)
    with torch.set_grad_enabled(grad):
        model(X)
        model(X)
    first, second = model.weights[:5], model.weights[5:]
    for weights in (first, second):
        assert all(torch.equal(weights[0], other) for other in weights)
    if grad and hasattr(
        torch._C._autograd, "_top_saved_tensors_default_hooks"
    ):  # and makes it once
        assert all(weights is first[0] for weights in first)
    assert not torch.equal(first[0], second[0])


def test_an_lstm_sees_one_draw_a_sequence():
    """From state zero under the same input, the first step of a repeated sequence repeats."""
    lstm = convert(nn.LSTM(4, 4), seed=0)
    x = X[None].expand(2, 3, 4)
    with torch.no_grad():
        whole = lstm(x)[0]
        torch.manual_seed(9)
        whole = lstm(x)[0]
        torch.manual_seed(9)
        steps, state = [], None
        index = new_index()
        for step in x:
            with lstm.parametrizations.weight_ih_l0[0].draws.fixed(index):
                out, state = lstm(step[None], state)
            steps.append(out)
    torch.testing.assert_close(torch.cat(steps), whole)


def test_a_layer_called_by_itself_draws_for_each_call():
    model = convert(nn.Sequential(nn.MultiheadAttention(8, 2, batch_first=True)), seed=0)
    attention, x = model[0], torch.randn(2, 3, 8)
    one, two = (attention(x, x, x)[0] for _ in range(2))
    assert not torch.equal(one, two)


def test_inside_a_layers_call_all_readings_agree():
    class Twice(nn.Linear):
        def forward(self, x):
            return super().forward(x) - super().forward(x)

    assert not convert(Twice(4, 4), seed=0)(X).any()


def test_an_interrupted_forward_leaves_nothing_behind():
    class Interrupted(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.error = None

        def forward(self, x):
            y = self.layer(x)
            if self.error:
                raise self.error
            return y

    model = convert(Interrupted(), seed=0)
    for error in (KeyboardInterrupt(), ValueError()):
        model.error = error
        with pytest.raises(type(error)):
            model(X)
        model.error = None
        assert not torch.equal(model(X), model(X))
        assert not torch.equal(model.layer.weight, model.layer.weight)


def test_no_gradient_is_lost_to_a_draw_made_without():
    class Peeking(nn.Linear):
        def forward(self, x):
            with torch.no_grad():
                super().forward(x)
            return super().forward(x)

    layer = convert(Peeking(4, 4), seed=0)
    layer(X).sum().backward()
    assert layer.parametrizations.weight[0].log_std.grad.any()


class Checkpointed(nn.Module):
    def __init__(self, reentrant=None):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.reentrant = reentrant

    def part(self, x):
        return torch.tanh(self.b(torch.relu(self.a(x))))

    def forward(self, x):
        for _ in range(2):  # the second part uses the first one's weights again
            if self.reentrant is None:
                x = self.part(x)
            else:
                x = checkpoint(self.part, x, use_reentrant=self.reentrant)
        return x


@pytest.mark.parametrize("noise", ["common", "local", "flipout"])
@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing_sees_the_same_draw_again(reentrant, noise):
    gradients = []
    for mode in (None, reentrant):
        model = convert(Checkpointed(mode), noise=noise, seed=0)
        for _ in range(2):  # also in the step after
            torch.manual_seed(5)
            model.zero_grad()
            model(X.clone().requires_grad_()).square().mean().backward()
        gradients.append([p.grad for p in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_two_forwards_before_a_checkpointed_backward_are_refused():
    """Either could be meant; the wrong one would give wrong gradients in silence."""
    model = convert(Checkpointed(reentrant=False), seed=0)
    loss = model(X).sum() + model(X).sum()
    with pytest.raises(IsoinitError, match="there were 2 forward passes"):
        loss.backward()
    model(X).sum().backward()
    with torch.no_grad():
        model(X)
    model(X).sum().backward()


def net(noise="common", scale=0.5):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    return convert(model, isoinit.plan(model, X), noise=noise, scale=scale, seed=0)


NOISES = ("common", "local", "flipout")
# "aot_eager" runs what the compiler sees; writing code for it takes "inductor" seconds. Code is
# written here for the noise that draws most, and in test_wrapped.py for a training of "common".
COMPILED = [("common", "aot_eager"), ("local", "aot_eager"), ("flipout", "inductor")]
SLOWLY = [(noise, "inductor") for noise in ("common", "local")]


@pytest.mark.parametrize(
    ("noise", "backend"),
    [*COMPILED, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOWLY)],
)
def test_compiled_code_makes_the_same_draws(noise, backend):
    model = net(noise)
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    first, second = compiled(X), compiled(X)
    assert not torch.equal(first, second)
    torch.manual_seed(2)
    y = compiled(X)
    torch.manual_seed(2)
    torch.testing.assert_close(model(X), y)
    y.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("noise", NOISES)
class TestTransformed:
    def test_functional_call_and_grad(self, noise):
        model = net(noise)
        parameters = dict(model.named_parameters())

        def loss(parameters):
            return torch.func.functional_call(model, parameters, X).square().mean()

        torch.manual_seed(1)
        gradients = torch.func.grad(loss)(parameters)
        torch.manual_seed(1)
        model(X).square().mean().backward()
        for name, parameter in parameters.items():
            torch.testing.assert_close(gradients[name], parameter.grad)

    def test_vmap_decides_what_shares_a_draw(self, noise):
        model = net(noise)
        parameters = {n: p.detach().expand(3, *p.shape) for n, p in model.named_parameters()}

        def call(parameters):
            return torch.func.functional_call(model, parameters, X)

        same = torch.vmap(call, randomness="same")(parameters)
        torch.testing.assert_close(same[0], same[2])
        different = torch.vmap(call, randomness="different")(parameters)
        assert not torch.allclose(different[0], different[1])
        with pytest.raises(RuntimeError, match="random"):
            torch.vmap(call)(parameters)

    def test_gradients_of_each_example(self, noise):
        model = net(noise)
        parameters = {n: p.detach() for n, p in model.named_parameters()}

        def loss(parameters, x):
            return torch.func.functional_call(model, parameters, x[None]).square().mean()

        each = torch.vmap(torch.func.grad(loss), (None, 0), randomness="same")(parameters, X)
        assert each["0.parametrizations.weight.original"].shape == (3, 8, 4)


def test_two_uses_in_compiled_code_draw_twice():
    """Two calls that look the same to a compiler must not become one."""

    class Difference(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return self.layer(x) - self.layer(x)

    layer = convert(nn.Linear(4, 4), seed=0)
    models = [convert(Difference(), noise=noise, scale=0.5, seed=0) for noise in NOISES]
    differences = torch.compile(
        lambda x: [layer(x) - layer(x), *(model(x) for model in models)], fullgraph=True
    )
    assert [bool(y.abs().max() < 1e-6) for y in differences(X)] == [False, True, False, False]
