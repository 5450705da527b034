"""Pipe the raw words of streams into dieharder (R. G. Brown's battery) and print what it finds.

    python evidence/dieharder.py [test numbers]

Three sequences: one stream; the first 1024 words of one parameter after another; and of one seed
after another. A p-value is uniform over 0 to 1 for a perfect generator. dieharder calls it WEAK
outside 0.005 to 0.995, which befalls a perfect generator in one of a hundred, and FAILED outside
1e-6 to 1 - 1e-6. So a few WEAK are as expected, and one FAILED is a finding, unless the test itself
is at fault: `dieharder -l` calls its opso, oqso and dna (5 to 7) "Suspect" and its sums (14) "Do Not
Use", and they are left out. A p-value near 1 that it combines from a handful (-p 5) means nothing:
NumPy's PCG64 gets 1.0 from dab_filltree so. The rest of the selection is what a few minutes allow.
"""

import itertools
import re
import shutil
import subprocess
import sys
import time
from collections import Counter

import numpy as np

from isoinit._drawing.streams import Stream

# Test number and options: tuples of n, and p values to make where 100 of them would take minutes.
TESTS = [
    *[(number, "") for number in (0, 1, 3, 4, 8, 9, 10, 13, 15, 100, 101, 102)],
    *[(2, "-p 30"), (17, "-p 10")],
    *[(200, f"-n {n} -p 50") for n in (2, 5, 8)],
    (201, "-n 3"),
    *[(202, "-n 3"), (202, "-n 5")],
    (203, "-n 5 -p 50"),
    *[(204, ""), (205, ""), (206, ""), (207, ""), (208, ""), (209, "")],
]


def one_stream():
    """The elements of one parameter."""
    for start in itertools.count(0, 2**20):
        yield Stream(0, "layer.weight").words(start, 2**20)


def many_parameters():
    """Names that differ by a number."""
    for first in itertools.count(0, 256):
        heads = (Stream(0, f"layers.{i}.weight") for i in range(first, first + 256))
        yield np.concatenate([stream.words(0, 1024) for stream in heads])


def many_seeds():
    """Seeds that follow each other."""
    for first in itertools.count(0, 256):
        heads = (Stream(seed, "layer.weight") for seed in range(first, first + 256))
        yield np.concatenate([stream.words(0, 1024) for stream in heads])


def dieharder(number, options, words):
    """The lines of one test, fed with words for as long as it reads them."""
    shown = "-D test_name -D ntuple -D tsamples -D psamples -D pvalues -D assessment -c |"
    command = f"dieharder -g 200 -d {number} {options} {shown}".split()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            for block in words:
                process.stdin.write(block)
        except BrokenPipeError:
            pass
        return process.stdout.read().decode().splitlines()


def main():
    """Run the tests given, or all; the exit status is 1 where one failed."""
    if shutil.which("dieharder") is None:
        sys.exit("dieharder is not installed: on Debian and Ubuntu, apt-get install dieharder")
    wanted = {int(number) for number in sys.argv[1:]} or {number for number, _ in TESTS}
    counts, begun = Counter(), time.monotonic()
    for sequence in (one_stream, many_parameters, many_seeds):
        words = sequence()
        for number, options in TESTS:
            if number not in wanted:
                continue
            since = time.monotonic()
            for line in dieharder(number, options, words):
                name, n, tsamples, psamples, p, verdict = (part.strip() for part in line.split("|"))
                counts[sequence.__name__, verdict] += 1
                seconds = time.monotonic() - since
                print(
                    f"{sequence.__name__:16} {name:22} {n:>3} {tsamples:>9} {psamples:>5} "
                    f"{p:>12} {verdict:7} {seconds:5.1f} s",
                    flush=True,
                )
    usage = subprocess.run("dieharder", capture_output=True, text=True, check=False).stdout
    version = re.search(r"version (\S+)", usage)
    print(f"dieharder {version[1] if version else '?'}, {time.monotonic() - begun:.0f} s")
    for sequence in (one_stream, many_parameters, many_seeds):
        name = sequence.__name__
        found = [f"{counts[name, verdict]} {verdict}" for verdict in ("PASSED", "WEAK", "FAILED")]
        print(f"{name:16} {', '.join(found)}")
    sys.exit(any(verdict == "FAILED" for _, verdict in counts))


if __name__ == "__main__":
    main()
