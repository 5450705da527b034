"""A plan in the terminal: one row a kind of parameter, in one line of 80 columns."""

import re

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ResNetConfig,
    ResNetForImageClassification,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)

import isoinit
from isoinit.errors import ArgumentError, PlanError
from zoo.vision import ConvNeXt, DenseNet, MobileNetV2, ResNet50, UNet


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def small():
    return nn.Sequential(nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 4))


X = torch.zeros(1, 36)


def test_a_small_plan():
    plan = isoinit.plan(small(), X)
    plan["0.bias"] = isoinit.Constant(0.5)
    assert plan.show().splitlines() == [
        "plan of 4 tensors, 660 parameters, method 'auto'",
        "",
        " parameter  shape  initializer        std    role                  why",
        " ─────────────────────────────────────────────────────────────────────",
        " 0.weight   16×36  Orthogonal         0.167  weight before relu    1",
        " 0.bias     16     Constant(val=0.5)  0      bias                  2",
        " 2.weight   4×16   Orthogonal         0.354  weight of the output  3",
        " 2.bias     4      Zeros              0      bias                  4",
        "",
        " 1 weight before relu: its input (the model's input) has second moment 1, so std",
        " = 1/√fan_in keeps the output at unit variance; orthogonal at this variance,",
        " which varies less from seed to seed (LeCun et al. 1998, section 4.6; He et al.",
        " 2015, section 2.2; Saxe et al. 2014; Yu et al. 2016)",
        " 2 bias: set by hand (your choice)",
        " 3 weight of the output: its input is the output of relu, which reduces the",
        " second moment; gain 1.414 restores it; orthogonal at this variance, which",
        " varies less from seed to seed (He et al. 2015, eq. 10 and 15; Saxe et al. 2014;",
        " Yu et al. 2016)",
        " 4 bias: it adds nothing at initialization; the random weights already break the",
        " symmetry (Glorot & Bengio 2010, section 2.3; He et al. 2015, section 2.2)",
    ]
    assert str(plan) == plan.show()
    assert " Orthogonal(gain=1.414)  0.354 " in plan.show(verbose=True)


def test_repr_is_one_line():
    plan = isoinit.plan(small(), X)
    assert repr(plan) == "<Plan: 4 tensors, 660 parameters, 3 rules>"
    plan["0.weight"] = isoinit.Zeros()
    assert repr(plan) == "<Plan: 4 tensors, 660 parameters, 2 rules, 1 warning>"
    assert repr(isoinit.plan(nn.PReLU(1))).startswith("<Plan: 1 tensor, 1 parameter")


def test_repeated_layers_fold():
    deep = nn.Sequential(*[nn.Linear(64, 64) for _ in range(40)])
    plan = isoinit.plan(deep, torch.zeros(1, 64))
    lines = plan.show().splitlines()
    assert any(line.startswith(" 0…38.weight (39)  64×64  Orthogonal") for line in lines)
    assert len(lines) < 20
    assert len(plan.show(verbose=True).splitlines()) > 80


def test_long_names_leave_out_roles_and_shapes():
    name = "model_of_many_layers_whose_names_go_on_and_on"
    model = nn.ModuleDict({name: nn.Sequential(nn.Linear(16384, 16), nn.SiLU())})
    model.forward = model[name].forward
    plan = isoinit.plan(model, torch.zeros(1, 16384))
    text = plan.show()
    assert text.splitlines()[2].split() == ["parameter", "initializer", "std", "why"]
    assert f" {name}.0.weight" in text
    assert " 1 weight before silu: " in text  # the role stands beside the reason
    every = plan.show(verbose=True)
    assert every.splitlines()[2].split() == [
        "parameter",
        "shape",
        "initializer",
        "std",
        "role",
        "why",
    ]
    assert f" {name}.0.weight" in every.splitlines()
    assert "16×16384" in every
    assert max(map(len, every.splitlines())) <= 80


