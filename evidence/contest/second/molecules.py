"""Atoms and chains: energies by continuous filters, distances by triangles."""

from __future__ import annotations

import math
from functools import cache

import torch
from evidence.contest.fresh.drawing import HELD, rows, seeded
from evidence.contest.task import Step, Task
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot, softplus

# Energies

ATOMS = 6


@cache
def clusters(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return kinds of atoms, their places (count, atoms, 3), and each cluster's energy.

    Energies are sums of Morse's over pairs, by their kinds, and of the bonds' angles.
    """
    g = seeded(seed)
    kinds = torch.randint(3, (count, ATOMS), generator=g)
    corners = torch.tensor([[a, b, c] for a in (0.0, 1) for b in (0.0, 1) for c in (0.0, 1)])
    chosen = torch.rand(count, 8, generator=g).argsort(dim=1)[:, :ATOMS]
    place = 1.5 * corners[chosen] + 0.2 * torch.randn(count, ATOMS, 3, generator=g)
    gap = place[:, :, None] - place[:, None]
    r = gap.norm(dim=-1) + torch.eye(ATOMS) * 9
    both = kinds[:, :, None] + kinds[:, None]
    deep, wide = 0.5 + 0.3 * both, 1.2 + 0.15 * both
    morse = deep * ((1 - torch.exp(-1.3 * (r - wide))) ** 2 - 1)
    near = torch.exp(-(r**2) / 3)
    cosine = torch.einsum("nijd,nikd->nijk", gap, gap) / (r[..., None] * r[:, :, None])
    bent = (near[..., None] * near[:, :, None] * cosine).sum((1, 2, 3))
    energy = morse.sum((1, 2)) / 2 + bent
    return kinds, place, energy / 4


def shifted_softplus(x: torch.Tensor) -> torch.Tensor:
    """Return softplus, moved to go through the origin."""
    return softplus(x) - math.log(2)


class Interaction(nn.Module):
    """A filter for each distance, a sum over the others, and a residual."""

    def __init__(self, dim: int, bumps: int) -> None:
        super().__init__()
        self.in2f = nn.Linear(dim, dim, bias=False)
        self.filter1, self.filter2 = nn.Linear(bumps, dim), nn.Linear(dim, dim)
        self.f2out1, self.f2out2 = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor, bumps: torch.Tensor, cut: torch.Tensor) -> torch.Tensor:
        """Return features of atoms, of the same shape."""
        w = self.filter2(shifted_softplus(self.filter1(bumps))) * cut[..., None]
        y = (w * self.in2f(x)[:, None]).sum(dim=2)
        return x + self.f2out2(shifted_softplus(self.f2out1(y)))


class SchNet(nn.Module):
    """Interactions of embedded atoms, and the sum of what each tells."""

    def __init__(self, dim: int = 32, blocks: int = 3, bumps: int = 16, reach: float = 4) -> None:
        super().__init__()
        self.reach = reach
        self.centres: torch.Tensor
        self.register_buffer("centres", torch.linspace(0, reach, bumps))
        self.embedding = nn.Embedding(3, dim)
        self.interactions = nn.ModuleList(Interaction(dim, bumps) for _ in range(blocks))
        self.out1, self.out2 = nn.Linear(dim, dim // 2), nn.Linear(dim // 2, 1)

    def forward(self, kinds: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        """Return the energy of each cluster."""
        r = (place[:, :, None] - place[:, None] + 1e-9).norm(dim=-1)
        width = self.reach / (len(self.centres) - 1)
        bumps = torch.exp(-0.5 * ((r[..., None] - self.centres) / width) ** 2)
        cut = 0.5 * (torch.cos(math.pi * r / self.reach) + 1) * (r < self.reach)
        cut = cut * (1 - torch.eye(r.shape[1]))
        x = self.embedding(kinds)
        for interaction in self.interactions:
            x = interaction(x, bumps, cut)
        return self.out2(shifted_softplus(self.out1(x))).sum((1, 2))


def schnetpack(model: nn.Module) -> None:
    """Fill layers by Xavier's uniform with zero biases, and the embedding with N(0, 1)."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight)


def bound(step: int, seed: int = 241, count: int = 4000, batch: int = 24) -> Step:
    """Return clusters, their energy to be told."""
    kinds, place, energy = clusters(seed, count)
    at = rows(step, count, batch)
    return {"kinds": kinds[at], "place": place[at]}, lambda output: mse_loss(output, energy[at])


# Distances along a chain

BEADS, BINS = 12, 10


@cache
def chains(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what is known of pairs of beads (count, beads, beads, 8), and each distance's bin.

    Known are how far apart they stand in the chain, one-hot, whether their distance was measured (for
    a third of the pairs), and what was measured.
    """
    g = seeded(seed)
    steps = torch.randn(count, BEADS, 3, generator=g)
    for _ in range(2):
        steps = steps + 0.5 * steps.roll(1, 1)
    place = (steps / steps.norm(dim=-1, keepdim=True)).cumsum(dim=1)
    r = (place[:, :, None] - place[:, None]).norm(dim=-1)
    known = (torch.rand(count, BEADS, BEADS, generator=g) < 0.2).float()
    known = torch.maximum(known, known.transpose(1, 2))
    noise = 0.1 * torch.randn(count, BEADS, BEADS, generator=g)
    at = torch.arange(BEADS)
    apart = one_hot((at[:, None] - at).abs().clamp(max=5), 6).float()
    measured = (r + (noise + noise.transpose(1, 2)) / 2) * known
    features = [apart.expand(count, -1, -1, -1), known[..., None], measured[..., None]]
    return torch.cat(features, dim=-1), (r * BINS / 8).long().clamp(max=BINS - 1)


class Triangle(nn.Module):
    """The update of a pair from the two other sides of its triangles."""

    def __init__(self, dim: int, outgoing: bool) -> None:
        super().__init__()
        self.equation = "bikc,bjkc->bijc" if outgoing else "bkic,bkjc->bijc"
        self.layer_norm_in, self.layer_norm_out = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.linear_p, self.linear_g = nn.Linear(dim, 2 * dim), nn.Linear(dim, 2 * dim)
        self.linear_z, self.linear_gate = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Return what is to be added to pairs (batch, beads, beads, dim)."""
        z = self.layer_norm_in(z)
        a, b = (self.linear_p(z) * torch.sigmoid(self.linear_g(z))).chunk(2, dim=-1)
        x = self.linear_z(self.layer_norm_out(torch.einsum(self.equation, a, b)))
        return x * torch.sigmoid(self.linear_gate(z))


class Transition(nn.Module):
    """Layer norm and a network twice as wide."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(dim)
        self.linear_1, self.linear_2 = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Return what is to be added to pairs."""
        return self.linear_2(torch.relu(self.linear_1(self.layer_norm(z))))


class PairStack(nn.Module):
    """Blocks of triangles and transitions over pairs, and the logits of their distance's bin."""

    def __init__(self, dim: int = 12, blocks: int = 2) -> None:
        super().__init__()
        self.embed = nn.Linear(8, dim)
        self.layers = nn.ModuleList()
        for _ in range(blocks):
            self.layers.extend([Triangle(dim, True), Triangle(dim, False), Transition(dim)])
        self.distogram = nn.Linear(dim, BINS)

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, beads, beads, bins), alike both ways."""
        z = self.embed(pairs)
        for layer in self.layers:
            z = z + layer(z)
        logits = self.distogram(z)
        return logits + logits.transpose(1, 2)


def alphafold(model: nn.Module) -> None:
    """Fill by LeCun's cut normal, He's before ReLU; gates begin open, ends of branches at 0."""
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        nn.init.zeros_(module.bias)
        if name.endswith(("linear_g", "linear_gate")):
            nn.init.zeros_(module.weight)
            nn.init.ones_(module.bias)
        elif name.endswith(("linear_z", "linear_2", "distogram")):
            nn.init.zeros_(module.weight)
        else:
            gain = 2 if name.endswith("linear_1") else 1
            std = math.sqrt(gain / module.in_features) / 0.87962566
            nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)


def folded(step: int, seed: int = 242, count: int = 1000, batch: int = 6) -> Step:
    """Return chains, the distance of each pair of beads to be told."""
    pairs, bins = chains(seed, count)
    at = rows(step, count, batch)
    return pairs[at], lambda output: cross_entropy(output.flatten(0, 2), bins[at].flatten())


MOLECULES = {
    "SchNet, clusters of atoms": Task(
        SchNet,
        bound,
        lambda: bound(0, HELD + 241, 256, 256),
        schnetpack,
        "Schütt et al. 2017 in schnetpack: Xavier's uniform, zero biases, embedding N(0, 1)",
    ),
    "triangle updates, distances of a chain": Task(
        PairStack,
        folded,
        lambda: folded(0, HELD + 242, 128, 128),
        alphafold,
        "Jumper et al. 2021, supplement 1.11.4; OpenFold: LeCun, gates 0 with bias 1, zero ends",
    ),
}
