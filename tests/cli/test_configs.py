"""Configs of `transformers` as targets: local files alone, without code of theirs, and with inputs."""

import json
import socket
import sys

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import (
    GPT2Config,
    LlamaConfig,
    T5Config,
    ViTConfig,
    Wav2Vec2Config,
    WhisperConfig,
)

import isoinit
from commands import runner
from isoinit.cli.targets import load_target
from isoinit.errors import ArgumentError, PackageError

LLAMA = LlamaConfig(
    architectures=["LlamaForCausalLM"],
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    vocab_size=64,
    dtype="bfloat16",
)
TOKENS = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
ENCODER = {"d_model": 32, "num_heads": 2, "d_kv": 16, "d_ff": 48, "num_layers": 1}
WIDTHS = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
FAMILIES = {
    "language": LLAMA,
    "without an architecture": GPT2Config(n_embd=32, n_layer=1, n_head=2, **TOKENS),
    "encoder and decoder": T5Config(**ENCODER, decoder_start_token_id=0, **TOKENS),
    "images": ViTConfig(
        architectures=["ViTForImageClassification"],
        **WIDTHS,
        intermediate_size=48,
        image_size=24,
        patch_size=8,
        num_channels=1,
    ),
    "spectrograms": WhisperConfig(
        architectures=["WhisperForConditionalGeneration"],
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        num_mel_bins=8,
        max_source_positions=16,
        decoder_start_token_id=1,
        **TOKENS,
    ),
    "sound": Wav2Vec2Config(
        architectures=["Wav2Vec2Model"],
        **WIDTHS,
        intermediate_size=48,
        conv_dim=(16, 16),
        conv_stride=(20, 16),
        conv_kernel=(20, 16),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        apply_spec_augment=False,
    ),
}


@pytest.fixture
def status(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return runner(tmp_path, monkeypatch)


def written(folder, config, **more):
    """The folder of a config, with more fields in it than its class knows."""
    config.save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_and_its_inputs_are_made(tmp_path, status, capsys, family):
    """By the class that the config names, else by AutoModel."""
    config = FAMILIES[family]
    written(tmp_path / "m", config)
    model = load_target("hf:m").model
    names = config.architectures
    expected = names[0] if names else type(transformers.AutoModel.from_config(config)).__name__
    assert type(model).__name__ == expected
    assert status("check", "hf:m/config.json", "--method", "auto", "--json") in (0, 1)
    shown = capsys.readouterr()
    assert "random inputs (" in shown.err
    assert json.loads(shown.out)["layers"]


def test_the_dtype_is_that_of_the_config(tmp_path, status, capsys):
    written(tmp_path / "m", LLAMA)
    assert status("init", "hf:m", "-o", "c", "--seed", "3") == 0
    values = load_file(tmp_path / "c" / "model.safetensors")
    assert {t.dtype for t in values.values()} == {torch.bfloat16}
    model = transformers.LlamaForCausalLM(LLAMA).to(torch.bfloat16)
    isoinit.init(model, seed=3)
    assert all(torch.equal(values[name], p) for name, p in model.named_parameters())


def test_init_makes_the_model_without_its_memory(tmp_path, status, capsys):
    """140 GB of weights are planned: they are nowhere."""
    written(tmp_path / "m", LLAMA, hidden_size=8192, intermediate_size=28672, num_hidden_layers=80)
    with isoinit.deferred():
        model = load_target("hf:m").model
    assert sum(p.nbytes for p in model.parameters()) > 100e9


def test_code_of_the_folder_is_not_run(tmp_path, status, capsys):
    folder = written(tmp_path / "m", LLAMA, auto_map={"AutoConfig": "own.Own"}, model_type="own")
    (folder / "own.py").write_text("open('ran', 'w')\nclass Own: pass")
    assert status("plan", "hf:m") == 2
    assert "can't read the config" in capsys.readouterr().err
    written(folder, LLAMA, architectures=["LlamaForCausalML"])
    assert status("plan", "hf:m") == 2
    error = capsys.readouterr().err
    assert "Did you mean 'LlamaForCausalLM'" in error
    assert "give a function that returns the model" in error
    written(folder, LLAMA, architectures=["pipeline"])
    assert status("plan", "hf:m") == 2
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("hf:models", r"there is no file models\. Did you mean 'model'"),
        ("hf:model/conf.json", r"Did you mean 'config\.json'"),
        ("hf:openai/gpt2", "Nothing is fetched: give the path of a local file"),
        ("hf:text.json", "can't read the config"),
        ("hf:empty.json", "can't read the config"),
        ("hf:heads.json", "making the model failed"),
    ],
)
def test_what_is_refused(tmp_path, status, target, said):
    written(tmp_path / "model", LLAMA)
    (tmp_path / "text.json").write_text("{")
    (tmp_path / "empty.json").write_text("{}")
    wrong = {**LLAMA.to_dict(), "hidden_act": "none of these"}
    (tmp_path / "heads.json").write_text(json.dumps(wrong))
    with pytest.raises(ArgumentError, match=said):
        load_target(target)


def test_without_transformers(tmp_path, status, monkeypatch):
    written(tmp_path / "m", LLAMA)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(PackageError, match=r"needs transformers, .*pip install transformers"):
        load_target("hf:m")
