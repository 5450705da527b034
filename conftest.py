"""What pytest leaves out: the GPU's kernels without Triton, the callback without Lightning."""

import os
from importlib.util import find_spec

NEEDS = {
    "src/isoinit/_drawing/streams/triton.py": "triton",
    "src/isoinit/lightning.py": "pytorch_lightning",
}
collect_ignore = [path for path, package in NEEDS.items() if not find_spec(package)]
# What torch.compile writes needs no vector instructions here; trying them all takes ten seconds.
os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "0")
pytest_plugins = ["browser"]  # tests/browser.py: the fixture of that name
