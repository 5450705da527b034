"""`isoinit.audit`: what is found, what is not, and what is left as it was."""

import json
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations

import isoinit
from isoinit.errors import ArgumentError, PlanError, UnhealthyError
from older_transformers import not_older

transformers = pytest.importorskip("transformers")
TOKENS = {"vocab_size": 50, "bos_token_id": 1, "eos_token_id": 1}
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


def found(audit):
    """The names of the findings, each with where."""
    return {(finding.name, finding.where) for finding in audit.findings}


def only(audit):
    (finding,) = audit.findings
    return finding


# Models without a fault.


def layers():
    return nn.Sequential(
        nn.Embedding(10, 4, padding_idx=0),
        nn.Linear(4, 4),
        nn.Conv1d(4, 4, 3),
        nn.BatchNorm1d(4),
        nn.LSTM(4, 4),
        nn.MultiheadAttention(4, 2, add_bias_kv=True),
        nn.Bilinear(2, 3, 4),
        nn.PReLU(),
        nn.GroupNorm(2, 4),
    )


def encoder():
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 3)


class Whole(nn.Module):
    """Writes everything itself, in all the ways there are."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.empty(6, 4))
        self.experts = nn.Parameter(torch.empty(3, 4, 4))
        self.scale = nn.Parameter(torch.full((4,), 1e-5))
        self.phase = nn.Parameter(torch.empty(4, dtype=torch.complex64))
        self.register_buffer("ids", torch.arange(5).expand(1, -1), persistent=False)
        self.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))
        self.register_buffer("seen", torch.zeros((), dtype=torch.bool))
        self.register_buffer("none", torch.empty(0))
        self.linear = nn.Linear(4, 4)
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.trunc_normal_(self.table, std=0.02)
        with torch.no_grad():
            self.table[0].zero_()
            self.experts.normal_().div_(2)
            self.scale.fill_(1e-5)
            self.phase.copy_(torch.randn(4, dtype=torch.complex64))
            self.ids.copy_(torch.arange(5))
            self.mask.copy_(torch.full((3, 3), -torch.inf).triu(1))
            self.seen.fill_(False)


def gpt2():
    sizes = {"n_layer": 2, "n_head": 2, "n_embd": 32, "n_positions": 16}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, **TOKENS))


def llama():
    config = transformers.LlamaConfig(intermediate_size=48, **SIZES, **TOKENS)
    return transformers.LlamaForCausalLM(config)


def bert():
    config = transformers.BertConfig(intermediate_size=48, vocab_size=50, **SIZES)
    return transformers.BertModel(config)


def mamba():
    config = transformers.MambaConfig(hidden_size=32, num_hidden_layers=2, **TOKENS)
    return transformers.MambaForCausalLM(config)


def test_layers_that_the_constructor_copies():
    finding = only(isoinit.audit(encoder))
    assert (finding.name, finding.severity, finding.value) == ("copies", "warning", 3 * 6)
    assert finding.sentence.startswith("layers.0…2 (self_attn.in_proj_weight, ")
    assert isoinit.audit(encoder, lambda model: isoinit.init(model, seed=0)).findings == []


@pytest.mark.parametrize("build", [layers, Whole, gpt2, llama, bert, mamba])
def test_models_that_forget_nothing(build):
    audit = isoinit.audit(build)
    assert audit.findings == []
    assert audit.ok
    assert str(audit).startswith("nothing forgotten")
    assert {t.name for t in audit.tensors} >= {n for n, _ in build().named_parameters()}


def test_the_poison_has_a_form_for_every_type():
    class Typed(nn.Module):
        def __init__(self):
            super().__init__()
            for dtype in TYPES:
                name = str(dtype).replace("torch.", "of_")
                self.register_buffer(name, torch.empty(3, 2, dtype=dtype))
                self.register_buffer(f"{name}_scalar", torch.empty((), dtype=dtype))

    def write(model):
        for tensor in model.buffers():
            written = tensor.view(-1)[:4]
            written.copy_(torch.zeros(written.shape).to(tensor.dtype))

    finding = only(isoinit.audit(Typed, lambda model: None))
    assert (finding.name, len(finding.where)) == ("never written", 2 * len(TYPES))
    (finding,) = (f for f in isoinit.audit(Typed, write).findings if f.name == "partly written")
    assert finding.severity == "error"
    assert len(finding.where) == len(TYPES)
    assert finding.value == 2.0 * len(TYPES)
    assert finding.sentence.count("2 of 6 elements are never written, the first at [2, 0]") == 3
    assert finding.sentence.endswith(f"; and {len(TYPES) - 3} more")


TYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn,
    torch.float8_e5m2, torch.complex64, torch.complex128, torch.int64, torch.int32, torch.int16,
    torch.int8, torch.uint8, torch.bool,
]  # fmt: skip


def test_a_model_that_fills_itself_in_its_constructor_gets_one_finding():
    class ByHand(nn.Module):
        def __init__(self):
            super().__init__()
            for k in range(20):
                setattr(self, f"constant{k}", nn.Parameter(torch.full((4,), 0.1 * k)))
                setattr(self, f"table{k}", nn.Parameter(torch.arange(4.0) + k))
                setattr(self, f"drawn{k}", nn.Parameter(torch.randn(4)))

    audit = isoinit.audit(ByHand)
    finding = only(audit)
    assert finding.name == "never written"
    assert set(finding.where) == {name for name, _ in ByHand().named_parameters()}
    assert "the constructor alone gives 0: constant0" in finding.sentence
    assert len(finding.sentence) < 600


# Faults, one each.


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)


@given(rows=st.integers(1, 5), columns=st.integers(1, 5), data=st.data())
@settings(max_examples=20, deadline=None)
def test_the_first_element_that_is_not_written_is_named(rows, columns, data):
    place = data.draw(st.tuples(st.integers(0, rows - 1), st.integers(0, columns - 1)))

    def skip(model):
        flat = torch.randn(rows * columns)
        index = place[0] * columns + place[1]
        model.weight.view(-1)[:index] = flat[:index]
        model.weight.view(-1)[index + 1 :] = flat[index + 1 :]

    finding = only(isoinit.audit(lambda: nn.Linear(columns, rows, bias=False), skip))
    assert (finding.where, finding.value) == (("weight",), 1.0)
    if rows * columns > 1:
        assert f"1 of {rows * columns:,} elements" in finding.sentence
        assert str(list(place)) in finding.sentence


@pytest.mark.parametrize("change", ["mul_(0.5)", "add_(1)", "clamp_(-1, 1)", "exp_()"])
def test_what_is_computed_from_unwritten_memory(change):
    finding = only(
        isoinit.audit(
            lambda: nn.Linear(4, 4, bias=False), lambda m: eval(f"m.weight.{change}", {"m": m})
        )
    )
    assert (finding.name, finding.severity) == ("computed from nothing", "error")
    assert finding.value == 16


def test_an_initialization_that_takes_memory_itself():
    def half(model):
        model.to_empty(device="cpu")
        nn.init.normal_(model.a.weight)

    finding = only(isoinit.audit(Net, half))
    assert (finding.name, finding.where) == ("computed from nothing", ("b.weight",))


def test_identical_tensors():
    def alike(model):
        for layer in (model.a, model.b):
            torch.manual_seed(0)
            nn.init.normal_(layer.weight)

    finding = only(isoinit.audit(Net, alike))
    assert (finding.name, finding.where) == ("bit-identical", ("a.weight", "b.weight"))


def test_a_copy_on_purpose_and_equal_tables_are_no_fault():
    def copies(model):
        nn.init.normal_(model.a.weight)
        model.b.load_state_dict(model.a.state_dict())

    def tables(model):
        for layer in (model.a, model.b):
            layer.weight.copy_(torch.arange(16.0).reshape(4, 4))

    def one_memory(model):
        nn.init.normal_(model.a.weight)
        model.b.weight.data = model.a.weight.data

    def tables_over_draws(model):
        draw(model)
        tables(model)

    findings = isoinit.audit(Net, tables_over_draws).findings
    assert [f for f in findings if f.name == "bit-identical"] == []
    assert isoinit.audit(Net, copies).findings == []
    assert isoinit.audit(Net, one_memory).findings == []
    findings = isoinit.audit(Net, tables).findings
    assert [f for f in findings if f.name == "bit-identical"] == []


def test_identical_experts():
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.Parameter(torch.empty(3, 4, 5))

        def reset_parameters(self):
            nn.init.normal_(self.up[0])
            self.up.data[1:] = self.up.data[0].clone()

    finding = only(isoinit.audit(Experts))
    assert (finding.name, finding.where, finding.value) == ("identical slices", ("up",), 3.0)


class Tied(Net):
    def __init__(self):
        super().__init__()
        self.b.weight = self.a.weight


def test_a_tie_that_the_meta_device_breaks():
    finding = only(isoinit.audit(Tied))
    assert (finding.name, finding.where) == ("tie lost", ("a.weight", "b.weight"))


def test_a_tie_that_is_made_again():
    def tie(model):
        model.b.weight = model.a.weight
        model.a.reset_parameters()

    assert isoinit.audit(Tied, tie).findings == []


def test_a_tied_weight_that_is_drawn_for_both_of_its_layers():
    def draw(model):
        model.b.weight = model.a.weight
        for layer in (model.a, model.b):
            nn.init.normal_(layer.weight)

    # The tie is made inside, after the writes are watched by name; the second layer's draw is lost.
    finding = only(isoinit.audit(Tied, draw))
    assert (finding.name, finding.severity) == ("written twice", "warning")


def visited_twice(model):
    draw(model)
    draw(model)


def draw(model):
    for parameter in model.parameters():
        nn.init.normal_(parameter)


def by_the_librarys_own_functions(model):
    for parameter in model.parameters():
        isoinit.functional.zeros_(parameter)
        isoinit.functional.normal_(parameter)


def in_a_row(model):
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
        nn.init.trunc_normal_(parameter)


def padding_first(model):
    for parameter in model.parameters():
        parameter[0].zero_()
        parameter.normal_()


@pytest.mark.parametrize(
    "initialize", [visited_twice, in_a_row, padding_first, by_the_librarys_own_functions]
)
def test_written_twice(initialize):
    audit = isoinit.audit(Net, initialize)
    assert audit.ok
    finding = only(audit)
    assert (finding.name, finding.where) == ("written twice", ("a.weight", "b.weight"))
    assert f"{__file__.rsplit('/', 1)[-1]}:" in finding.sentence


def scaled(model):
    for parameter in model.parameters():
        nn.init.trunc_normal_(parameter, std=3.0)
        parameter.div_(2)
        parameter[0].zero_()


def used_between(model):
    nn.init.normal_(model.a.weight)
    model.b.weight.copy_(model.a.weight * 2)
    nn.init.normal_(model.a.weight)


def overridden(model):
    """A later function makes an exception, as GPT-2's does for what ends a branch."""
    draw(model)
    smaller(model.a.weight)


