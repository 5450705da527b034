"""Plans and values are those of `unchanged.json`, which was made before the rooms were rebuilt.

A digest that differs means another number in a plan or another bit in a parameter. If that is
meant, say so in the changelog and make the file anew:

    PYTHONPATH=tests python tests/test_unchanged.py
"""

import json
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import isoinit
from isoinit import functional
from isoinit._drawing.streams import Stream
from isoinit.initializers.scale import fans
from zoo.models import ZOO

KNOWN = Path(__file__).with_name("unchanged.json")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
LINEAR, CONV = fans.linear((24, 10), 4), fans.conv((12, 3, 3, 2), 2)
FEW, BIAS = fans.linear((24, 3)), fans.vector((24,))
EACH = [
    (isoinit.Constant(0.1), LINEAR),
    (isoinit.Zeros(), LINEAR),
    (isoinit.Ones(), LINEAR),
    (isoinit.GateBias(val=0.7, gate=2, gates=3), fans.vector((12,))),
    (isoinit.Identity(gain=0.3), LINEAR),
    (isoinit.Dirac(gain=0.5), CONV),
    (isoinit.Uniform(-0.1, 0.3), CONV),
    (isoinit.Normal(0.5, 0.02), fans.vector((7,))),
    (isoinit.Normal(), fans.linear((70, 300))),
    (isoinit.TruncatedNormal(0.1, 0.02, -1.0, 3.0), LINEAR),
    (isoinit.XavierNormal(gain=5 / 3), CONV),
    (isoinit.XavierUniform(gain=0.1), LINEAR),
    (isoinit.HeNormal(nonlinearity="gelu"), LINEAR),
    (isoinit.HeUniform(a=0.25, mode="fan_avg"), CONV),
    (isoinit.LeCunNormal(gain=1.2), LINEAR),
    (isoinit.LeCunUniform(), fans.linear((10, 24), 2, transposed=True)),
    (isoinit.LooksLinear(gain=0.9), fans.linear((24, 10), 3)),
    (isoinit.Orthogonal(gain=1.3), LINEAR),
    (isoinit.Orthogonal(), fans.linear((130, 170))),
    (isoinit.DeltaOrthogonal(gain=0.9), CONV),
    (isoinit.Sparse(density=0.4, gain=2.0), CONV),
    (isoinit.Sparse(density=0.4, pattern="random"), LINEAR),
    (isoinit.Sparse(connections=3), LINEAR),
    (isoinit.Sparse(pattern="block2"), LINEAR),
    (isoinit.Sparse(pattern="1:5"), LINEAR),
    (isoinit.SparseOrthogonal(density=0.3), fans.linear((24, 10))),
    (isoinit.ICNR(2), fans.conv((12, 3, 3, 3))),
    (isoinit.PriorBias(0.03), fans.vector((9,))),
    (isoinit.LogFrequencies((1.0, 2.0, 5.0)), fans.vector((3,))),
    (isoinit.DecayRates(), fans.linear((6, 16))),
    (isoinit.TimeSteps(), fans.vector((40,))),
    (isoinit.Variational(scale=0.2), LINEAR),
    (isoinit.Spherical(0.7, (2.0, 0.5, 1.0)), FEW),
    (isoinit.KinkBias(isoinit.Spherical(), "weight", FEW, (0.5, 0.0, 2.0), (1.0, 0.5, 4.0)), BIAS),
]
MODELS = ("U-Net", "LSTM language model", "torch's Transformer")


def digest(*parts):
    return blake2b(b"\0".join(parts), digest_size=12).hexdigest()


def bits(tensor):
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def rounded(data):
    """Numbers to ten digits: the last ones of a sum depend on the processor."""
    if isinstance(data, dict):
        return {key: rounded(item) for key, item in data.items()}
    if isinstance(data, list):
        return [rounded(item) for item in data]
    return float(f"{data:.9e}") if isinstance(data, float) else data


def plan_digest(plan):
    return digest(json.dumps(rounded(json.loads(plan.to_json())), sort_keys=True).encode())


def seeded(batch):
    """The same example each time: the zoo's own are drawn anew in each process."""
    numbers = np.random.default_rng(0)

    def other(tensor):
        if not tensor.is_floating_point():
            return tensor % 4
        return torch.from_numpy(numbers.random(tensor.shape) * 2 - 1).to(tensor.dtype)

    return tuple(map(other, batch)) if isinstance(batch, tuple) else other(batch)


