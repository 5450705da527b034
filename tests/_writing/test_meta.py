"""Models from the meta device: memory, and true values for their buffers."""

import copy
import pickle

import pytest
import torch
from torch import nn

import isoinit
from isoinit.errors import PlanError


def on_meta(build):
    with torch.device("meta"):
        return build()


def llama(**changes):
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 40}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads, **changes))


IDS = torch.zeros(1, 4, dtype=torch.long)


class Rotary(nn.Module):
    """Frequencies that a method computes, as models that are built on the meta device have it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("frequencies", torch.empty(4), persistent=False)
        self.register_buffer("mask", torch.empty(3, 3, dtype=torch.bool), persistent=False)
        self.reset_parameters()

    def reset_parameters(self):
        self.frequencies = 10000 ** (-torch.arange(4) / 4)  # another tensor
        self.mask.copy_(torch.ones(3, 3, dtype=torch.bool).tril())


class Handmade(nn.Module):
    """Frequencies that nothing but the constructor computes."""

    def __init__(self):
        super().__init__()
        self.register_buffer("frequencies", 100 ** (-torch.arange(4) / 4), persistent=False)


class Model(nn.Module):
    def __init__(self, rotary):
        super().__init__()
        self.rotary = rotary()
        self.layer, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(self.layer(x * self.rotary.frequencies))


X = torch.ones(3, 4)


def same_buffers(model, other):
    found, expected = dict(model.named_buffers()), dict(other.named_buffers())
    assert found.keys() == expected.keys()
    for name, buffer in found.items():
        assert buffer.dtype == expected[name].dtype
        assert torch.equal(buffer, expected[name]), name


def emptied(model):
    """Memory as `to_empty` gives it, with other numbers in it than it might happen to hold."""
    model.to_empty(device="cpu")
    for buffer in model.buffers():
        buffer.data = torch.full_like(buffer, 77)
    return model


class TestBuffers:
    @pytest.mark.parametrize("emptied", [emptied, lambda model: model], ids=["emptied", "meta"])
    def test_of_a_model_with_methods(self, emptied):
        model = on_meta(lambda: Model(Rotary))
        plan = isoinit.plan(model, X)
        plan.apply(emptied(model), 3)
        same_buffers(model, Model(Rotary))
        assert torch.equal(model.layer.weight, plan.apply(Model(Rotary), 3).layer.weight)

    @pytest.mark.parametrize(
        "rope",
        [None, {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}],
        ids=["default", "llama3"],
    )
    def test_of_transformers(self, rope):
        changes = {}
        if rope:
            rope |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 32}
            changes = {"rope_parameters": {**rope, "rope_theta": 10000.0}}
        model = on_meta(lambda: llama(**changes))
        plan = isoinit.plan(model)
        plan.apply(emptied(model), 3)
        whole = plan.apply(llama(**changes), 3)
        same_buffers(model, whole)
        assert torch.equal(model(IDS).logits, whole(IDS).logits)

    def test_what_was_seen_travels_in_the_plan(self):
        """Also where a parameter was written since, so that the memory tells nothing."""
        model = on_meta(lambda: Model(Rotary))
        plan = copy.deepcopy(isoinit.plan(model, X))
        emptied(model)
        nn.init.zeros_(model.layer.bias)
        same_buffers(plan.apply(model, seed=0), Model(Rotary))
        sent = pickle.loads(pickle.dumps(plan))  # in another process the modules are others
        assert (sent, len(sent.emptied), len(plan.emptied)) == (plan, 0, 2)

    def test_of_a_loaded_plan(self):
        """Then nothing has seen the model on the meta device; but nothing was ever written into it."""
        plan = isoinit.Plan.from_json(isoinit.plan(Model(Rotary), X).to_json())
        same_buffers(plan.apply(emptied(on_meta(lambda: Model(Rotary))), seed=0), Model(Rotary))

    def test_that_the_constructor_alone_computes(self):
        model = on_meta(lambda: Model(Handmade))
        plan = isoinit.plan(model, X)
        for given in (model, emptied(model)):
            with pytest.raises(PlanError, match=r"'rotary\.frequencies' came from the meta device"):
                plan.apply(given, seed=0)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        after = model.state_dict()
        assert all(
            torch.equal(before[n].view(-1), after[n].view(-1)) for n in ("norm.running_mean",)
        )
        plan.apply(model, buffers=lambda: Model(Handmade), seed=0)
        same_buffers(model, Model(Handmade))

    def test_left_alone_if_asked(self):
        model = on_meta(lambda: Model(Handmade))
        plan = isoinit.plan(model, X)
        emptied(model)
        model.rotary.frequencies = torch.ones(4)
        plan.apply(model, buffers=False, seed=0)
        assert torch.equal(model.rotary.frequencies, torch.ones(4))

    def test_set_in_place_by_hand(self):
        model = on_meta(lambda: Model(Handmade))
        plan = isoinit.plan(model, X)
        model.to_empty(device="cpu")
        model.rotary.frequencies.copy_(torch.ones(4))
        plan.apply(model, seed=0)
        assert torch.equal(model.rotary.frequencies, torch.ones(4))
        assert torch.equal(model.norm.running_var, torch.ones(4))

    def test_of_a_model_with_values_are_left_alone(self):
        model = Model(Rotary)
        model.norm.running_mean.fill_(5.0)
        model.rotary.frequencies.fill_(2.0)
        isoinit.plan(model, X).apply(model, seed=0)
        assert torch.equal(model.norm.running_mean, torch.full((4,), 5.0))
        assert torch.equal(model.rotary.frequencies, torch.full((4,), 2.0))

    def test_random_numbers_and_model_are_left_alone(self):
        model = on_meta(lambda: Model(Rotary))
        plan = isoinit.plan(model, X)
        torch.manual_seed(5)
        before = torch.get_rng_state()
        plan.apply(model, seed=0)
        assert torch.equal(torch.get_rng_state(), before)

    def test_a_failing_initialization_is_told(self):
        class Broken(Rotary):
            def reset_parameters(self):
                if not self.frequencies.is_meta:
                    raise ValueError("no such file")

        model = on_meta(lambda: Model(Broken))
        plan = isoinit.plan(model, X)
        with pytest.raises(
            PlanError, match=r"Broken\.reset_parameters failed: ValueError: no such"
        ):
            plan.apply(model, seed=0)
        assert model.layer.weight.is_meta

    @pytest.mark.parametrize(
        ("build", "match"),
        [
            (lambda: 3, "returned a int"),
            (lambda: nn.Linear(4, 4), "has no such buffer"),
            (lambda: on_meta(lambda: Model(Handmade)), "on the meta device"),
        ],
        ids=["number", "other", "meta"],
    )
    def test_a_function_that_builds_something_else(self, build, match):
        model = on_meta(lambda: Model(Handmade))
        plan = isoinit.plan(model, X)
        with pytest.raises(PlanError, match=match):
            plan.apply(model, buffers=build, seed=0)
        assert model.layer.weight.is_meta


class TestMemory:
    def test_tied_parameters_stay_tied(self):
        model = on_meta(lambda: llama(tie_word_embeddings=True))
        isoinit.plan(model).apply(model, seed=0)
        assert model.lm_head.weight is model.model.embed_tokens.weight

    def test_frozen_and_marked_parameters_stay_so(self):
        model = on_meta(lambda: nn.Linear(3, 3))
        model.weight.requires_grad_(False).mark = "kept"
        isoinit.plan(model, torch.ones(1, 3)).apply(model, seed=0)
        assert not model.weight.requires_grad
        assert model.weight.mark == "kept"

    def test_it_comes_from_torchs_default_device(self):
        model = on_meta(lambda: nn.Linear(3, 3))
        plan = isoinit.plan(model, torch.ones(1, 3))
        with torch.device("meta"):  # the one device here that is not the processor
            plan.apply(copy.deepcopy(model), seed=0)
        assert plan.apply(model, seed=0).weight.device == torch.device("cpu")

    def test_half_on_meta(self):
        plan = isoinit.plan(Model(Rotary), X)
        model = Model(Rotary)
        model.layer = on_meta(lambda: nn.Linear(4, 4))
        expected = plan.apply(Model(Rotary), seed=0).state_dict()
        found = plan.apply(model, seed=0).state_dict()
        assert all(torch.equal(found[name], expected[name]) for name in expected)

    def test_nothing_to_leave(self):
        class Signed(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(3, 3)
                self.signs = nn.Parameter(torch.tensor([1.0, -1.0, 1.0]))

            def forward(self, x):
                return self.layer(x) * self.signs

        plan, model = isoinit.plan(Signed(), torch.ones(1, 3)), on_meta(Signed)
        with pytest.raises(PlanError, match=r"'signs' is on the meta device.*buffers=build"):
            plan.apply(model)
        assert model.layer.weight.is_meta
        plan.apply(model, buffers=Signed)
        assert model.signs.tolist() == [1, -1, 1]
