"""Rules for all but the weights of layers: recurrent layers, tables, state spaces, scales, biases.

To add a rule, add a row; a row further up decides before those below it.
"""

from __future__ import annotations

import math

from isoinit._planning.rules.conditions import (
    acts_through_a_function,
    ends_branch_as_scale,
    is_beside_spherical,
    is_divisor,
    is_forget_gate,
    is_single_number,
    meets_relu,
    motif,
    slot,
)
from isoinit._planning.rules.rule import Rule
from isoinit._planning.rules.sizes import (
    chain_bias,
    forget_gate,
    kinks,
    layer_scale,
    motif_size,
    neutral,
    rows,
    start_of_weight,
)
from isoinit.initializers import (
    Constant,
    DecayRates,
    HeNormal,
    Identity,
    LeCunNormal,
    Normal,
    Orthogonal,
    TimeSteps,
    Uniform,
    Zeros,
)
from isoinit.initializers.scale.gains import PRELU_SLOPE

GRID = 1e-4
CARRY = 2.0  # σ(2) = 0.88 of what a layer was given passes: the paper's start for moderate depth

OTHERS: tuple[Rule, ...] = (
    # Recurrent layers
    Rule(
        "IRNN",
        lambda role: role.slot == "recurrent weight" and meets_relu(role),
        lambda _: Identity(),
        "a recurrent weight under ReLU",
        "W = I",
        "under ReLU the identity keeps the state as it is until there is something to learn",
        "Le et al. 2015",
        insists=True,
    ),
    Rule(
        "recurrent",
        slot("recurrent weight"),
        lambda _: Orthogonal(),
        "any other recurrent weight, gate by gate",
        "W Haar",
        "applied at every time step, so it must neither stretch nor shrink the state",
        "Saxe et al. 2014; Le et al. 2015",
    ),
    Rule(
        "recurrent input, ReLU",
        lambda role: role.slot == "input weight" and meets_relu(role),
        lambda _: HeNormal(),
        "the input weight of a recurrent layer under ReLU",
        "Var = 2/fan_in",
        "feeds ReLU units, which halve the second moment",
        "He et al. 2015, eq. 10",
    ),
    Rule(
        "recurrent input",
        slot("input weight"),
        lambda _: LeCunNormal(),
        "any other input weight of a recurrent layer",
        "Var = 1/fan_in",
        "sigmoid and tanh units see the input at its own size, however narrow it is beside the state",
        "LeCun et al. 1998, section 4.6",
    ),
    Rule(
        "forget gate",
        is_forget_gate,
        forget_gate,
        "the first of an LSTM's bias vectors, of torch's layer or one by hand",
        "b_forget = 1",
        "the forget gate starts open (bias one in one of its vectors), so memory lasts",
        "Gers et al. 2000; Jozefowicz et al. 2015",
        insists=True,
    ),
    Rule(
        "carry gate",
        lambda role: role.slot == "bias" and motif("carry gate")(role),
        lambda role: Constant(CARRY * motif_size(role)),
        "the bias of a gate between what a layer makes and what it was given",
        "b = ∓2",
        "the gate starts open for what the layer was given, so that the signal passes through many "
        "layers and each adds a little",
        "Srivastava et al. 2015, section 2.2",
        insists=True,
    ),
    # Tables, and vectors that join the signal
    Rule(
        "tied embedding, scaled output",
        lambda role: role.slot == "table" and bool(role.tied) and role.tied_scale != 1,
        lambda role: Normal(std=1 / (math.sqrt(role.layout.fan_out) * role.tied_scale)),
        "an embedding that is also the output layer, of which the model multiplies what it reads or "
        "gives by a constant c",
        "Var = 1/(c² width)",
        "also the output layer, beside which the model multiplies by a constant: with that the logits "
        "are of unit size",
        "Raffel et al. 2020 and its code",
    ),
    Rule(
        "tied embedding",
        lambda role: role.slot == "table" and bool(role.tied),
        lambda role: Normal(std=1 / math.sqrt(role.layout.fan_out)),
        "an embedding that is also the output layer",
        "Var = 1/width",
        "also the output layer: 1/sqrt(width) gives logits of unit size",
        "Vaswani et al. 2017, section 3.4",
    ),
    Rule(
        "bias of a row",
        lambda role: role.slot == "table" and motif("bias of a row")(role),
        lambda _: Zeros(),
        "a lookup table of one number a row, which is added to a signal",
        "0",
        "a number for each row that is added to a signal is a bias: it adds nothing at first",
        "Koren et al. 2009",
    ),
    Rule(
        "embedding of a score",
        lambda role: role.slot == "table" and motif("score")(role),
        lambda role: Normal(std=math.sqrt(motif_size(role) / role.layout.fan_in)),
        "a lookup table whose rows are multiplied with other vectors, and that is the model's output",
        "Var = d^(-1/2), d the terms of the product; d^(-1) beside a vector that is not its own",
        "the output is an inner product of its rows and another vector: they share what keeps the "
        "score at one",
        "Vaswani et al. 2017, section 3.2.1; Koren et al. 2009",
    ),
    Rule(
        "embedding beside others",
        lambda role: role.slot == "table" and role.joined > 0,
        lambda role: Normal(std=math.sqrt(role.joined / role.layout.fan_in)),
        "a lookup table whose rows are added to scaled rows of another, or to a signal",
        "Var = E[x²] of what they join",
        "its rows are added to others that are scaled, or to a signal: as large as these ({joined} in "
        "variance), so that neither drowns the other",
        "Vaswani et al. 2017, sections 3.4 and 3.5; Devlin et al. 2019, figure 2",
    ),
    Rule(
        "grid",
        lambda role: role.slot == "table" and motif("grid")(role),
        lambda _: Uniform(-GRID, GRID),
        "a lookup table whose rows are interpolated: places among numbers, by cells",
        "U(±10⁻⁴)",
        "its rows are features of cells, of which each sees few examples: they start near zero, so "
        "that the model starts smooth; what reads them is sized for the unit size that they grow to",
        "Müller et al. 2022, section 3",
        grows=True,
    ),
    Rule(
        "embedding",
        slot("table"),
        rows,
        "any other lookup table, of d columns",
        "Var = d^(-1/2)/rows that are added up",
        "a row changes only when it is looked up: at d^(-1/4), with weights behind it that make up "
        "for that, a step of Adam changes both by the same share",
        "fan-in of a lookup; Kingma & Ba 2015, section 2.1",
    ),
    Rule(
        "position or token",
        slot("position", "token"),
        lambda role: Normal(std=math.sqrt(role.second)),
        "a learned position, class token or mask token",
        "Var = E[x²] of what it joins; 0.02² for a bias of attention scores",
        "a learned vector that joins the signal, as large as what it joins ({second} in variance), so "
        "that neither drowns the other; a bias of attention scores starts at 0.02",
        "Vaswani et al. 2017, section 3.5; Liu et al. 2021",
    ),
    # The scale that a residual branch ends with
    Rule(
        "ReZero",
        lambda role: ends_branch_as_scale(role) and is_single_number(role),
        lambda _: Zeros(),
        "a single number that a residual branch ends with",
        "α = 0",
        "a single number at the end of a residual branch: the block starts as the identity",
        "De & Smith 2020; Bachlechner et al. 2021",
        insists=True,
    ),
    Rule(
        "LayerScale",
        lambda role: ends_branch_as_scale(role) and role.op == "mul" and not role.of_norm,
        lambda role: Constant(layer_scale(role.branches)),
        "a vector that a residual branch ends with",
        "λ = 0.1 up to 18 blocks, 1e-5 up to 24, 1e-6 beyond",
        "a scale at the end of a residual branch: the block starts near the identity",
        "Touvron et al. 2021, section 2",
        insists=True,
    ),
    Rule(
        "zero last norm",
        lambda role: ends_branch_as_scale(role) and role.of_norm,
        lambda _: Zeros(),
        "the scale of the norm layer that a residual branch ends with",
        "γ = 0",
        "the norm layer that ends a residual branch: at zero the block starts as the identity, and "
        "the network as a shallow one",
        "Goyal et al. 2017, section 5.1",
        insists=True,
    ),
    # State spaces
    Rule(
        "state decay",
        motif("state decay"),
        lambda _: DecayRates(),
        "the logarithms of a state space's rates of decay",
        "log(1), log(2), …, log(states)",
        "each channel gets states that forget at rates of 1 to N",
        "Gu & Dao 2023, section 3.6",
        insists=True,
    ),
    Rule(
        "time step bias",
        motif("time step bias"),
        lambda _: TimeSteps(),
        "the bias of a state space's time step, which a softplus follows",
        "softplus⁻¹(dt), log dt uniform between log 0.001 and log 0.1",
        "time steps between 0.001 and 0.1: memories of ten to a thousand steps",
        "Gu & Dao 2023, section 3.6",
        insists=True,
    ),
    Rule(
        "time step",
        motif("time step"),
        lambda role: Uniform(-(role.layout.fan_in**-0.5), role.layout.fan_in**-0.5),
        "the weight of a state space's time step",
        "U(±1/√rank)",
        "varies the time steps about their bias",
        "Gu & Dao 2023, section 3.6 and its code",
        insists=True,
    ),
    # Scales, slopes and biases
    Rule(
        "through a function",
        acts_through_a_function,
        lambda _: None,
        "a scale or bias that acts through a function of itself",
        "as it was",
        "it acts through a function of itself, such as exp(w), so what it should start from is the "
        "model's own choice",
        "",
    ),
    Rule(
        "length",
        slot("length"),
        lambda _: None,
        "the length g of a weight under weight normalization",
        "as it was",
        "the length of a normalized weight's rows, which decides the size of the weight",
        "Salimans & Kingma 2016, section 2",
    ),
    Rule(
        "scale",
        slot("scale"),
        neutral,
        "any other scale",
        "1, or what makes it one (0 in 1 + w)",
        "a scale starts without effect",
        "Ioffe & Szegedy 2015; Ba et al. 2016",
    ),
    Rule(
        "slope",
        slot("slope"),
        lambda role: Constant(PRELU_SLOPE if role.slope is None else role.slope),
        "PReLU's slope, or that of one side of a function",
        "0.25 of the value at which the function is a line",
        "the slope that PReLU was published with",
        "He et al. 2015, section 2.1",
    ),
    Rule(
        "critical bias",
        lambda role: role.slot == "bias" and chain_bias(role) > 0,
        lambda role: Normal(std=math.sqrt(chain_bias(role))),
        "a bias in a deep plain chain at the edge of chaos",
        "Var = σ_b², see the critical chain",
        "the bias variance of the edge of chaos, without which the signal sinks to zero with depth",
        "Schoenholz et al. 2017, section 3",
    ),
    Rule(
        "start of a weight",
        motif("start of a weight"),
        start_of_weight,
        "the bias of a layer whose outputs are the weights of another layer, of n inputs",
        "Var = 1/(n · E[x²]), x what these weights read",
        "its layer's outputs are the weights of another layer, which starts as one with weights of "
        "its own would, or at a quarter of that where it gives one number",
        "Beck et al. 2022; He et al. 2015, eq. 10",
    ),
    Rule(
        "kinks",
        lambda role: bool(role.few) and is_beside_spherical(role),
        kinks,
        "the bias of a layer of one to three inputs, or of up to 32 columns of the example, before an "
        "activation",
        "b = -w·mean + ‖w‖ u, u uniform in ±√3 deviations",
        "its layer reads {inputs} alone: at zero all units would bend at one point, so that of each "
        "direction the layer spans two functions, however wide it is",
        "Steinwart 2019",
    ),
    Rule(
        "divisor",
        is_divisor,
        lambda _: None,
        "a bias or shift that is also divided by",
        "as it was",
        "it is added, and divided by elsewhere, so it cannot start at zero",
        "",
    ),
    Rule(
        "bias",
        slot("bias", "shift", "input bias", "recurrent bias"),
        neutral,
        "any other bias or shift",
        "0",
        "adds nothing at first; the weights already differ, so no symmetry is left to break",
        "Glorot & Bengio 2010, section 2.3; He et al. 2015, section 2.2",
    ),
)
