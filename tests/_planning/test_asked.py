"""What a plan keeps: all that was not asked for, what a checkpoint has, and what was loaded."""

import copy

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
)
from transformers.utils import logging

import isoinit
from isoinit.errors import PlanError

logging.set_verbosity_error()
logging.disable_progress_bar()
IDS = {"input_ids": torch.randint(100, (16, 12), generator=torch.Generator().manual_seed(0))}
NEW = {"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"}


def features(scale):
    """A body whose features have a size of their own, and a head."""
    body = nn.Sequential(nn.Linear(8, 64), nn.ReLU())
    with torch.no_grad():
        body[0].weight *= scale
    return nn.ModuleDict({"body": body, "head": nn.Linear(64, 128)})


class Net(nn.Module):
    def __init__(self, scale=1.0):
        super().__init__()
        parts = features(scale)
        self.body, self.head = parts.body, parts.head

    def forward(self, x):
        return self.head(self.body(x))


X = torch.randn(512, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint of a masked language model: no pooler and no classifier."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "vocab_size": 100}
    model = BertForMaskedLM(BertConfig(num_hidden_layers=1, num_attention_heads=2, **sizes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    model.save_pretrained(folder := tmp_path_factory.mktemp("bert"))
    return folder


@pytest.fixture
def classifier(saved):
    return BertForSequenceClassification.from_pretrained(saved, num_labels=16)


class TestOnly:
    @pytest.mark.parametrize("scale", [0.2, 1.0, 30.0])
    def test_a_new_head_fits_the_features_that_it_gets(self, scale):
        torch.manual_seed(0)
        model = Net(scale)
        before = copy.deepcopy(model.body.state_dict())
        plan = isoinit.init(model, X, only="head.*")
        assert all(torch.equal(before[n], t) for n, t in model.body.state_dict().items())
        with torch.no_grad():
            size = model(X).square().mean().sqrt()
        assert plan["head.weight"].expected == pytest.approx(1.0, abs=0.02)
        assert size == pytest.approx(1.0, rel=0.2)  # of 128 units, of which each is one draw

    def test_the_others_are_kept_and_say_why(self):
        model = Net()
        for only, said in (("head.*", "'head.*' was"), (model.head, "'head' was")):
            plan = isoinit.plan(model, X, only=only)
            assert set(plan.kept) == {"body.0.weight", "body.0.bias"}
            assert set(plan.kept.values()) == {f"kept: only {said} asked for"}
            assert plan["body.0.weight"].kept == "only"
            assert plan.warnings == []

    def test_what_is_not_trained_stays_even_if_asked_for(self):
        model = Net()
        model.head.requires_grad_(False)
        plan = isoinit.plan(model, X, only="head.*")
        assert plan.kept["head.weight"] == "kept: it is not trained"
        assert plan.warnings[-1].startswith("nothing is initialized")
        assert not isoinit.plan(model, X, only="head.*", keep="nothing")["head.weight"].kept

    def test_an_override_decides_over_it(self):
        model = Net()
        isoinit.init(model, X, only="head.*", overrides={"body.0.bias": isoinit.Constant(3.0)})
        assert (model.body[0].bias == 3).all()

    def test_a_glob_that_reaches_a_tied_parameter_says_so(self, saved):
        model = BertForMaskedLM.from_pretrained(saved)
        (said,) = isoinit.plan(model, IDS, only="cls.*").warnings
        assert said.startswith(
            "'bert.embeddings.word_embeddings.weight' is drawn anew, for it is tied"
        )
        assert isoinit.plan(model, IDS, only="bert.embeddings.*").warnings == []

    def test_on_meta_what_was_not_asked_for_stays_there(self):
        with torch.device("meta"):
            model = Net()
        isoinit.init(model, X.to("meta"), only="head.*")
        assert model.body[0].weight.is_meta
        assert not model.head.weight.is_meta


class TestOnlyMissing:
    def test_what_the_checkpoint_lacks_is_planned(self, saved):
        model = BertForSequenceClassification(BertForMaskedLM.from_pretrained(saved).config)
        plan = isoinit.plan(model, IDS, only_missing=saved)
        assert {entry.name for entry in plan} - plan.kept.keys() == NEW
        assert set(plan.kept.values()) == {"kept: it is in the checkpoint"}
        before = copy.deepcopy(model.state_dict())
        isoinit.init(model, IDS, only_missing=saved)
        changed = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
        assert changed == {"bert.pooler.dense.weight", "classifier.weight"}

    def test_another_shape_is_refused_before_the_plan(self, saved):
        config = BertForMaskedLM.from_pretrained(saved).config
        config.vocab_size = 110
        with pytest.raises(
            PlanError, match=r"word_embeddings.*of shape \(100, 32\), but the model"
        ):
            isoinit.plan(BertForSequenceClassification(config), IDS, only_missing=saved)


class TestLoaded:
    """By the mark that `from_pretrained` leaves on what it loads."""

    def test_what_the_checkpoint_lacked_is_initialized_alone(self, classifier):
        before = copy.deepcopy(classifier.state_dict())
        plan = isoinit.init(classifier, IDS)
        assert {entry.name for entry in plan} - plan.kept.keys() == NEW
        assert set(plan.kept.values()) == {"kept: loaded by from_pretrained"}
        for name, tensor in classifier.state_dict().items():
            assert torch.equal(tensor, before[name]) == (name not in NEW or "bias" in name), name

    def test_it_is_the_plan_of_only_these(self, classifier, saved):
        plan = isoinit.plan(classifier, IDS)
        for more in ({"only": ["bert.pooler.*", "classifier.*"]}, {"only_missing": saved}):
            assert not plan.diff(isoinit.plan(classifier, IDS, **more))

    def test_a_model_without_anything_new_is_left(self, saved):
        model = BertForMaskedLM.from_pretrained(saved)
        before = copy.deepcopy(model.state_dict())
        plan = isoinit.init(model, IDS)
        (said,) = plan.warnings
        assert said.startswith("nothing is initialized: every parameter is kept: loaded by")
        assert 'keep="nothing"' in said
        assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())

    def test_it_may_be_asked_for(self, classifier):
        plan = isoinit.plan(classifier, IDS, only="bert.encoder.layer.0.output.*")
        planned = {entry.name for entry in plan if not entry.kept}
        assert planned == {
            f"bert.encoder.layer.0.output.{name}"
            for name in ("dense.weight", "dense.bias", "LayerNorm.weight", "LayerNorm.bias")
        }

    def test_nothing_kept_starts_afresh_and_is_no_longer_loaded(self, classifier):
        assert isoinit.init(classifier, IDS, keep="nothing").kept == {}
        assert isoinit.plan(classifier, IDS).kept == {}

    def test_a_new_model_is_planned_whole(self, saved):
        config = BertForMaskedLM.from_pretrained(saved).config
        assert isoinit.plan(BertForSequenceClassification(config), IDS).kept == {}

    def test_a_copy_of_what_was_loaded_is_kept(self, saved):
        """As adapters make one of a layer that is to be trained whole."""
        model = BertForMaskedLM.from_pretrained(saved).requires_grad_(False)
        model.cls = copy.deepcopy(model.cls).requires_grad_(True)
        model.before = BertForMaskedLM.from_pretrained(saved).requires_grad_(False).cls
        plan = isoinit.plan(model, IDS)
        assert plan.kept["cls.predictions.transform.dense.weight"] == (
            "kept: a copy of 'before.predictions.transform.dense.weight', which from_pretrained loaded"
        )

    def test_resized_embeddings_that_lost_their_mark_are_kept(self, tmp_path):
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "intermediate_size": 64, "vocab_size": 100}
        model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=1, num_attention_heads=2, **sizes))
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        for _ in range(30):
            model(**IDS, labels=IDS["input_ids"]).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        model.save_pretrained(tmp_path)
        model = LlamaForCausalLM.from_pretrained(tmp_path)
        trained = model.lm_head.weight.detach().clone()
        model.resize_token_embeddings(110)
        plan = isoinit.init(model, IDS)
        assert "only= draws it anew" in plan.kept["lm_head.weight"]
        assert torch.equal(model.lm_head.weight[:100], trained)

    def test_a_loaded_body_in_a_model_of_ones_own(self, saved):
        class Mine(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = BertForMaskedLM.from_pretrained(saved).bert
                self.head = nn.Linear(32, 3)

            def forward(self, input_ids):
                return self.head(self.body(input_ids).last_hidden_state)

        plan = isoinit.plan(Mine(), IDS)
        assert {entry.name for entry in plan if not entry.kept} == {"head.weight", "head.bias"}


class TestAdapters:
    """Of `peft`: what it freezes is kept, and the model starts as it was."""

    @pytest.fixture
    def adapted(self, saved):
        peft = pytest.importorskip("peft")

        def build(**more):
            base = BertForMaskedLM.from_pretrained(saved).eval()
            config = peft.LoraConfig(r=4, target_modules=["query", "value"], **more)
            return peft.get_peft_model(base, config).eval()

        return build

    def test_lora_starts_as_the_base_does(self, adapted):
        model = adapted()
        before, logits = copy.deepcopy(model.state_dict()), model(**IDS).logits
        plan = isoinit.init(model, IDS)
        assert all(("lora_" in entry.name) != bool(entry.kept) for entry in plan)
        for name, tensor in model.state_dict().items():
            if "lora_A" in name:
                assert plan[name].std > 0
                assert not torch.equal(tensor, before[name])
            elif "lora_B" in name:
                assert not tensor.any()
            else:
                assert torch.equal(tensor, before[name]), name
        assert torch.equal(model(**IDS).logits, logits)

    def test_a_loaded_layer_that_is_trained_whole_is_kept(self, adapted):
        model = adapted(modules_to_save=["transform"])
        before = copy.deepcopy(model.state_dict())
        plan = isoinit.init(model, IDS)
        name = "base_model.model.cls.predictions.transform.modules_to_save.default.dense.weight"
        assert plan[name].kept == "loaded"
        assert torch.equal(model.state_dict()[name], before[name])
