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
        "ReLU follows, so the identity keeps the state unchanged until training changes it",
        "Le et al. 2015",
        insists=True,
    ),
    Rule(
        "recurrent",
        slot("recurrent weight"),
        lambda _: Orthogonal(),
        "any other recurrent weight, gate by gate",
        "W Haar",
        "it is applied at every time step, so an orthogonal weight keeps the length of the state",
        "Saxe et al. 2014; Le et al. 2015",
    ),
    Rule(
        "recurrent input, ReLU",
        lambda role: role.slot == "input weight" and meets_relu(role),
        lambda _: HeNormal(),
        "the input weight of a recurrent layer under ReLU",
        "Var = 2/fan_in",
        "ReLU follows and halves the second moment, so the factor 2 restores it",
        "He et al. 2015, eq. 10",
    ),
    Rule(
        "recurrent input",
        slot("input weight"),
        lambda _: LeCunNormal(),
        "any other input weight of a recurrent layer",
        "Var = 1/fan_in",
        "sigmoid or tanh follows, so std = 1/√fan_in keeps the size of the input at any width of the "
        "state",
        "LeCun et al. 1998, section 4.6",
    ),
    Rule(
        "forget gate",
        is_forget_gate,
        forget_gate,
        "the first bias vector of an LSTM, of torch's layer or a hand-written one",
        "b_forget = 1",
        "a bias of 1 opens the forget gate at initialization, so the memory lasts",
        "Gers et al. 2000; Jozefowicz et al. 2015",
        insists=True,
    ),
    Rule(
        "carry gate",
        lambda role: role.slot == "bias" and motif("carry gate")(role),
        lambda role: Constant(CARRY * motif_size(role)),
        "the bias of a gate that mixes a layer's output with its input",
        "b = ∓2",
        "the gate starts open for the layer's input, so the signal passes through many layers",
        "Srivastava et al. 2015, section 2.2",
        insists=True,
    ),
    # Tables, and vectors that join the signal
    Rule(
        "tied embedding, scaled output",
        lambda role: role.slot == "table" and bool(role.tied) and role.tied_scale != 1,
        lambda role: Normal(std=1 / (math.sqrt(role.layout.fan_out) * role.tied_scale)),
        "an embedding that is also the output layer, in a model that multiplies the layer's input or "
        "output by a constant c",
        "Var = 1/(c² width)",
        "the embedding is also the output layer, and the model multiplies by a constant there: with "
        "this std the logits have unit size",
        "Raffel et al. 2020 and its code",
    ),
    Rule(
        "tied embedding",
        lambda role: role.slot == "table" and bool(role.tied),
        lambda role: Normal(std=1 / math.sqrt(role.layout.fan_out)),
        "an embedding that is also the output layer",
        "Var = 1/width",
        "the embedding is also the output layer: std = 1/√width gives logits of unit size",
        "Vaswani et al. 2017, section 3.4",
    ),
    Rule(
        "bias of a row",
        lambda role: role.slot == "table" and motif("bias of a row")(role),
        lambda _: Zeros(),
        "a lookup table with one number in each row, which is added to a signal",
        "0",
        "the looked-up number is added to a signal, so it is a bias and starts at zero",
        "Koren et al. 2009",
    ),
    Rule(
        "embedding of a score",
        lambda role: role.slot == "table" and motif("score")(role),
        lambda role: Normal(std=math.sqrt(motif_size(role) / role.layout.fan_in)),
        "a lookup table whose rows form inner products with other vectors as the model's output",
        "Var = d^(-1/2), d the terms of the product; d^(-1) if no parameter makes the other vector",
        "the output is an inner product of its rows with another vector, and this variance keeps the "
        "score at unit size",
        "Vaswani et al. 2017, section 3.2.1; Koren et al. 2009",
    ),
    Rule(
        "embedding beside others",
        lambda role: role.slot == "table" and role.joined > 0,
        lambda role: Normal(std=math.sqrt(role.joined / role.layout.fan_in)),
        "a lookup table whose rows are added to scaled rows of another, or to a signal",
        "Var = E[x²] of what they join",
        "its rows are added to scaled rows of another table or to a signal: variance {joined} makes "
        "both equally large",
        "Vaswani et al. 2017, sections 3.4 and 3.5; Devlin et al. 2019, figure 2",
    ),
    Rule(
        "grid",
        lambda role: role.slot == "table" and motif("grid")(role),
        lambda _: Uniform(-GRID, GRID),
        "a lookup table whose rows are interpolated between the cells of a grid",
        "U(±10⁻⁴)",
        "its rows are features of grid cells: near zero, the model starts smooth; the next weight is "
        "scaled for the unit size to which training takes them",
        "Müller et al. 2022, section 3",
        grows=True,
    ),
    Rule(
        "embedding",
        slot("table"),
        rows,
        "any other lookup table, of d columns",
        "Var = d^(-1/2)/number of rows that are summed",
        "a row changes only when it is looked up: with std d^(-1/4) and the next weight scaled to "
        "match, a step of Adam changes both by the same fraction",
        "fan-in of a lookup; Kingma & Ba 2015, section 2.1",
    ),
    Rule(
        "position or token",
        slot("position", "token"),
        lambda role: Normal(std=math.sqrt(role.second)),
        "a learned position, class token or mask token",
        "Var = E[x²] of what it joins; 0.02² for a bias of attention scores",
        "it is added to the signal: variance {second} makes both equally large (a bias of attention "
        "scores starts at std 0.02)",
        "Vaswani et al. 2017, section 3.5; Liu et al. 2021",
    ),
    # The scale that a residual branch ends with
    Rule(
        "ReZero",
        lambda role: ends_branch_as_scale(role) and is_single_number(role),
        lambda _: Zeros(),
        "a single number that a residual branch ends with",
        "α = 0",
        "a scalar at the end of a residual branch: at zero the block starts as the identity",
        "De & Smith 2020; Bachlechner et al. 2021",
        insists=True,
    ),
    Rule(
        "LayerScale",
        lambda role: ends_branch_as_scale(role) and role.op == "mul" and not role.of_norm,
        lambda role: Constant(layer_scale(role.branches)),
        "a vector that a residual branch ends with",
        "λ = 0.1 up to 18 blocks, 1e-5 up to 24, 1e-6 beyond",
        "a scale at the end of a residual branch: small, so the block starts near the identity",
        "Touvron et al. 2021, section 2",
        insists=True,
    ),
    Rule(
        "zero last norm",
        lambda role: ends_branch_as_scale(role) and role.of_norm,
        lambda _: Zeros(),
        "the scale of the norm layer that a residual branch ends with",
        "γ = 0",
        "the norm layer at the end of a residual branch: at zero the block starts as the identity, so "
        "the network starts shallow",
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
        "the states of each channel decay at rates 1 to N, so they cover short and long memories",
        "Gu & Dao 2023, section 3.6",
        insists=True,
    ),
    Rule(
        "time step bias",
        motif("time step bias"),
        lambda _: TimeSteps(),
        "the bias of a state space's time step, which a softplus follows",
        "softplus⁻¹(dt), log dt uniform between log 0.001 and log 0.1",
        "time steps between 0.001 and 0.1 give memories of 10 to 1000 steps",
        "Gu & Dao 2023, section 3.6",
        insists=True,
    ),
    Rule(
        "time step",
        motif("time step"),
        lambda role: Uniform(-(role.layout.fan_in**-0.5), role.layout.fan_in**-0.5),
        "the weight of a state space's time step",
        "U(±1/√rank)",
        "it varies the time steps around their bias",
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
        "the model uses a function of it, such as exp(w), so its initial value is the model's choice",
        "",
    ),
    Rule(
        "length",
        slot("length"),
        lambda _: None,
        "the length g of a weight under weight normalization",
        "as it was",
        "it sets the length of a normalized weight's rows, so the model's value is kept",
        "Salimans & Kingma 2016, section 2",
    ),
    Rule(
        "scale",
        slot("scale"),
        neutral,
        "any other scale",
        "1, or what makes it one (0 in 1 + w)",
        "a scale starts without effect: it multiplies by one",
        "Ioffe & Szegedy 2015; Ba et al. 2016",
    ),
    Rule(
        "slope",
        slot("slope"),
        lambda role: Constant(PRELU_SLOPE if role.slope is None else role.slope),
        "PReLU's slope, or that of one side of a function",
        "0.25 of the value at which the function is a line",
        "the initial slope in the paper of PReLU",
        "He et al. 2015, section 2.1",
    ),
    Rule(
        "critical bias",
        lambda role: role.slot == "bias" and chain_bias(role) > 0,
        lambda role: Normal(std=math.sqrt(chain_bias(role))),
        "a bias in a deep plain chain at the edge of chaos",
        "Var = σ_b², see the critical chain",
        "the bias variance of the edge of chaos: without it the signal vanishes with depth",
        "Schoenholz et al. 2017, section 3",
    ),
    Rule(
        "start of a weight",
        motif("start of a weight"),
        start_of_weight,
        "the bias of a layer whose outputs are the weights of another layer, of n inputs",
        "Var = 1/(n · E[x²]), x what these weights read",
        "the outputs of its layer are another layer's weights, which get the usual variance (std a "
        "quarter of that if that layer gives one number)",
        "Beck et al. 2022; He et al. 2015, eq. 10",
    ),
    Rule(
        "kinks",
        lambda role: bool(role.few) and is_beside_spherical(role),
        kinks,
        "the bias of a layer of one to three inputs, or of up to 32 columns of the example, before an "
        "activation",
        "b = -w·mean + ‖w‖ u, u uniform in ±√3 standard deviations",
        "its layer reads only {inputs}: with zero biases all units would have their kink at one "
        "point, and the layer would span only two functions along each direction",
        "Steinwart 2019",
    ),
    Rule(
        "divisor",
        is_divisor,
        lambda _: None,
        "a bias or shift that is also divided by",
        "as it was",
        "the model adds it and also divides by it, so it cannot start at zero",
        "",
    ),
    Rule(
        "bias",
        slot("bias", "shift", "input bias", "recurrent bias"),
        neutral,
        "any other bias or shift",
        "0",
        "it adds nothing at initialization; the random weights already break the symmetry",
        "Glorot & Bengio 2010, section 2.3; He et al. 2015, section 2.2",
    ),
)
