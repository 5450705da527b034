"""What pytest leaves out: the GPU's kernels, where Triton is not installed."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("triton") else ["src/isoinit/random/triton.py"]
