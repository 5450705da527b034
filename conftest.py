"""What pytest leaves out, and what makes it quick.

Left out are the GPU's kernels without Triton, and the callbacks without what they call.
"""

import gc
import os
from importlib.util import find_spec

from compiled import FLAGS  # tests/compiled.py

NEEDS = {
    "src/isoinit/_drawing/streams/triton.py": "triton",
    "src/isoinit/lightning.py": "pytorch_lightning",
    "src/isoinit/transformers.py": "transformers",
}
# Modules that import Keras themselves, and not in a function.
NEEDS |= {f"src/isoinit/keras/{name}.py": "keras" for name in ("module", "reading", "variables")}
collect_ignore = [path for path, package in NEEDS.items() if not find_spec(package)]
# A full collection walks all that is imported, in a third of a second: make a tenth of them.
gc.set_threshold(700, 10, 100)
# What torch.compile writes needs no vector instructions here; trying them all takes ten seconds.
os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "0")
# XLA compiles tiny programs for seconds, and they run once; set before JAX is imported.
os.environ.setdefault("XLA_FLAGS", FLAGS)
# Keras asks for TensorFlow otherwise, which is not installed; set before Keras is imported.
os.environ.setdefault("KERAS_BACKEND", "jax")
pytest_plugins = ["browser"]  # tests/browser.py: the fixture of that name