SIZES = {"hidden_size": 64, "num_hidden_layers": 12, "num_attention_heads": 4}
WIDE = {"intermediate_size": 128, **SIZES}
PATCHES = {"image_size": 32, "patch_size": 8}
T5 = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 12, "num_heads": 4}
STAGES = {"embedding_size": 16, "hidden_sizes": [16, 32, 64], "depths": [2, 2, 2]}
MODELS = {
    "GPT-2": lambda: GPT2LMHeadModel(GPT2Config(n_layer=12, n_embd=64, n_head=4)),
    "Llama": lambda: LlamaForCausalLM(LlamaConfig(vocab_size=99, **WIDE)),
    "BERT": lambda: BertForMaskedLM(BertConfig(vocab_size=99, **WIDE)),
    "ViT": lambda: ViTForImageClassification(ViTConfig(**PATCHES, **WIDE)),
    "T5": lambda: T5ForConditionalGeneration(T5Config(vocab_size=99, **T5)),
    "ResNet": lambda: ResNetForImageClassification(ResNetConfig(layer_type="basic", **STAGES)),
}
WRITTEN = (ResNet50, DenseNet, MobileNetV2, UNet, ConvNeXt)  # by hand


def rows(lines):
    """The rows of a folded table: whole names, and the other cells."""
    heading, name = "", ""
    for line in lines[4 : lines.index("", 2)]:
        words = line.split("  ") if line.strip() else []
        cells = [word.strip() for word in words if word.strip()]
        if line.startswith(" " * 5):  # the cells of the name above
            yield name, cells
            continue
        inner = line.startswith("   ")
        name = (heading if inner else "") + re.sub(r" \(\d+\)$", "", cells[0])
        if len(cells) > 1:
            yield name, cells[1:]
        elif name.endswith("."):
            heading = name


@pytest.mark.parametrize("kind", MODELS)
def test_plans_of_real_models_have_a_row_for_every_parameter(kind):
    plan = isoinit.plan(MODELS[kind]())
    lines = plan.show().splitlines()
    assert max(map(len, lines)) <= 80
    found = list(rows(lines))
    text = " ".join(" ".join(lines).split())
    for entry in plan:
        kinds = [cells for name, cells in found if matches(name, entry.name)]
        names = {cells[-3] for cells in kinds}
        assert any(type(entry.initializer).__name__ == n.partition("(")[0] for n in names)
        ranges = [[float(x) for x in cells[-2].split("…")] for cells in kinds]
        assert any(r[0] * 0.99 <= entry.std <= r[-1] * 1.01 for r in ranges), entry.name
        assert entry.reason in text
    every = plan.show(verbose=True).splitlines()
    assert max(map(len, every)) <= 80
    assert {entry.name for entry in plan} <= {line.split()[0] for line in every if line}


def matches(row, name):
    """Whether a row such as `h.0…11.weight` stands for a name."""
    parts = [r"\d+" if "…" in part else re.escape(part) for part in re.split(r"(\d+…\d+)", row)]
    return bool(re.fullmatch("".join(parts), name))


@pytest.mark.parametrize("make", WRITTEN)
def test_networks_written_by_hand_fit_80_columns(make):
    plan = isoinit.plan(make(), torch.zeros(1, 3, 64, 64))
    assert max(map(len, plan.show().splitlines())) <= 80


def test_in_a_wide_terminal_roles_have_a_column(monkeypatch):
    plan = isoinit.plan(MODELS["GPT-2"]())
    monkeypatch.setenv("COLUMNS", "160")
    wide = plan.show().splitlines()
    assert wide[2].split() == ["parameter", "shape", "initializer", "std", "role", "why"]
    assert max(map(len, wide)) <= 160


