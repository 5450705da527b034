"""Networks of distributions beside their peers; writes docs/variational.md.

    python -m evidence.variational [signal] [digits] [uci] [between] [--sweep]

`--sweep` chooses settings on validation data (a quarter of an hour) and writes nothing. The peers are
installed by `make peers`.
"""

from __future__ import annotations

import argparse

import torch
from evidence.page import DOCS, write
from evidence.variational import between, digits, signal, uci

PAGE = DOCS / "variational.md"
TOPICS = {"signal": signal, "digits": digits, "uci": uci, "between": between}
HEAD = """# Networks of distributions, measured

Written by `python -m evidence.variational`. This page measures signal, accuracy and calibration
of networks whose weights are distributions, compared with plain networks and with other
libraries.

Every setting was chosen on validation data, which were split from the training data (`--sweep`),
and never on test data. The other libraries ran in the same run, with the settings of their own
documentation.
"""


def main() -> None:
    """Run the topics that are asked for, and write the page if all ran."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("topics", nargs="*", choices=[[], *TOPICS], default=[])
    parser.add_argument("--sweep", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # such small products are slower on two
    names = arguments.topics or list(TOPICS)
    if arguments.sweep:
        for name in names:
            if hasattr(TOPICS[name], "sweep"):
                TOPICS[name].sweep()
        return
    parts = [TOPICS[name].report() for name in names]
    if not arguments.topics:
        write(PAGE, "\n".join([HEAD, *(line for part in parts for line in part)]) + "\n")


if __name__ == "__main__":
    main()
