"""Whole chains of layers, written by hand from the published architectures."""

import json

import torch
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTModel,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from isoinit._reading.reading import Reading
from isoinit._reading.torch import trace
from older_transformers import not_older
from zoo import odd, vision

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
IDS = torch.arange(3, 10)[None]
ENDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}


def read(model, batch):
    return Reading(type(model).__name__, trace(model.eval(), batch))


def assert_chain(reading, expected):
    """Compare with lines such as "fc1 <- ln | gelu -> fc2"."""
    found = [f"{name} <- {fed} | {to}" for name, fed, to in reading.chain()]
    assert found == [line.strip() for line in expected if line.strip()]


def test_gpt2():
    config = GPT2Config(n_layer=2, n_embd=32, n_head=4, vocab_size=99, **ENDS)
    t = "transformer."
    expected = [
        f"{t}wte <- input | norm → h.0.attn.c_attn; stream",
        f"{t}wpe <- constants | norm → h.0.attn.c_attn; stream",
    ]
    for i in range(2):
        before = "stream" if i else "wte + wpe"
        expected += f"""
            {t}h.{i}.ln_1 <- {before} | attn.c_attn
            {t}h.{i}.attn.c_attn <- ln_1 | attention
            {t}h.{i}.attn.c_proj <- attention(c_attn) | stream
            {t}h.{i}.ln_2 <- stream | mlp.c_fc
            {t}h.{i}.mlp.c_fc <- ln_2 | gelu_tanh → c_proj
            {t}h.{i}.mlp.c_proj <- gelu_tanh(c_fc) | stream
        """.splitlines()
    expected += [f"{t}ln_f <- stream | wte", f"{t}wte <- ln_f | output"]
    reading = read(GPT2LMHeadModel(config), {"input_ids": IDS})
    assert_chain(reading, expected)
    assert reading.graph.branches == {0: 4}


def test_llama():
    read_by = "self_attn.q_proj, k_proj, v_proj"
    expected = [f"model.embed_tokens <- input | norm → layers.0.{read_by}; stream"]
    for i in range(2):
        m = f"model.layers.{i}."
        before = "stream" if i else "embed_tokens"
        expected += f"""
            {m}input_layernorm <- {before} | {read_by}
            {m}self_attn.q_proj <- input_layernorm | attention
            {m}self_attn.k_proj <- input_layernorm | attention
            {m}self_attn.v_proj <- input_layernorm | attention
            {m}self_attn.o_proj <- attention(q_proj, k_proj, v_proj) | stream
            {m}post_attention_layernorm <- stream | mlp.gate_proj, up_proj
            {m}mlp.gate_proj <- post_attention_layernorm | silu → mul → down_proj
            {m}mlp.up_proj <- post_attention_layernorm | mul → down_proj
            {m}mlp.down_proj <- silu(gate_proj) · up_proj | stream
        """.splitlines()
    expected += ["model.norm <- stream | lm_head", "lm_head <- model.norm | output"]
    reading = read(
        LlamaForCausalLM(LlamaConfig(vocab_size=99, num_key_value_heads=2, **SMALL)),
        {"input_ids": IDS},
    )
    assert_chain(reading, expected)
    assert reading.graph.branches == {0: 4}


