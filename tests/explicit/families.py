"""Small models of many families: how to build them by size, and where multipliers belong."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import transformers as hf
from torch import nn
from torch.nn import functional

from explicit.reference import Multipliers

WORDS, LENGTH = 31, 10
TOKENS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}


@dataclass(frozen=True)
class Family:
    """A model by width and depth.

    Attributes:
        build: called with the width and the number of blocks.
        batch: what it is called with, at a step.
        loss: called with the model and the step.
        multipliers: what the papers put into its forward.
        inside: finds the parameters of its residual branches by name.
        shifted: how the names of parameters end to which the forward adds 1.
        tied: whether its readout is its table, unless `build` is told otherwise; None if it cannot be.
    """

    build: Callable[..., nn.Module]
    batch: Callable[[int], dict | torch.Tensor]
    loss: Callable[[nn.Module, int], torch.Tensor]
    multipliers: Multipliers
    inside: str | None = None
    shifted: str | None = None
    tied: bool | None = None


def words(step):
    """Sentences that can be learned: each word follows from the one before."""
    start = torch.randint(0, WORDS, (4, 1), generator=torch.Generator().manual_seed(step % 3))
    return (start + 3 * torch.arange(LENGTH)) % WORDS


def sentence(step):
    return {"input_ids": words(step), "use_cache": False}


def pair(step):
    return {"input_ids": words(step), "decoder_input_ids": words(step + 1), "use_cache": False}


def next_word(batch=sentence):
    def loss(model, step):
        given = batch(step)
        made = model(**given).logits
        wanted = given.get("decoder_input_ids", given["input_ids"])
        return functional.cross_entropy(made[:, :-1].flatten(0, 1), wanted[:, 1:].flatten())

    return loss


def causal(build, branches, inside, *, shifted=None, tied=True, **more):
    """A causal language model of transformers."""
    put = Multipliers(branches, "lm_head", **more)
    return Family(build, sentence, next_word(), put, inside, shifted, tied)


def gpt2(width, blocks, tied=True, heads=2):
    config = hf.GPT2Config(
        n_embd=width, n_layer=blocks, n_head=heads, vocab_size=WORDS, n_positions=16,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, tie_word_embeddings=tied, **TOKENS,
    )  # fmt: skip
    return hf.GPT2LMHeadModel(config)


def settings(width, blocks, tied, heads=2, **more):
    """What Llama and its kin are told."""
    return {
        "hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": blocks,
        "num_attention_heads": heads, "num_key_value_heads": heads // 2, "vocab_size": WORDS,
        "max_position_embeddings": 16, "tie_word_embeddings": tied, **TOKENS, **more,
    }  # fmt: skip


def llama(width, blocks, tied=True, heads=2):
    return hf.LlamaForCausalLM(hf.LlamaConfig(**settings(width, blocks, tied, heads)))


def qwen3(width, blocks, tied=True, heads=2):
    more = settings(width, blocks, tied, heads, head_dim=width // heads)
    return hf.Qwen3ForCausalLM(hf.Qwen3Config(**more))


def gemma(width, blocks, tied=True, heads=2):
    more = settings(width, blocks, tied, heads, head_dim=width // heads)
    return hf.GemmaForCausalLM(hf.GemmaConfig(**more))


def mixtral(width, blocks, tied=True, heads=2):
    more = settings(width, blocks, tied, heads, num_local_experts=4)
    config = hf.MixtralConfig(**more, num_experts_per_tok=2, experts_implementation="eager")
    return hf.MixtralForCausalLM(config)


def opt(width, blocks, tied=True, heads=2):
    config = hf.OPTConfig(
        hidden_size=width, ffn_dim=2 * width, num_hidden_layers=blocks, vocab_size=WORDS,
        num_attention_heads=heads, max_position_embeddings=16, word_embed_proj_dim=width,
        dropout=0, tie_word_embeddings=tied, **TOKENS,
    )  # fmt: skip
    return hf.OPTForCausalLM(config)


def gptj(width, blocks, tied=False, heads=2):
    config = hf.GPTJConfig(
        n_embd=width, n_layer=blocks, n_head=heads, vocab_size=WORDS, n_positions=16, rotary_dim=4,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, tie_word_embeddings=tied, **TOKENS,
        attn_implementation="eager",
    )  # fmt: skip
    return hf.GPTJForCausalLM(config)


def bloom(width, blocks, tied=True, heads=2):
    config = hf.BloomConfig(
        hidden_size=width, n_layer=blocks, n_head=heads, vocab_size=WORDS,
        hidden_dropout=0, attention_dropout=0, tie_word_embeddings=tied, **TOKENS,
    )  # fmt: skip
    return hf.BloomForCausalLM(config)


def mamba(width, blocks, tied=True, rank=4):
    config = hf.MambaConfig(
        hidden_size=width, num_hidden_layers=blocks, vocab_size=WORDS, state_size=4,
        time_step_rank=rank, tie_word_embeddings=tied, **TOKENS,
    )  # fmt: skip
    return hf.MambaForCausalLM(config)


def t5(width, blocks, heads=2, **more):
    config = hf.T5Config(
        d_model=width, d_kv=width // heads, d_ff=2 * width, num_layers=blocks, num_heads=heads,
        vocab_size=WORDS, dropout_rate=0, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
        **more,
    )  # fmt: skip
    return hf.T5ForConditionalGeneration(config)


def t5_1_1(width, blocks, heads=2):
    return t5(width, blocks, heads, tie_word_embeddings=False, feed_forward_proj="gated-gelu")


def bert(width, blocks, tied=True, heads=2):
    config = hf.BertConfig(
        hidden_size=width, intermediate_size=2 * width, num_hidden_layers=blocks,
        num_attention_heads=heads, vocab_size=WORDS, max_position_embeddings=16,
        hidden_dropout_prob=0, attention_probs_dropout_prob=0, tie_word_embeddings=tied,
    )  # fmt: skip
    return hf.BertForMaskedLM(config)


def masked(step):
    return {"input_ids": words(step)}


def vit(width, blocks, heads=2):
    config = hf.ViTConfig(
        hidden_size=width, intermediate_size=2 * width, num_hidden_layers=blocks,
        num_attention_heads=heads, image_size=8, patch_size=4, num_channels=2, num_labels=5,
        hidden_dropout_prob=0, attention_probs_dropout_prob=0,
    )  # fmt: skip
    return hf.ViTForImageClassification(config)


def picture(step):
    noise = torch.Generator().manual_seed(step % 3)
    return {"pixel_values": torch.randn(6, 2, 8, 8, generator=noise, dtype=torch.float64)}


def classes(model, step):
    made = model(**picture(step)).logits
    return functional.cross_entropy(made, torch.arange(6) % 5)


def shrink_table(model, grown):
    """Undo that a table is multiplied by the root of its width."""
    model.model.embed_tokens.embed_scale.mul_(grown.width**-0.5)


H = r"\.h\.\d+\."
LLAMA = (r"model\.layers\.\d+\.(self_attn|mlp)", r"layers\.\d+\.")
T5_BLOCK = r"block\.\d+\."
T5 = {
    "branches": r".*\.(SelfAttention|EncDecAttention|DenseReluDense)",
    "readout": "lm_head",
    "scores": -1.0,  # it divides scores by nothing
}
FAMILIES = {
    "GPT-2": causal(gpt2, r"transformer\.h\.\d+\.(attn|mlp)", H),
    "Llama": causal(llama, *LLAMA),
    "Qwen3": causal(qwen3, *LLAMA),
    "Mixtral": causal(mixtral, *LLAMA),
    "Gemma": causal(gemma, *LLAMA, shifted="norm.weight", others=[shrink_table]),
    "OPT": causal(opt, r"model\.decoder\.layers\.\d+\.(self_attn|fc2)", r"layers\.\d+\."),
    "GPT-J": causal(gptj, r"transformer\.h\.\d+\.(attn|mlp)", H, tied=False),
    # its blocks add the stream themselves: the multiplier stands behind their last layers
    "BLOOM": causal(bloom, r"transformer\.h\.\d+\.(self_attention\.dense|mlp\.dense_4h_to_h)", H),
    "Mamba": causal(mamba, r"backbone\.layers\.\d+\.mixer", r"layers\.\d+\."),
    # it divides what the table reads by the root of its width; version 1.1 does not
    "T5": Family(t5, pair, next_word(pair), Multipliers(power=-0.5, **T5), T5_BLOCK),
    "T5 1.1": Family(t5_1_1, pair, next_word(pair), Multipliers(**T5), T5_BLOCK),
    "BERT": Family(
        bert, masked, next_word(masked), Multipliers(readout="cls.predictions.decoder"), tied=True
    ),
    "ViT": Family(
        vit, picture, classes, Multipliers(r"vit\.layers\.\d+\.(attention|mlp)"), r"layers\.\d+\."
    ),
}