def smaller(parameter):
    nn.init.normal_(parameter, std=0.01)


def row_by_row(model):
    for parameter in model.parameters():
        parameter.zero_()
        for row in parameter:
            row.normal_()


@pytest.mark.parametrize("initialize", [scaled, used_between, overridden, row_by_row])
def test_not_written_twice(initialize):
    assert isoinit.audit(Net, initialize).findings == []


def test_attributes_that_stay_on_the_meta_device():
    class Table:
        def __init__(self):
            self.values = torch.arange(4)

    class Holder(nn.Linear):
        def __init__(self):
            super().__init__(4, 4)
            self.steps, self.held, self.table = torch.arange(3), [self.weight], Table()
            self.blocks = [nn.Linear(2, 2, bias=False)]

    finding = only(isoinit.audit(Holder))
    assert finding.name == "left on meta"
    assert set(finding.where) == {"steps", "held[0]", "table.values", "blocks[0].weight"}


class LayerScale(nn.Module):
    def __init__(self, size=1e-5):
        super().__init__()
        self.scale = nn.Parameter(torch.full((64,), size))
        self.token = nn.Parameter(0.02 * torch.randn(64))
        self.linear = nn.Linear(64, 64)

    def init_weights(self):
        self.linear.reset_parameters()
        nn.init.ones_(self.scale)
        nn.init.normal_(self.token)