def test_bert():
    read_by = "attention.self.query, key, value, stream"
    first = f"norm → encoder.layer.0.{read_by}"
    expected = f"""
        embeddings.word_embeddings <- input | {first}
        embeddings.token_type_embeddings <- constants | {first}
        embeddings.position_embeddings <- constants | {first}
        embeddings.LayerNorm <- word_embeddings + token_type_embeddings + position_embeddings | \
encoder.layer.0.{read_by}
    """.splitlines()
    for i in range(2):
        m = f"encoder.layer.{i}."
        before = "layer.0.output.LayerNorm" if i else "embeddings.LayerNorm"
        after = "pooler.dense" if i else f"layer.1.{read_by}"
        expected += f"""
            {m}attention.self.query <- {before} | attention
            {m}attention.self.key <- {before} | attention
            {m}attention.self.value <- {before} | attention
            {m}attention.output.dense <- attention(self.query, self.key, self.value) | stream
            {m}attention.output.LayerNorm <- stream | intermediate.dense, stream
            {m}intermediate.dense <- attention.output.LayerNorm | gelu → output.dense
            {m}output.dense <- gelu(intermediate.dense) | stream
            {m}output.LayerNorm <- stream | {after}
        """.splitlines()
    expected += ["pooler.dense <- encoder.layer.1.output.LayerNorm | tanh → output"]
    reading = read(BertModel(BertConfig(vocab_size=99, **SMALL)), {"input_ids": IDS})
    assert_chain(reading, expected)
    assert reading.graph.branches == {0: 4}


@not_older
def test_vit():
    p, read_by = "embeddings.", "attention.q_proj, k_proj, v_proj"
    first = f"norm → layers.0.{read_by}; stream"
    expected = [
        f"{p}patch_embeddings.projection <- input | cls_token",
        f"{p}cls_token <- patch_embeddings.projection | {first}",
        f"{p}position_embeddings <- cat(patch_embeddings.projection, cls_token) | {first}",
    ]
    for i in range(2):
        m = f"layers.{i}."
        before = (
            "stream"
            if i
            else (
                "cat(embeddings.patch_embeddings.projection, embeddings.cls_token) + "
                "embeddings.position_embeddings"
            )
        )
        expected += f"""
            {m}layernorm_before <- {before} | {read_by}
            {m}attention.q_proj <- layernorm_before | attention
            {m}attention.k_proj <- layernorm_before | attention
            {m}attention.v_proj <- layernorm_before | attention
            {m}attention.o_proj <- attention(q_proj, k_proj, v_proj) | stream
            {m}layernorm_after <- stream | mlp.fc1
            {m}mlp.fc1 <- layernorm_after | gelu → fc2
            {m}mlp.fc2 <- gelu(fc1) | stream
        """.splitlines()
    expected += ["layernorm <- stream | pooler.dense", "pooler.dense <- layernorm | tanh → output"]
    model = ViTModel(ViTConfig(image_size=16, patch_size=8, **SMALL))
    reading = read(model, torch.randn(2, 3, 16, 16))
    assert_chain(reading, expected)
    assert reading.graph.branches == {0: 4}