class TestBeside:
    """What stands beside the plan: what the parameters are now, and what the own recipe gives."""

    def test_the_std_of_today_and_of_the_own_recipe(self):
        model = MODELS["GPT-2"]()
        with torch.no_grad():
            for block in model.transformer.h:
                block.mlp.c_fc.weight.normal_(std=0.5)
        text = isoinit.plan(model).show(now=model, own=True)
        (line,) = [line for line in text.splitlines() if "mlp.c_fc.weight" in line]
        std, now, own = line.split()[-4:-1]
        assert float(std) == pytest.approx(1 / 8, rel=0.01)  # 1/sqrt(fan-in)
        assert all(0.48 <= float(end) <= 0.52 for end in now.split("…"))
        assert float(own) == 0.02  # what GPT-2's config says
        assert max(map(len, text.splitlines())) <= 80

    def test_tied_parameters_and_constants(self):
        model = nn.Sequential(nn.Linear(36, 36), nn.ReLU(), nn.Linear(36, 36))
        model[2].weight = model[0].weight
        nn.init.constant_(model[0].weight, 3.0)
        text = isoinit.plan(model, X).show(now=model)
        (line,) = [line for line in text.splitlines() if line.startswith(" 0.weight")]
        assert line.split()[4] == "0"
        assert " 2.weight" not in text

    def test_values_that_are_not_here_are_said(self):
        with torch.device("meta"):
            model = small()
        text = isoinit.plan(model, X).show(now=model)
        assert " now: 4 tensors without values here" in text

    def test_own_without_a_model_says_what_to_pass(self):
        with pytest.raises(ArgumentError, match=r"show\(now=model, own=True\)"):
            isoinit.plan(small(), X).show(own=True)

    def test_another_model_is_refused(self):
        plan = isoinit.plan(small(), X)
        with pytest.raises(PlanError, match=r"'0\.weight' has shape"):
            plan.show(now=nn.Sequential(nn.Linear(8, 3)))
        with pytest.raises(ArgumentError, match=r"expected a torch\.nn\.Module"):
            plan.show(now="model")

    def test_a_model_without_an_initialization_of_its_own(self):
        class Bare(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = nn.Parameter(torch.randn(36, 8))

            def forward(self, x):
                return x @ self.weight

        model = Bare()
        plan = isoinit.plan(model, X)
        with pytest.raises(PlanError, match="own"):
            plan.show(now=model, own=True)


@pytest.fixture(scope="module")
def plan():
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    config = GPT2Config(n_layer=3, n_head=2, n_embd=32, vocab_size=50, **ends)
    return isoinit.plan(GPT2LMHeadModel(config))


class TestEntries:
    """A glob reads what it writes."""

    def test_a_glob_reads_all_that_it_would_write(self, plan):
        found = plan["transformer.h.*.attn.*"]
        expected = tuple(entry for entry in plan if ".attn." in entry.name)
        assert len(expected) == 12
        assert tuple(found) == expected
        assert found == plan.matching("transformer.h.*.attn.*")
        assert found.names == tuple(entry.name for entry in expected)
        assert plan["role:norm scale"].names == tuple(
            f"transformer.{n}.weight"
            for n in (*(f"h.{i}.ln_{j}" for i in range(3) for j in (1, 2)), "ln_f")
        )

    def test_an_exact_name_reads_one(self, plan):
        entry = plan["transformer.h.0.attn.c_attn.weight"]
        assert entry.shape == (32, 96)
        assert plan["lm_head.weight"] is plan["transformer.wte.weight"]  # tied
        assert plan["lm_head.*"].names == ("transformer.wte.weight",)
        assert plan.matching("lm_head.weight").names == ("transformer.wte.weight",)
        assert "transformer.h.*" not in plan

    def test_a_name_with_brackets_is_no_glob(self):
        model = nn.ParameterDict({"a[0]": torch.zeros(3), "a0": torch.zeros(3)})
        plan = isoinit.plan(model)
        assert plan["a[0]"].name == "a[0]"

    def test_they_print_as_a_table(self, plan):
        text = str(plan["transformer.h.*.attn.*"])
        assert text.startswith("12 tensors, 12.7 k parameters")
        assert re.search(r"attn\.c_attn\.weight +32×96 +Orthogonal", text)
        assert max(map(len, text.splitlines())) <= 80
        found = plan["*.wte.*"]
        assert repr(found) == "<Entries: 1 tensor, 1,600 parameters>"
        assert "transformer.h.1.attn.c_attn.bias" in plan["*.attn.*"].show(verbose=True)

    @pytest.mark.parametrize(
        ("pattern", "near"),
        [
            ("transformer.h.*.atn.*", "transformer.h.*.attn.*"),
            ("h.*.attn.*", "transformer.h.*.attn.*"),
            ("*.bais", "*.bias"),
            ("transformer.wtee.weight", "transformer.wte.weight"),
        ],
    )
    def test_what_matches_nothing_is_answered_with_what_does(self, plan, pattern, near):
        with pytest.raises(KeyError, match=re.escape(repr(near))) as raised:
            plan[pattern]
        assert "Did you mean" in str(raised.value)
        assert len(plan.matching(near))
