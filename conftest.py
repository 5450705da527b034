"""What pytest leaves out: the GPU's kernels without Triton, the callback without Lightning."""

from importlib.util import find_spec

NEEDS = {
    "src/isoinit/_drawing/streams/triton.py": "triton",
    "src/isoinit/lightning.py": "pytorch_lightning",
}
collect_ignore = [path for path, package in NEEDS.items() if not find_spec(package)]
pytest_plugins = ["browser"]  # tests/browser.py: the fixture of that name
