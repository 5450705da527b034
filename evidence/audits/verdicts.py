"""What a person who read the source says of each finding, with the line in `transformers` 5.23.

The first row that fits counts: families (empty: all), the finding, a pattern that one of its names
holds, the verdict, the reason.
"""

FORGOTTEN = "no branch of `_init_weights` writes it"

VERDICTS: tuple[tuple[str, str, str, str, str], ...] = (
    (
        "",
        "never written",
        r"parametrizations\.weight",
        "fault",
        "`_init_weights` draws into `conv.weight` (wav2vec2 928, hubert 601, encodec 460), which "
        "under weight norm is computed again at each use: the draw is lost, also on the "
        "processor, where the constructor's stays; `original0` and `original1` are never written",
    ),
    (
        "",
        "never written",
        r"logit_scale",
        "fault",
        f"{FORGOTTEN} (clip 410-443); the constructor gives `config.logit_scale_init_value` (667), "
        "in pe_audio zeros (720)",
    ),
    (
        "apertus",
        "never written",
        r"act_fn",
        "fault",
        "`XIELUActivation` (activations.py 249-254) fills itself in its constructor, and no "
        "`_init_weights` knows it",
    ),
    (
        "decision_transformer imagegpt openai-gpt",
        "never written",
        r"c_(attn|fc|proj)",
        "fault",
        "`_init_weights` has no branch for `Conv1D` (decision_transformer 329, imagegpt 367, openai "
        "259); that of gpt2 has (434)",
    ),
    (
        "vit_mae",
        "never written",
        r"position_embeddings",
        "fault",
        "`ViTMAEEmbeddings.initialize_weights` (273) returns at once if its convolution is marked as "
        "initialized, which it always is, as children come first. So also on the processor the frozen "
        "position embeddings are zero, and never the sines that are meant (tried: with the mark "
        "taken off they are)",
    ),
    (
        "sam2_video sam3_tracker_video sam3_video edgetam_video",
        "never written",
        r"no_memory_embedding",
        "fault",
        "`_init_weights` zeroes the parameters beside it and not this one (sam2_video 724-734)",
    ),
    (
        "edgetam_video",
        "never written",
        r"latents_",
        "fault",
        f"{FORGOTTEN} (866-887); the constructor draws it (1508)",
    ),
    (
        "sam3_lite_text sam3_lite_text_text_model",
        "never written",
        r"layer_scale",
        "fault",
        f"{FORGOTTEN} (355-360); the constructor gives 10⁻⁵ (157)",
    ),
    (
        "edgetam_video sam2_video sam3_tracker_video sam3_video",
        "written over",
        r"memory_fuser\.layers\.\d\.scale",
        "fault",
        "the constructor gives `memory_fuser_layer_scale_init_value`, 10⁻⁶ (sam2_video 1086, "
        "edgetam_video 99), and `_init_weights` zeros (737, 879): the setting has no effect",
    ),
    (
        "mllama",
        "written over",
        r"gate_(attn|ffn)",
        "fault",
        "the constructor gives π/4 (298), and `_init_weights` draws with std 0.02 (796)",
    ),
    (
        "zamba",
        "written over",
        r"dt_proj_weight",
        "legitimate",
        "the constructor's number is a placeholder (459); `_init_weights` draws what is meant (814)",
    ),
    ("groupvit", "never written", r"group_token", "fault", f"{FORGOTTEN} (725-747)"),
    ("levit", "never written", r"attention_biases", "fault", f"{FORGOTTEN} (475-485)"),
    (
        "regnet",
        "never written",
        r"attention\.\d\.bias",
        "fault",
        "the branch for convolutions draws weights and leaves biases (267); those of squeeze and "
        "excitation have some (116, 118)",
    ),
    ("timesformer", "never written", r"time_embeddings", "fault", f"{FORGOTTEN} (451-459)"),
    ("vilt", "never written", r"embeddings\.", "fault", f"{FORGOTTEN} (503-507)"),
    ("yolos", "never written", r"", "fault", "the model has no `_init_weights` (433)"),
    ("xclip", "never written", r"alpha", "fault", f"{FORGOTTEN} (436-473)"),
    (
        "sew-d",
        "never written",
        r"masked_spec_embed",
        "fault",
        f"{FORGOTTEN} (1138-1157); that of sew does (515)",
    ),
    (
        "",
        "left on meta",
        r"padding_left",
        "fault, latent",
        "`MimiConv1d` computes it from buffers in its constructor (mimi 291, the tokenizers of "
        "pocket_tts 265); only models that are not causal read it. Tried: Mimi with "
        "`use_causal_conv=False` runs as built, and after `from_pretrained` its `encode` fails with "
        '"Tensor.item() cannot be called on meta tensors"',
    ),
    (
        "oneformer",
        "left on meta",
        r"input_projections",
        "fault, latent",
        "a plain list of modules (2301): neither trained nor saved, and on the meta device after "
        "`from_pretrained` (tried); at the published sizes the list holds empty modules",
    ),
    (
        "xlstm",
        "written twice",
        r"",
        "legitimate",
        "`zeros_` on every bias, then the value of the gates' (1257, 1262): a wasted write, no more",
    ),
)
