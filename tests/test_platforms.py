"""Where something is missing that Linux has: what works all the same, and what is refused.

Each process lacks several things at once, for each imports torch. What was run and what was only
simulated stands in docs/platforms.md.
"""

import re
from pathlib import Path

import pytest
from torch.utils import backend_registration

from absences import BUILD, NO_DISTRIBUTED, READ_ONLY, WINDOWS, WORK, bits_here, run

NAMES = {
    "BUILD": BUILD,
    "TARGET": "net.py",
    "PLAN": "Plan.json",
    "LAYOUTS": ["safetensors", "dcp"],
    "FOLDS": False,
    "METHOD": "auto",
}
NOWHERE = {"HOME": None, "USER": None, "LOGNAME": None, "XDG_CACHE_HOME": None}


def worked(done, encoding="utf-8"):
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode(encoding)


def test_without_what_windows_lacks(tmp_path):
    """And under `python -O`, without a home, with output in an encoding that has no arrows."""
    given = {**NAMES, "TARGET": "c:\\models\\net.py", "PLAN": "PLAN.JSON", "FOLDS": True}
    env = {**NOWHERE, "PYTHONUTF8": "0", "PYTHONIOENCODING": "cp1252"}
    done = run(WINDOWS + WORK, tmp_path, ("-O",), given, **env)
    said = worked(done, "cp1252")
    assert f"bits {bits_here()}" in said
    assert "left []" in said  # no lock's file
    assert "-------" in said
    assert not list(tmp_path.rglob("*.partial"))


def test_without_a_compiler(tmp_path):
    """And isolated from the environment's PYTHON*, in the locale C, without torch.distributed.

    Files are read and written as UTF-8 whatever the locale: isoinit opens none by its encoding.
    """
    code = NO_DISTRIBUTED + WORK.replace("bits =", REFUSED + "bits =")
    given = {**NAMES, "LAYOUTS": ["safetensors"]}
    done = run(code, tmp_path, FLAGS, given, NUMBA_DISABLE_JIT="1", LC_ALL="C")
    said = worked(done, "ascii")
    assert f"bits {bits_here()}" in said
    assert b"NUMBA_DISABLE_JIT is set" in done.stderr
    assert b"EncodingWarning" in done.stderr  # of torch's, or of what is executed here
    assert not re.search(rb"src.isoinit.*EncodingWarning", done.stderr)
    assert said.count("has no torch.distributed") == 2


FLAGS = ("-I", "-X", "utf8=0", "-X", "warn_default_encoding")
REFUSED = """
os.mkdir("dcp")
open("dcp/.metadata", "w").close()
for call in (
    lambda: isoinit.write_checkpoint(plan, model, "other", 0, format="dcp"),
    lambda: isoinit.verify_checkpoint("dcp", plan, 0),
):
    try:
        call()
    except isoinit.IsoinitError as error:
        print(error)
"""


def test_where_nothing_but_one_folder_can_be_written(tmp_path):
    """No home, no cache beside the code or elsewhere: kernels are compiled anew; it warns once."""
    (tmp_path / "tmp").mkdir()
    env = {**NOWHERE, "TMPDIR": str(tmp_path / "tmp"), "NUMBA_CACHE_DIR": "/dev/null/cache"}
    # Of this method few kernels are compiled.
    done = run(READ_ONLY + WORK, tmp_path, (), {**NAMES, "METHOD": "he"}, **env)
    assert f"bits {bits_here('he')}" in worked(done)
    assert done.stderr.count(b"Set NUMBA_CACHE_DIR to a writable folder") == 1


def test_without_a_folder_for_temporary_files_torch_cannot_be_used(tmp_path):
    code = "import isoinit, torch\nisoinit.plan(torch.nn.Linear(2, 2), torch.zeros(1, 2))"
    done = run(READ_ONLY + code, tmp_path, TMPDIR=None, TEMP=None, TMP=None)
    assert b"Set the environment variable TMPDIR" in done.stderr.splitlines()[-1]


def test_a_big_endian_processor_is_refused_at_once(tmp_path):
    done = run("sys.byteorder = 'big'\nimport isoinit", tmp_path)
    said = done.stderr.splitlines()[-1].decode()
    assert said.startswith("ImportError: isoinit runs on little-endian processors only")
    assert "load it on this one" in said


SLIM = """
sys.path.insert(0, TESTS)
import torch
import isoinit, slim_device
from torch import nn

library = slim_device.register()


def build(width=64):
    torch.manual_seed(0)
    first, last = nn.Linear(32, width), nn.Linear(width, 4)
    return nn.Sequential(first, nn.LayerNorm(width), nn.Dropout(), nn.ReLU(), last)


here, batch = build(), torch.randn(16, 32, generator=torch.Generator().manual_seed(1))
there, moved = build().to("slim"), batch.to("slim")
try:
    moved.double()
except TypeError as error:
    print(error)
plan = isoinit.plan(here, batch)
slim_device.seeds[:] = [17]
print("plan", isoinit.plan(there, moved).digest == plan.digest)
plan.apply(here, seed=0), plan.apply(there, seed=0)
print("apply", all(map(torch.equal, [p.cpu() for p in there.parameters()], here.parameters())))
print("fingerprint", isoinit.fingerprint(there) == isoinit.fingerprint(here))
here.eval(), there.eval()
both = [isoinit.check(m, x, lr=1e-3, jacobian=True) for m, x in ((here, batch), (there, moved))]
print("check", len({tuple(finding.name for finding in health.findings) for health in both}) == 1)
found = isoinit.compare(lambda: build().to("slim"), moved, ["default", "plan"], 2, seeds=range(1))
print("compare", found.complete)
print("calibrate", isoinit.plan(there, moved).calibrate(there, moved) is not None)
options = {"batch": moved, "steps": 2}
moves = isoinit.coordinates(lambda n: build(n).to("slim"), (16, 32, 64), **options)
print("coordinates", moves is not None)
print("recipe", len(isoinit.plan(there, moved, recipe="own")) == len(plan))
with isoinit.deferred():
    late = nn.Linear(8, 8, device="slim")
print("deferred", isoinit.plan(late, moved[:, :8]).apply(late, 0) is late)
isoinit.write_checkpoint(plan, there, FOLDER + "/out", 0)
print("checkpoint", isoinit.verify_checkpoint(FOLDER + "/out").ok)
print("generator", slim_device.seeds == [17])
"""


def test_on_a_device_without_float64(tmp_path):
    """As Apple's GPUs are: what isoinit widens to measure it is widened on the processor."""
    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this torch takes no device that is written in Python")
    done = run(SLIM, tmp_path, (), {"TESTS": str(Path(__file__).parent)})
    first, *answers = worked(done).splitlines()
    assert "has none" in first
    assert len(answers) == 11
    assert [answer for answer in answers if not answer.endswith(" True")] == []
