"""Rules for the weights of linear, convolutional and other layers that sum over their inputs.

To add a rule, add a row; a row further up decides before those below it.
"""

from __future__ import annotations

import math

from isoinit._planning.rules.conditions import (
    SATURATING,
    after,
    before,
    before_sine,
    behind_sine,
    in_centred_chain,
    in_critical_chain,
    in_mirrored_chain,
    is_drowned,
    motif,
    slot,
)
from isoinit._planning.rules.rule import Rule
from isoinit._planning.rules.sizes import (
    branch_end,
    centred,
    chain_gain,
    forward_gain,
    he_or_lecun,
    isometric,
    looks_linear,
    mean_taken_out,
    motif_size,
    saturating,
    siren,
    spherical,
)
from isoinit.initializers import (
    ICNR,
    HeNormal,
    HeUniform,
    LeCunNormal,
    Uniform,
    XavierNormal,
    Zeros,
)

WEIGHTS: tuple[Rule, ...] = (
    # Small patterns that a paper has its own rule for
    Rule(
        "adapter in",
        motif("adapter in"),
        lambda _: HeUniform(a=math.sqrt(5)),
        "the first of two low-rank factors beside a weight",
        "U(±1/√fan_in)",
        "the first factor of a low-rank adapter: random, so that the second factor, which is zero, "
        "gets a gradient",
        "Hu et al. 2021, section 4.1 and its code",
    ),
    Rule(
        "adapter out",
        motif("adapter out"),
        lambda _: Zeros(),
        "the second of two low-rank factors beside a weight",
        "W = 0",
        "the second factor of a low-rank adapter: at zero the model starts as without the adapter",
        "Hu et al. 2021, section 4.1",
    ),
    Rule(
        "modulation",
        motif("modulation"),
        lambda _: Zeros(),
        "a weight whose outputs scale and shift another signal: g(s) x + t with g(0) about one, or "
        "the gate that ends a residual branch",
        "W = 0",
        "its outputs scale or shift another signal: at zero that signal starts unchanged, and the "
        "weight's inputs break the symmetry",
        "Kingma & Dhariwal 2018, section 3.3; Peebles & Xie 2023, section 3.2",
    ),
    Rule(
        "router",
        motif("router"),
        lambda role: HeNormal(gain=math.sqrt(0.1) * forward_gain(role)),
        "a weight whose outputs are ranked to choose experts",
        "Var = 0.1/fan_in",
        "it chooses among experts: a tenth of the usual variance, so no expert is preferred for long",
        "Fedus et al. 2021, section 2.4",
    ),
    Rule(
        "DeepNorm",
        lambda role: role.slot == "weight" and motif("scaled skip")(role),
        lambda role: XavierNormal(gain=(4 * motif_size(role)) ** -0.25),
        "a weight on a branch (except queries and keys) whose skip is scaled up before a norm layer",
        "Xavier with gain β = (8N)^(-1/4), N layers of two branches",
        "the skip of its branch is scaled up, and β = (8N)^(-1/4) bounds the change by one update",
        "Wang et al. 2022, table 2",
    ),
    Rule(
        "residual branch",
        lambda role: role.slot == "weight" and role.ends_branch and role.activation is None,
        branch_end,
        "a weight that writes to a residual stream of N branches",
        "Var = E[x₀²]/(N · fan_in · E[x²]), x₀ the start of the stream",
        "it writes to a residual stream: with N branches each adds 1/N of the stream's initial "
        "variance, so the variance at most doubles",
        "Radford et al. 2019, section 2.3; Zhang et al. 2019",
        usual=True,
    ),
    Rule(
        "generator",
        motif("generator"),
        lambda _: Zeros(),
        "a weight whose outputs are the weights of another layer, beside a bias",
        "W = 0",
        "its outputs are a layer's weights: at zero these are the bias alone, the same for all "
        "examples, and the weight's inputs break the symmetry",
        "Beck et al. 2022",
    ),
    Rule(
        "generated weight",
        lambda role: role.slot == "weight" and motif("generated weight")(role),
        lambda role: HeNormal(gain=forward_gain(role) / math.sqrt(motif_size(role))),
        "a weight whose outputs are the weights of another layer, of n inputs, with no bias",
        "Var = 1/(n · fan_in · E[x²])",
        "its outputs are the weights of a layer of n inputs: they get variance 1/n, the usual one",
        "Ha et al. 2017, section 3; Chang et al. 2020, section 4",
    ),
    Rule(
        "score",
        lambda role: role.slot == "weight" and motif("score")(role),
        lambda role: HeNormal(gain=forward_gain(role) * math.sqrt(motif_size(role))),
        "a weight that makes one of two vectors whose inner product is the model's output",
        "Var = d^(-1/2)/(fan_in · E[x²]), d the terms of the product; d^(-1) if no parameter "
        "makes the other vector",
        "the model's output is an inner product of its output with another vector, and this variance "
        "keeps the score at unit size",
        "Vaswani et al. 2017, section 3.2.1; Koren et al. 2009",
        usual=True,
    ),
    Rule(
        "query or key",
        lambda role: role.slot == "weight" and motif("query or key")(role),
        lambda role: HeNormal(gain=forward_gain(role) * motif_size(role) ** -0.25),
        "a query or key of attention that does not divide its scores by √width",
        "Var = 1/(√width · fan_in)",
        "this attention does not divide its scores by √width: smaller queries and keys keep the "
        "scores at unit size",
        "Raffel et al. 2020 and its code; Vaswani et al. 2017, section 3.2.1",
    ),
    Rule(
        "learned query",
        lambda role: role.slot == "weight" and motif("learned query")(role),
        lambda role: HeNormal(gain=forward_gain(role) * math.sqrt(motif_size(role))),
        "a weight whose outputs are divided by √fan_in, and are the scores of a softmax",
        "Var = 1/E[x²]",
        "it is a query: its products with the keys are divided by √width, so this variance keeps the "
        "scores at unit size",
        "Vaswani et al. 2017, section 3.2.1",
    ),
    Rule(
        "ICNR",
        motif("sub-pixel"),
        lambda role: ICNR(round(motif_size(role)), he_or_lecun(role)),
        "a convolution before a pixel shuffle",
        "the kernels of one channel's pixels equal",
        "its channels become pixels: equal kernels start as nearest-neighbour upsampling, which "
        "avoids checkerboard artifacts",
        "Aitken et al. 2017",
    ),
    # By the function that follows, where its paper says how
    Rule(
        "SIREN, first layer",
        lambda role: before_sine(role) > 0 and role.source == "input",
        lambda role: Uniform(-1 / role.layout.fan_in, 1 / role.layout.fan_in),
        "a weight between the input and sin(ω₀ ·), ω₀ of 2 or more",
        "U(±1/fan_in)",
        "coordinates cover several periods of the sine",
        "Sitzmann et al. 2020, supplement 1.5",
    ),
    Rule(
        "SIREN",
        lambda role: before_sine(role) > 0,
        lambda role: siren(role, before_sine(role)),
        "any other weight before sin(ω₀ ·), ω₀ of 2 or more",
        "U(±√(6/fan_in)/ω₀)",
        "a sine follows: its phases are standard normal, so every layer has the same distribution",
        "Sitzmann et al. 2020, section 3.2",
    ),
    Rule(
        "SIREN, output",
        lambda role: role.activation is None and behind_sine(role) > 0,
        lambda role: siren(role, behind_sine(role)),
        "a weight whose input is sin(ω₀ ·) and that no sine follows, ω₀ of 2 or more",
        "U(±√(6/fan_in)/ω₀)",
        "its input is a layer of sines: the distribution of the layers before, so the output starts "
        "near zero",
        "Sitzmann et al. 2020, section 3.2 and its code",
    ),
    Rule(
        "SELU",
        lambda role: before("selu")(role) and not role.few,
        he_or_lecun,
        "a weight before SELU",
        "Var = 1/fan_in (· 1/E[x²])",
        "SELU follows and moves mean and variance to 0 and 1 if weights have variance 1/fan_in",
        "Klambauer et al. 2017, section 2",
        usual=True,
    ),
    # Deep plain chains
    Rule(
        "mirrored chain",
        in_mirrored_chain,
        looks_linear,
        "one of 13 layers or more in a row, whose activation has an almost linear odd part",
        "[[W, -W], [-W, W]], W Haar times (q / E[(φ(z) - φ(-z))²])^(1/2), z of variance q",
        "{length} layers in a row with no norm or residual sum: each unit has a mirror image of "
        "opposite sign, together they are almost linear, and orthogonal weights keep signal and "
        "gradient at any depth",
        "Balduzzi et al. 2017, section 4; Saxe et al. 2014",
    ),
    Rule(
        "centred chain",
        in_centred_chain,
        lambda role: centred(role, chain_gain(role)),
        "one of 13 layers or more in a row, after an activation with a dominant mean",
        "W Haar with rows that sum to zero, times σ_w; σ_w² E[φ'²] = 1 and q = σ_w² Var[φ] + σ_b²",
        "{length} layers in a row with no norm or residual sum: rows that sum to zero remove the mean "
        "that all examples share, and with bias variance {bias} signal and gradient keep their size",
        "Brock et al. 2021, section 3.1; Huang et al. 2017; Schoenholz et al. 2017, section 3",
    ),
    Rule(
        "critical chain",
        lambda role: role.slot == "weight" and in_critical_chain(role),
        lambda role: isometric(role, chain_gain(role)),
        "one of 13 layers or more in a row whose activation has a stable critical point",
        "W Haar times σ_w; σ_w² E[φ'²] = 1 and q = σ_w² E[φ²] + σ_b²",
        "{length} layers in a row with no norm or residual sum: at the edge of chaos, with bias "
        "variance {bias}, signal and gradient keep their size",
        "Schoenholz et al. 2017, section 3; Pennington et al. 2017",
    ),
    Rule(
        "few inputs",
        lambda role: role.slot == "weight" and bool(role.few),
        spherical,
        "a weight of one to three inputs, or of up to 32 columns of the example, beside a bias, "
        "before an activation",
        "a random direction of length √½ for each unit; inputs divided by their standard deviation",
        "it reads only {inputs}: each unit has its own direction, and the bias gives half of the "
        "variance, so the kinks of the units cover the range of the inputs",
        "Steinwart 2019",
    ),
    Rule(
        "isometric chain",
        lambda role: role.slot == "weight" and role.chain is not None and not role.chain.hopeless,
        lambda role: isometric(role, forward_gain(role)),
        "one of 13 layers or more in a row of linear maps",
        "W Haar",
        "{length} linear layers in a row with no norm or residual sum: an orthogonal matrix keeps "
        "every length, and a random one keeps only their mean",
        "Saxe et al. 2014, section 3",
    ),
    # By the input of the weight
    Rule(
        "mean taken out",
        is_drowned,
        mean_taken_out,
        "a weight after a function whose mean is more than half of its second moment, such as a "
        "sigmoid",
        "W Haar with rows that sum to zero, times 1/√Var[φ]",
        "its input is the output of {fed}, mostly a mean that all examples share: rows that sum to "
        "zero remove it, and the rest keeps unit variance",
        "LeCun et al. 1998, section 4.4; Brock et al. 2021, section 3.1; Huang et al. 2017",
        usual=True,
    ),
    Rule(
        "saturating",
        before(*SATURATING),
        saturating,
        "a weight before tanh, sigmoid, softsign, erf, hard tanh or hard sigmoid",
        "Var = 2/(fan_in + fan_out) where both are one, 1/fan_in where they differ",
        "{activation} follows, which is linear around 0: one variance keeps both the signal and the "
        "gradient",
        "Glorot & Bengio 2010, eq. 12; He et al. 2015, section 2.2",
        usual=True,
    ),
    Rule(
        "state",
        lambda role: role.slot == "weight" and role.reads_state and forward_gain(role) > 1,
        lambda _: LeCunNormal(),
        "a weight that makes the output from the state of a recurrent layer",
        "Var = 1/fan_in",
        "its input is a state, whose second moment is {second} at initialization and can grow to 1: "
        "std = 1/√fan_in keeps the output within unit size",
        "LeCun et al. 1998, section 4.6",
        usual=True,
    ),
    Rule(
        "measured on the example",
        lambda role: role.slot == "weight" and role.measured,
        he_or_lecun,
        "a weight whose input has a second moment that was measured in a run on the example",
        "Var = 1/(E[x²] fan_in)",
        "its input ({source}) has second moment {second}, measured in a run on the example with this "
        "plan's values; gain {gain} makes it 1",
        "Mishkin & Matas 2016, algorithm 1; LeCun et al. 1998, section 4.6",
        usual=True,
    ),
    Rule(
        "ReLU",
        after("relu", "leaky_relu"),
        he_or_lecun,
        "a weight after ReLU or leaky ReLU of slope a",
        "Var = 2/((1 + a²) fan_in)",
        "its input is the output of {fed}, which reduces the second moment; gain {gain} restores it",
        "He et al. 2015, eq. 10 and 15",
        usual=True,
    ),
    Rule(
        "any activation",
        lambda role: role.slot == "weight" and role.fed is not None,
        he_or_lecun,
        "a weight after any other function φ of one signal",
        "Var = 1/(E[φ(z)²] fan_in)",
        "its input is the output of {fed}, whose second moment was computed; gain {gain} makes it 1",
        "He et al. 2015, eq. 10, with the exact E[φ(z)²]",
        usual=True,
    ),
    Rule(
        "unknown signal",
        lambda role: role.slot == "weight" and not role.followed,
        he_or_lecun,
        "a weight whose input is not known",
        "Var = 1/fan_in",
        "its input ({source}) goes through an operation that isoinit cannot follow{lost}, and is "
        "assumed to have unit size; Plan.calibrate measures it",
        "LeCun et al. 1998, section 4.6",
        usual=True,
    ),
    Rule(
        "zero signal",
        lambda role: role.slot == "weight" and role.second == 0,
        he_or_lecun,
        "a weight whose input is zero at initialization",
        "Var = 1/fan_in",
        "its input ({source}) is zero at initialization, as after a scale of zero: std = 1/√fan_in is "
        "for the unit size that training may give it",
        "LeCun et al. 1998, section 4.6",
        usual=True,
    ),
    Rule(
        "unit signal",
        lambda role: role.slot == "weight" and abs(forward_gain(role) - 1) < 1e-9,
        lambda _: LeCunNormal(),
        "a weight whose input has unit size, such as the model's input or the output of a norm layer",
        "Var = 1/fan_in",
        "its input ({source}) has second moment 1, so std = 1/√fan_in keeps the output at unit "
        "variance",
        "LeCun et al. 1998, section 4.6; He et al. 2015, section 2.2",
        usual=True,
    ),
    Rule(
        "measured signal",
        slot("weight"),
        he_or_lecun,
        "a weight with any other input",
        "Var = 1/(E[x²] fan_in)",
        "its input ({source}) has second moment {second}; gain {gain} makes it 1",
        "LeCun et al. 1998, section 4.6; He et al. 2015, section 2.2",
        usual=True,
    ),
)