def test_values_and_laws_that_the_constructor_gives_otherwise():
    audit = isoinit.audit(LayerScale)
    assert audit.ok
    assert found(audit) == {
        ("differs from __init__", ("scale",)),
        ("other distribution", ("token",)),
    }
    assert "scale (1e-05 there, 1 here)" in " ".join(f.sentence for f in audit.findings)


def test_a_constructor_that_needs_values():
    class Needs(nn.Linear):
        def __init__(self):
            super().__init__(4, 4)
            self.rates = [r.item() for r in torch.linspace(0, 1, 3)]

    audit = isoinit.audit(Needs)
    assert audit.ok
    assert only(audit).name == "not built on meta"


def test_tensors_that_only_one_way_of_building_makes():
    class Choosy(nn.Linear):
        def __init__(self):
            super().__init__(4, 4)
            if not self.weight.is_meta:
                self.extra = nn.Parameter(torch.zeros(3))

    assert found(isoinit.audit(Choosy)) == {("not there", ("extra",))}


def test_values_that_follow_no_seed():
    def draw(model):
        numbers = np.random.default_rng().normal(size=(4, 4))
        model.weight.copy_(torch.from_numpy(numbers))

    finding = only(isoinit.audit(lambda: nn.Linear(4, 4, bias=False), draw))
    assert (finding.name, finding.severity) == ("not seeded", "warning")

    def codes():
        model = nn.Module()
        model.register_buffer("codes", torch.zeros(8, dtype=torch.int64))
        return model

    def draw_codes(model):
        model.codes.copy_(torch.from_numpy(np.random.default_rng().integers(9, size=8)))

    assert {f.name for f in isoinit.audit(codes, draw_codes).findings} >= {"not seeded"}