def built(name):
    torch.manual_seed(0)
    build, batch, _ = ZOO[name]
    return build(), seeded(batch)


def zoo_plan(name):
    return plan_digest(isoinit.plan(*built(name)))


def method_plan(method):
    models = [built(name) for name in MODELS]
    plans = [isoinit.plan(model, batch, method=method) for model, batch in models]
    return digest(*[plan_digest(plan).encode() for plan in plans])


def filled(case, dtype):
    """The whole parameter, a part of it by rows and columns, and a run of it flattened."""
    initializer, layout = EACH[case]
    parts = [(), tuple(slice(size // 3, size) for size in layout.shape), slice(1, 3)]
    values = []
    for part in parts:
        size = np.empty(layout.shape)[part] if isinstance(part, tuple) else np.empty(2)
        out = torch.empty(size.shape, dtype=dtype)
        isoinit.fill_slice(out, initializer, "block.weight", layout.shape, part, 7, layout=layout)
        values.append(bits(out))
    return digest(*values)


def filled_model(name):
    model, batch = built(name)
    isoinit.init(model, batch, seed=3)
    return digest(*[bits(p) for p in model.parameters()])


def words():
    return digest(Stream(5, "a.weight").words(1000, 3000).tobytes())


def functional_values():
    torch.manual_seed(1)
    draws = ["uniform_", "normal_", "trunc_normal_", "xavier_uniform_", "xavier_normal_"]
    draws += ["kaiming_uniform_", "kaiming_normal_", "orthogonal_"]
    return digest(*[bits(getattr(functional, name)(torch.empty(20, 12))) for name in draws])


def converted():
    """Sparse weights, distributions and a draw of them."""
    layers = [nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)]
    model, x = nn.Sequential(*layers), torch.zeros(2, 16)
    plan = isoinit.plan(model, x)
    plan.apply(model, seed=0)
    sparse = isoinit.sparse.convert(nn.Sequential(*layers), density=0.3, seed=2)
    found = [bits(p) for p in sparse.parameters()]
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    isoinit.variational.convert(model, plan, seed=2)
    found += [bits(p) for p in model.parameters()]
    found += [bits(p) for p in isoinit.variational.sample(model, seed=4).parameters()]
    return digest(*found)


def checkpoint(folder):
    model, batch = built("LSTM language model")
    isoinit.write_checkpoint(isoinit.plan(model, batch), model, folder, seed=1)
    return digest(*[path.read_bytes() for path in sorted(folder.glob("*.safetensors"))])


METHODS = ("zero", "random", "xavier", "he", "lecun", "orthogonal", "sparse", "variational")
FOUND = {
    **{f"plan {name}": lambda name=name: zoo_plan(name) for name in ZOO},
    **{f"method {name}": lambda name=name: method_plan(name) for name in METHODS},
    **{
        f"fill {case} {initializer} {dtype}": lambda case=case, dtype=dtype: filled(case, dtype)
        for case, (initializer, _) in enumerate(EACH)
        for dtype in DTYPES
    },
    **{f"model {name}": lambda name=name: filled_model(name) for name in MODELS},
    "words": words,
    "functional": functional_values,
    "converted": converted,
}


def known():
    return json.loads(KNOWN.read_text())


@pytest.mark.parametrize("kind", ["plan", "method", "fill", "model", "words", "functional", "conv"])
def test_as_before(kind):
    before = known()
    names = [name for name in FOUND if name.startswith(kind)]
    assert names
    assert {name: FOUND[name]() for name in names} == {name: before[name] for name in names}


def test_a_checkpoint_is_as_before(tmp_path):
    assert checkpoint(tmp_path / "model") == known()["checkpoint"]


def test_nothing_is_left_out():
    assert {*FOUND, "checkpoint"} == known().keys()


def main():
    from tempfile import TemporaryDirectory

    found = {name: find() for name, find in FOUND.items()}
    with TemporaryDirectory() as folder:
        found["checkpoint"] = checkpoint(Path(folder) / "model")
    KNOWN.write_text(json.dumps(found, indent=0, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
