"""Calls every verb once in the environment that runs it, and prints what became of each as JSON.

    python evidence/versions/smoke.py [VERB ...]

It needs isoinit and torch alone; what else is missing is told as missing. It takes under a minute.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = """torch numpy numba rich typer click safetensors filelock transformers jax keras flax
equinox dm-haiku optax triton pytorch-lightning""".split()
TRIED: dict[str, Callable[[Path], object]] = {}
Trial = Callable[[Path], object]


def trial(name: str) -> Callable[[Trial], Trial]:
    """Have a function be tried under a name; it gets an empty folder, and raises if it fails."""

    def keep(function: Trial) -> Trial:
        TRIED[name] = function
        return function

    return keep


def network() -> Any:
    """A small model with most kinds of layers."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
        nn.Linear(8 * 36, 24), nn.LayerNorm(24), nn.GELU(), nn.Linear(24, 5),
    )  # fmt: skip


def images() -> Any:
    """A batch for it."""
    import torch

    return torch.randn(16, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def planned() -> Any:
    """Its plan."""
    import isoinit

    return isoinit.plan(network(), images())


def same(left: Any, right: Any) -> None:
    """Raise unless two models have the same bits."""
    import torch

    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


@trial("torch's private names")
def private(_: Path) -> None:
    """Each is there and works."""
    from isoinit._system import private, probes

    faults = [private.fault_of(name) for name in private.FEATURES]
    faults += [probes.fault_of(name) for name in probes.MEMBERS]
    assert not any(faults), [fault for fault in faults if fault]


@trial("bits")
def bits(_: Path) -> str:
    """A digest of a plan's values, and of every initializer in three types."""
    import torch

    import isoinit

    digest = blake2b(digest_size=8)
    for tensor in planned().apply(network(), 7).state_dict().values():
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    for name in sorted(isoinit.initializers.__all__):
        kind = getattr(isoinit, name, None)
        for dtype in (torch.float64, torch.float32, torch.bfloat16):
            try:
                one = isoinit.fill_slice(
                    torch.empty(24, 16, dtype=dtype), kind(), "weight", (24, 16), (), seed=5
                )
            except (TypeError, ValueError):  # not one that is made of nothing, or for a matrix
                continue
            digest.update(one.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@trial("plan")
def plan(folder: Path) -> None:
    """Made, saved, read and shown."""
    import isoinit

    made = planned()
    made.save(folder / "plan.json")
    assert isoinit.Plan.load(folder / "plan.json").digest == made.digest
    assert "4.weight" in str(made)
    made.to_html(folder / "plan.html")


@trial("apply, init")
def apply(_: Path) -> None:
    """Twice the same."""
    import isoinit

    model = network()
    isoinit.init(model, images(), seed=7)
    same(model.state_dict(), planned().apply(network(), 7).state_dict())


@trial("check")
def check(_: Path) -> None:
    """A model that is healthy, and one that is not."""
    import torch

    import isoinit

    model = planned().apply(network(), 7)
    assert isoinit.check(model, images()).ok
    torch.nn.init.zeros_(model[4].weight)
    assert isoinit.check(model, images()).findings


@trial("compare")
def compare(_: Path) -> None:
    """Two methods."""
    import isoinit

    found = isoinit.compare(network, images(), methods=["he", "orthogonal"])
    assert "orthogonal" in str(found)


@trial("audit")
def audit(_: Path) -> None:
    """A weight that its constructor leaves unwritten."""
    import torch

    import isoinit

    class Unwritten(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.empty(4, 4))

        def forward(self, x: Any) -> Any:
            return x @ self.weight

    assert isoinit.audit(Unwritten).findings
    assert not isoinit.audit(network).findings


@trial("transfer")
def transfer(_: Path) -> None:
    """Groups of AdamW for a wider model."""
    import torch

    import isoinit

    def build(width: int) -> Any:
        return torch.nn.Sequential(
            torch.nn.Linear(8, width), torch.nn.ReLU(), torch.nn.Linear(width, 4)
        )

    found = isoinit.transfer(build, 64, torch.zeros(2, 8), base=16)
    model = found.plan.apply(build(64), 0)
    torch.optim.AdamW(found.groups(model, lr=1e-3))


@trial("coordinates")
def coordinates(_: Path) -> None:
    """Two widths."""
    import torch

    import isoinit

    def build(width: int) -> Any:
        return torch.nn.Sequential(
            torch.nn.Linear(8, width), torch.nn.ReLU(), torch.nn.Linear(width, 4)
        )

    batch = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    assert isoinit.coordinates(build, (16, 32, 64), batch=batch)["2"] is not None


@trial("checkpoint: safetensors")
def safetensors(folder: Path) -> None:
    """Written, verified, and read by the library."""
    from safetensors.torch import load_file

    import isoinit

    isoinit.write_checkpoint(planned(), network(), folder / "c", seed=7)
    assert isoinit.verify_checkpoint(folder / "c").ok
    same(load_file(folder / "c" / "model.safetensors"), planned().apply(network(), 7).state_dict())


@trial("checkpoint: DCP")
def dcp(folder: Path) -> None:
    """Written, verified, and read by torch."""
    import torch
    import torch.distributed.checkpoint as dcp

    import isoinit

    isoinit.write_checkpoint(planned(), network(), folder / "c", seed=7, format="dcp")
    assert isoinit.verify_checkpoint(folder / "c").ok
    expected = planned().apply(network(), 7).state_dict()
    state = {name: torch.zeros_like(tensor) for name, tensor in expected.items()}
    dcp.load(state, checkpoint_id=folder / "c")
    same(state, expected)


@trial("deferred")
def deferred(_: Path) -> None:
    """Only the plan fills."""
    import isoinit

    with isoinit.deferred():
        model = network()
    same(planned().apply(model, 7).state_dict(), planned().apply(network(), 7).state_dict())


@trial("FSDP2 on two ranks")
def fsdp(folder: Path) -> None:
    """Sharded from the meta device, over gloo."""
    import torch

    torch.multiprocessing.spawn(_rank, (str(folder),), nprocs=2)


def _rank(rank: int, folder: str) -> None:
    import torch
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    with torch.device("meta"):
        model = network()
    mesh = init_device_mesh("cpu", (2,))
    for layer in (model[0], model[4], model):
        fully_shard(layer, mesh=mesh)
    planned().apply(model, 7)
    expected = planned().apply(network(), 7)
    for (name, part), whole in zip(model.named_parameters(), expected.parameters(), strict=True):
        assert torch.equal(part.full_tensor(), whole), name
    dist.destroy_process_group()


@trial("sparse")
def sparse(_: Path) -> None:
    """A step of training."""
    import isoinit.sparse

    model = isoinit.sparse.convert(network(), density=0.25)
    isoinit.init(model, images(), seed=7)
    model(images()).square().sum().backward()


@trial("variational")
def variational(_: Path) -> None:
    """A step of training, and predictions."""
    import isoinit.variational

    model = isoinit.variational.convert(network())
    isoinit.init(model, images(), seed=7)
    model(images()).square().sum().backward()


@trial("jax")
def jax(_: Path) -> None:
    """A plan of a function, filled."""
    import jax.numpy as jnp
    import numpy as np

    import isoinit
    import isoinit.jax

    def forward(params: Any, x: Any) -> Any:
        return jnp.tanh(x @ params["w"]) @ params["v"]

    shapes = {"w": jnp.zeros((8, 16)), "v": jnp.zeros((16, 4))}
    made = isoinit.jax.plan(forward, shapes, jnp.zeros((2, 8)))
    filled = made.fill(shapes, 7)
    assert np.isfinite(np.asarray(filled["w"])).all()
    assert made["w"].role != "unknown"


@trial("keras")
def keras(_: Path) -> None:
    """A model of Keras under JAX."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras
    import numpy as np

    import isoinit.keras

    model = keras.Sequential([keras.layers.Dense(8, activation="relu"), keras.layers.Dense(2)])
    model.build((None, 4))
    isoinit.keras.init(model, np.zeros((2, 4), "f4"), seed=7)


@trial("transformers")
def transformers(_: Path) -> None:
    """A small GPT-2, planned on the meta device."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    import isoinit

    sizes = {"n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
    config = GPT2Config(vocab_size=50, bos_token_id=1, eos_token_id=1, **sizes)
    with torch.device("meta"):
        model = GPT2LMHeadModel(config)
    made = isoinit.init(model, {"input_ids": torch.zeros(1, 8, dtype=torch.long)}, seed=7)
    assert made["transformer.wte.weight"].role != "unknown"
    assert model.lm_head.weight is model.transformer.wte.weight


@trial("command line")
def command_line(folder: Path) -> None:
    """Flags, files and statuses."""
    (folder / "m.py").write_text(
        "import torch\n\ndef build():\n    return torch.nn.Linear(8, 4), torch.zeros(2, 8)\n"
    )

    def run(*words: str) -> tuple[int, str]:
        code = "from isoinit.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=folder, capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr

    status, said = run("plan", "m.py:build", "--html", "p.html", "--save", "p.json", "--seed", "3")
    assert status == 0, said
    assert (folder / "p.html").is_file()
    assert (folder / "p.json").is_file()
    for words in (["--help"], ["--version"], ["check", "--help"], ["rules"]):
        status, said = run(*words)
        assert status == 0, (words, said)
    status, said = run("plan", "m.py:nothing")
    assert status == 2, said


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def main() -> None:
    """Try what is asked for, or everything."""
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)
    said: dict[str, Any] = {"python": platform.python_version(), "faults": {}, "seconds": {}}
    said["packages"] = {name: found for name in PACKAGES if (found := _version(name))}
    for name in sys.argv[1:] or TRIED:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                found, fault = TRIED[name](Path(folder)), ""
            except Exception as error:  # whatever it is, it is what became of the verb
                found, fault = None, _words(error)
        said["faults"][name] = fault
        said["seconds"][name] = round(time.perf_counter() - start, 1)
        if name == "bits":
            said["bits"] = found
    print(json.dumps(said))


def _words(error: Exception) -> str:
    if os.environ.get("ISOINIT_TRACEBACK"):
        traceback.print_exception(error)
    if isinstance(error, ModuleNotFoundError):
        return f"missing: {error.name}"
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"[:300]


if __name__ == "__main__":
    main()