def test_a_parametrized_weight_that_is_reset_through_its_layer():
    """`reset_parameters` fills the weight that was computed, and not what it is computed from."""
    audit = isoinit.audit(lambda: parametrizations.weight_norm(nn.Linear(4, 4)))
    names = {name for finding in audit.findings for name in finding.where}
    assert names == {f"parametrizations.weight.original{i}" for i in (0, 1)}


# Plans.


def test_a_plan_fills_all_parameters_and_no_buffer():
    def build():
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))

    batch = torch.zeros(3, 4)
    plan = isoinit.plan(build(), batch)
    buffers = ("1.running_mean", "1.running_var", "1.num_batches_tracked")
    for initialize in (plan.apply, lambda model: isoinit.init(model, batch, seed=0)):
        audit = isoinit.audit(build, initialize)
        assert {name for f in audit.findings for name in f.where} == set(buffers)
        assert audit.initialization == "initialize"

    def both(model):
        model[1].reset_running_stats()
        plan.apply(model, seed=0)

    assert isoinit.audit(build, both).findings == []


@not_older
def test_a_plan_for_a_transformer():
    batch = {"input_ids": torch.zeros(1, 8, dtype=torch.long)}

    def tied(model):
        model.tie_weights()
        isoinit.init(model, batch, seed=0)

    assert isoinit.audit(gpt2, tied).findings == []


# What it answers, refuses and leaves alone.


