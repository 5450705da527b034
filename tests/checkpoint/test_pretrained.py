"""`from_pretrained` of transformers loads what was written."""

import pytest
import torch
import transformers as hf
from torch import nn

import isoinit
from isoinit.checkpoint.pretrained import config_files

SMALL = {
    "vocab_size": 96,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
GPT2 = {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
MODELS = {
    "Llama": (hf.LlamaForCausalLM, hf.LlamaConfig(**SMALL, num_key_value_heads=2)),
    "Llama tied": (hf.LlamaForCausalLM, hf.LlamaConfig(**SMALL, tie_word_embeddings=True)),
    "GPT-2": (hf.GPT2LMHeadModel, hf.GPT2Config(**GPT2)),
    "Mixtral": (
        hf.MixtralForCausalLM,
        hf.MixtralConfig(**SMALL, num_key_value_heads=2),
    ),
    "BERT": (hf.BertForMaskedLM, hf.BertConfig(**SMALL)),
    "BERT without a head": (hf.BertModel, hf.BertConfig(**SMALL)),
}


@pytest.mark.parametrize("most", ["5GB", 20_000])
@pytest.mark.parametrize("name", MODELS)
def test_it_loads_and_computes(tmp_path, name, most):
    cls, config = MODELS[name]
    with isoinit.deferred():
        model = cls(config)
    plan = isoinit.plan(model)
    isoinit.write_checkpoint(plan, model, tmp_path / "c", seed=1, max_shard_size=most)
    found, told = cls.from_pretrained(tmp_path / "c", output_loading_info=True)
    assert not any(told.values()), told
    plan.apply(model, 1)
    state = model.state_dict()
    assert state.keys() == found.state_dict().keys()
    assert all(torch.equal(tensor, state[key]) for key, tensor in found.state_dict().items())
    ids = torch.arange(8)[None]
    torch.testing.assert_close(
        model.eval()(ids)[0], found.eval()(ids)[0]
    )  # experts sum in any order
    assert isoinit.verify_checkpoint(tmp_path / "c").ok


@pytest.mark.parametrize("name", ["Llama", "BERT"])
def test_configs_are_those_of_save_pretrained(tmp_path, name):
    cls, config = MODELS[name]
    model = cls(config).bfloat16()
    before = model.config.to_json_string()
    files = {file.name: file.parts[0].head.decode() for file in config_files(model)}
    assert model.config.to_json_string() == before
    model.save_pretrained(tmp_path)
    assert files == {path.name: path.read_text() for path in tmp_path.glob("*.json")}
    assert '"dtype": "bfloat16"' in files["config.json"]


def test_other_models_have_none():
    assert config_files(nn.Linear(2, 2)) == []
