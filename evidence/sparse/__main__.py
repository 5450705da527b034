"""Networks with sparse weights beside dense ones and their peers; writes docs/sparse.md.

    python -m evidence.sparse [signal] [digits] [width] [--sweep]

`--sweep` chooses settings on validation data (some minutes) and writes nothing. The peer `sparsimony`
is installed by `make peers`.
"""

from __future__ import annotations

import argparse

from evidence.page import DOCS, write
from evidence.sparse import digits, signal, width

PAGE = DOCS / "sparse.md"
TOPICS = {"signal": signal, "digits": digits, "width": width}
HEAD = """# Networks with sparse weights, measured

Written by `python -m evidence.sparse`. This page measures signal, accuracy, time and memory of sparse
networks, compared with dense networks and with other libraries.

The training settings were chosen on validation data, which were split from the training data
(`--sweep`), and never on test data. Both sides of a comparison ran in the same run on the same
processors. Memory is the maximum resident memory of a separate process, minus the memory before
the network was built. [The benchmarks](../benchmarks/results.md) have times of single layers.
"""


def main() -> None:
    """Run the topics that are asked for, and write the page if all ran."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("topics", nargs="*", choices=[[], *TOPICS], default=[])
    parser.add_argument("--sweep", action="store_true")
    arguments = parser.parse_args()
    if arguments.sweep:
        digits.sweep()
        return
    parts = [TOPICS[name].report() for name in arguments.topics or TOPICS]
    if not arguments.topics:
        write(PAGE, "\n".join([HEAD, *(line for part in parts for line in part)]))


if __name__ == "__main__":
    main()