def test_the_answer_as_text_and_json():
    audit = isoinit.audit(Tied)
    with pytest.raises(UnhealthyError, match=r"a\.weight and b\.weight: one parameter"):
        audit.raise_if_unhealthy()
    text = str(audit)
    assert text.startswith("forgotten: Tied with 2 parameters, after its own initialization")
    assert "tie lost" in text
    data = json.loads(audit.to_json())
    assert data["ok"] is False
    assert data["findings"][0]["where"] == ["a.weight", "b.weight"]
    assert data["tensors"][0] == {
        "name": "a.weight", "kind": "parameter", "shape": [4, 4], "dtype": "float32",
        "random": True, "missing": 0, "found": ["tie lost"],
    }  # fmt: skip


SHARED = nn.Linear(2, 2)
REFUSED = [
    (3, None, "build is a int; expected a function"),
    (lambda: 3, None, r"build\(\) returned a int"),
    (lambda: 1 / 0, None, r"build\(\) failed on the CPU: ZeroDivisionError"),
    (nn.Identity, None, "has no parameters and no buffers"),
    (lambda: nn.LazyLinear(3), None, "'weight' has no shape yet"),
    (lambda: torch.jit.script(nn.Linear(2, 2)), None, "before torch.jit.script"),
    (lambda: SHARED, None, "the same model twice"),
    (Net, "normal", "initialize is a str; expected a function of the model"),
    (Net, lambda m: 1 / 0, r"initialize\(model\) failed .* ZeroDivisionError"),
]


@pytest.mark.parametrize(("build", "initialize", "words"), REFUSED)
def test_wrong_use_is_refused(build, initialize, words):
    with pytest.raises(ArgumentError, match=words):
        isoinit.audit(build, initialize)


def test_inside_deferred_it_is_refused():
    with isoinit.deferred(), pytest.raises(PlanError, match=r"isoinit\.deferred"):
        isoinit.audit(Net)


def test_sparse_parameters_are_refused():
    def build():
        model = nn.Linear(2, 2)
        model.weight = nn.Parameter(torch.eye(2).to_sparse())
        return model

    with pytest.raises(ArgumentError, match="quantized or made sparse"):
        isoinit.audit(build)


def test_frozen_integer_parameters_are_looked_at():
    def build():
        model = nn.Linear(2, 2)
        model.codes = nn.Parameter(torch.ones(3, dtype=torch.int8), requires_grad=False)
        return model

    assert found(isoinit.audit(build)) == {("never written", ("codes",))}


def test_nothing_else_is_changed():
    def state():
        return (
            torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist(),
            torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory, torch.is_grad_enabled(),
            torch.empty(0).device,
        )  # fmt: skip

    def build():
        torch.set_default_dtype(torch.float64)
        random.random()
        return Net()

    before = state()
    isoinit.audit(build)
    with pytest.raises(ArgumentError):
        isoinit.audit(build, lambda m: 1 / 0)
    assert state() == before
    with torch.device("meta"), torch.inference_mode():
        assert isoinit.audit(Net).findings == []


def test_the_same_seed_gives_the_same_audit_and_none_takes_torchs():
    audits = [isoinit.audit(LayerScale, seed=3).to_json() for _ in range(2)]
    assert audits[0] == audits[1]
    torch.manual_seed(0)
    before = torch.get_rng_state()
    isoinit.audit(Net, seed=None)
    assert not torch.equal(before, torch.get_rng_state())


def test_the_page_shows_every_tensor_and_what_was_found():
    class Forgets(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.register_buffer("scale", torch.ones(4))

    page = isoinit.audit(Forgets)._page()
    assert page.verdict == "forgotten"
    (remark,) = page.remarks
    assert remark.where == ("scale",)
    (table,) = page.tables
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert set(rows) == {"linear.weight", "linear.bias", "scale"}
    assert rows["scale"]["found"]
    assert not rows["linear.weight"]["found"]
    assert {"kind", "found"} <= set(table.filters)