@not_older
def test_t5():
    expected = []

    def attention(m, k, before, source, stream, bias):
        head = f"{m}layer.{k}."
        kind = "EncDecAttention" if k == 1 and "decoder" in m else "SelfAttention"
        lines = [
            f"{head}layer_norm <- {before} | {kind}.q"
            + (", k, v" if kind == "SelfAttention" else ""),
            f"{head}{kind}.q <- layer_norm | attention",
        ]
        lines += [f"{head}{kind}.{x} <- {source} | attention" for x in "kv"]
        fed = "q, k, v"
        if bias == "own":
            lines += [f"{head}{kind}.relative_attention_bias <- constants | attention"]
            fed += ", relative_attention_bias"
        elif bias:
            fed = f"{bias}, {fed}"
        return [*lines, f"{head}{kind}.o <- attention({fed}) | {stream}"]

    def feed_forward(m, k, stream):
        return f"""
            {m}layer.{k}.layer_norm <- {stream} | DenseReluDense.wi
            {m}layer.{k}.DenseReluDense.wi <- layer_norm | relu → wo
            {m}layer.{k}.DenseReluDense.wo <- relu(wi) | {stream}
        """.splitlines()

    bias = "block.0.layer.0.SelfAttention.relative_attention_bias"
    for part, stream in (("encoder", "stream 1"), ("decoder", "stream 2")):
        expected += [
            f"shared <- input | norm → {part}.block.0.layer.0.SelfAttention.q, k, v; {stream}"
        ]
        for i in range(2):
            m = f"{part}.block.{i}."
            before = stream if i else "shared"
            expected += attention(m, 0, before, "layer_norm", stream, bias if i else "own")
            if part == "decoder":
                expected += attention(m, 1, stream, "encoder.final_layer_norm", stream, None)
            expected += feed_forward(m, 2 if part == "decoder" else 1, stream)
        across = ", ".join(f"decoder.block.{i}.layer.1.EncDecAttention.k, v" for i in range(2))
        after = {"encoder": across, "decoder": "shared"}[part]
        expected += [f"{part}.final_layer_norm <- {stream} | {after}"]
    expected += ["shared <- decoder.final_layer_norm | output"]
    config = T5Config(vocab_size=99, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    reading = read(T5ForConditionalGeneration(config), {"input_ids": IDS, "decoder_input_ids": IDS})
    assert_chain(reading, expected)
    assert reading.graph.branches == {0: 4, 1: 6}


def test_whisper():
    e, d = "model.encoder.", "model.decoder."
    read_by = "self_attn.q_proj, k_proj, v_proj"
    expected = f"""
        {e}conv1 <- input | gelu → conv2
        {e}conv2 <- gelu(conv1) | gelu → add → layers.0.self_attn_layer_norm, stream 1
        {e}embed_positions <- constants | norm → layers.0.{read_by}; stream 1
    """.splitlines()

    def attention(m, name, source, stream):
        return f"""
            {m}{name}.q_proj <- {name}_layer_norm | attention
            {m}{name}.k_proj <- {source} | attention
            {m}{name}.v_proj <- {source} | attention
            {m}{name}.out_proj <- attention(q_proj, k_proj, v_proj) | {stream}
        """.splitlines()

    def feed_forward(m, stream):
        return f"""
            {m}final_layer_norm <- {stream} | fc1
            {m}fc1 <- final_layer_norm | gelu → fc2
            {m}fc2 <- gelu(fc1) | {stream}
        """.splitlines()

    config = WhisperConfig(
        vocab_size=99,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        num_mel_bins=8,
        max_source_positions=20,
        decoder_start_token_id=1,
        **ENDS,
    )
    batch = {"input_features": torch.randn(1, 8, 40), "decoder_input_ids": IDS}
    reading = read(WhisperForConditionalGeneration(config), batch)
    m = f"{e}layers.0."
    added = "gelu(conv2) + embed_positions"
    expected += [f"{m}self_attn_layer_norm <- {added} | {read_by}"]
    expected += attention(m, "self_attn", "self_attn_layer_norm", "stream 1")
    expected += feed_forward(m, "stream 1")
    first = "decoder.layers.0.encoder_attn.k_proj, v_proj"
    expected += [f"{e}layer_norm <- stream 1 | {first}"]
    m = f"{d}layers.0."
    expected += f"""
        {d}embed_tokens <- input | norm → layers.0.{read_by}; stream 2
        {d}embed_positions <- embed_tokens | norm → layers.0.{read_by}; stream 2
        {m}self_attn_layer_norm <- embed_tokens + embed_positions | {read_by}
    """.splitlines()
    expected += attention(m, "self_attn", "self_attn_layer_norm", "stream 2")
    expected += [f"{m}encoder_attn_layer_norm <- stream 2 | encoder_attn.q_proj"]
    expected += attention(m, "encoder_attn", "encoder.layer_norm", "stream 2")
    expected += feed_forward(m, "stream 2")
    expected += [
        f"{d}layer_norm <- stream 2 | embed_tokens",
        f"{d}embed_tokens <- layer_norm | output",
    ]
    assert_chain(reading, expected)
    assert reading.graph.branches == {0: 2, 1: 3}


@not_older
def test_mamba():
    expected = ["backbone.embeddings <- input | norm → layers.0.mixer.in_proj; stream"]
    for i in range(2):
        m = f"backbone.layers.{i}."
        scan = "stack(matmul(add(conv1d, x_proj, dt_proj), x_proj))"
        expected += f"""
            {m}norm <- {"stream" if i else "embeddings"} | mixer.in_proj
            {m}mixer.in_proj <- norm | conv1d; silu → mul → out_proj
            {m}mixer.conv1d <- in_proj | silu → x_proj, mul → out_proj, add → out_proj
            {m}mixer.x_proj <- silu(conv1d) | dt_proj, mul → out_proj, matmul → out_proj
            {m}mixer.dt_proj <- x_proj | softplus → A_log, mul → out_proj
            {m}mixer.A_log <- softplus(dt_proj) | exp → mul → out_proj
            {m}mixer.out_proj <- ({scan} + silu(conv1d)) · silu(in_proj) | stream
        """.splitlines()
    expected += ["backbone.norm_f <- stream | embeddings", "backbone.embeddings <- norm_f | output"]
    config = MambaConfig(vocab_size=99, hidden_size=32, num_hidden_layers=2)
    reading = read(MambaForCausalLM(config), {"input_ids": IDS})
    assert_chain(reading, expected)
    assert reading.graph.branches == {0: 2}


@not_older
def test_mixtral():
    read_by = "self_attn.q_proj, k_proj, v_proj"
    expected = [f"model.embed_tokens <- input | norm → layers.0.{read_by}; stream"]
    for i in range(2):
        m = f"model.layers.{i}."
        before = "stream" if i else "embed_tokens"
        expected += f"""
            {m}input_layernorm <- {before} | {read_by}
            {m}self_attn.q_proj <- input_layernorm | attention
            {m}self_attn.k_proj <- input_layernorm | attention
            {m}self_attn.v_proj <- input_layernorm | attention
            {m}self_attn.o_proj <- attention(q_proj, k_proj, v_proj) | stream
            {m}post_attention_layernorm <- stream | mlp.gate, mlp.experts.gate_up_proj
            {m}mlp.gate <- post_attention_layernorm | softmax → stream
            {m}mlp.experts.gate_up_proj <- post_attention_layernorm | silu → mul → down_proj
            {m}mlp.experts.down_proj <- silu(gate_up_proj) · gate_up_proj | stream
        """.splitlines()
    expected += ["model.norm <- stream | lm_head", "lm_head <- model.norm | output"]
    config = MixtralConfig(vocab_size=99, num_local_experts=4, num_key_value_heads=2, **SMALL)
    reading = read(MixtralForCausalLM(config), {"input_ids": IDS})
    assert_chain(reading, expected)
    assert reading.graph.branches == {0: 4}


def test_resnet50_by_hand():
    expected = """
        conv1 <- input | norm → relu → layer1.0.downsample.0, layer1.0.conv1
        bn1 <- conv1 | relu → layer1.0.downsample.0, layer1.0.conv1
    """.splitlines()
    depths = {1: 3, 2: 4, 3: 6, 4: 3}
    for stage, depth in depths.items():
        for block in range(depth):
            m = f"layer{stage}.{block}."
            before = "relu(bn1)" if stage == 1 and block == 0 else "relu(stream)"
            if block == 0:
                expected += f"""
                    {m}downsample.0 <- {before} | norm → stream
                    {m}downsample.1 <- downsample.0 | stream
                """.splitlines()
            expected += f"""
                {m}conv1 <- {before} | norm → relu → conv2
                {m}bn1 <- conv1 | relu → conv2
                {m}conv2 <- relu(bn1) | norm → relu → conv3
                {m}bn2 <- conv2 | relu → conv3
                {m}conv3 <- relu(bn2) | norm → stream
                {m}bn3 <- conv3 | stream
            """.splitlines()
    expected += ["fc <- relu(stream) | output"]
    reading = read(vision.ResNet50(), torch.randn(2, 3, 64, 64))
    assert_chain(reading, expected)
    assert reading.graph.branches == {0: 16}


def test_unet_by_hand():
    expected = """
        down1 <- input | relu → down2, cat → up1
        down2 <- relu(down1) | relu → bottom, cat → up2
        bottom <- relu(down2) | relu → rise2
        rise2 <- relu(bottom) | cat → up2
        up2 <- cat(relu(down2), rise2) | relu → rise1
        rise1 <- relu(up2) | cat → up1
        up1 <- cat(relu(down1), rise1) | relu → out
        out <- relu(up1) | output
    """.splitlines()
    reading = read(vision.UNet(), torch.randn(2, 3, 32, 32))
    assert_chain(reading, expected)
    assert reading.graph.branches == {}


def test_lstm_language_model_by_hand():
    expected = """
        embed <- input | rnn
        rnn <- embed | head
        head <- rnn | output
    """.splitlines()
    assert_chain(read(odd.LanguageModel(), torch.randint(50, (2, 7))), expected)


def test_as_a_table_repeated_blocks_are_folded():
    text = str(read(vision.ResNet50(), torch.randn(2, 3, 64, 64)))
    assert "layer3.1…5.conv2 (5)" in text or "layer3.0…5.conv2 (6)" in text
    assert len(text.splitlines()) < 80


def test_as_json_every_use_of_every_parameter_is_told():
    model = odd.Twice()
    data = json.loads(read(model, torch.randint(20, (2, 5))).to_json())
    uses = [(use["op"], use["parameter"], use["slot"]) for use in data["uses"]]
    assert [use[1:] for use in uses] == [
        ("embed.weight", "table"),
        *[("shared.weight", "weight"), ("shared.bias", "bias")] * 2,
        ("embed.weight", "weight"),
    ]
    assert [layer["op"] for layer in data["layers"]] == sorted({op for op, _, _ in uses})
    assert data["layers"][2]["fed_by"][0]["activation"] == "tanh"
    assert data["layers"][2]["fed_by"][0]["sources"][0]["op"] == data["layers"][1]["op"]
    assert data["aliases"] == {"head.weight": "embed.weight"}
    assert data["joins"] == data["unused"] == []


def test_a_reading_is_shown_in_notebooks():
    config = GPT2Config(n_layer=2, n_embd=32, n_head=4, vocab_size=99, **ENDS)
    reading = read(GPT2LMHeadModel(config), IDS)
    page = reading._page()
    assert page.title == "Graph of GPT2LMHeadModel"
    assert [row[0] for row in page.tables[0].rows] == [layer.name for layer in reading.layers]
    assert page.figure is not None
    assert reading._repr_html_().startswith("<iframe")


class Readers(torch.nn.Module):
    """Values that several operations read: behind a norm, beside a stream, in many experts."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(8, 8)
        self.norm = torch.nn.LayerNorm(8)
        self.attn = torch.nn.ModuleDict({n: torch.nn.Linear(8, 8) for n in ("wq", "wk", "wv")})
        self.mlp = torch.nn.ModuleDict({n: torch.nn.Linear(8, 8) for n in ("w1", "w3")})
        self.experts = torch.nn.ModuleList(torch.nn.Linear(8, 8) for _ in range(5))
        self.last = torch.nn.Linear(8, 8)

    def forward(self, x):
        x = self.first(x)
        q, k, v = (self.attn[n](self.norm(x)) for n in ("wq", "wk", "wv"))
        x = x + torch.nn.functional.scaled_dot_product_attention(q, k, v)
        x = torch.relu(self.mlp["w1"](x)) * self.mlp["w3"](x)
        hidden = torch.tanh(self.last(x))
        return sum(expert(hidden) for expert in self.experts), torch.sigmoid(hidden)


def test_every_reader_of_a_value_is_told():
    to = {name: to for name, _, to in read(Readers(), torch.randn(2, 3, 8)).chain()}
    assert to["first"] == "norm → attn.wq, wk, wv; mlp.w1, w3"  # behind the sum
    assert to["mlp.w1"] == "relu → mul → last"
    assert to["mlp.w3"] == "mul → last"
    assert to["last"] == "tanh → experts.0…4; tanh·sigmoid → output"
