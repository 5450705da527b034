# `make demo` and `make test` need Python >= 3.10 and nothing else: each makes .venv on first use
# and starts at once on the next.
PYTHON ?= python3
# Tests start many processes: each would compile all that it imports, which takes seconds, if Python were told
# not to write what it compiles.
export PYTHONDONTWRITEBYTECODE :=
VENV   := .venv
BIN    := $(VENV)/bin
LIBRARIES := .venv-libraries
# What is imported is compiled then; compiling all of torch and transformers takes half a minute.
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt

.PHONY: demo test lint format docs ablation bench bench-quick contest evidence peers families slow soak audits signal training transfer health tables pictures screenshots variational sparse libraries versions package package-smoke tagged clean
.DELETE_ON_ERROR:

demo: $(VENV)/demo.stamp
	$(BIN)/isoinit demo

# Two processes of one thread each: twice as fast as one of two on two processors.
test: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The documentation as a site, in site/: open site/index.html. Links and anchors are checked.
docs: $(VENV)/dev.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Seconds: the sdist and the wheel, in dist/, and whether the package index would take them.
package: $(VENV)/dev.stamp
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m twine check --strict dist/*

# Minutes, and 2 GB meanwhile: every command of the README, from the wheel in an empty environment.
package-smoke: package
	$(BIN)/python tests/installed.py dist/*.whl

# Whether the tag that a release is made of is the package's version.
tagged: $(VENV)/dev.stamp
	test "$(GITHUB_REF_NAME)" = "v$$($(BIN)/python -c 'import isoinit; print(isoinit.__version__)')"

bench: $(VENV)/dev.stamp peers
	$(BIN)/python -m benchmarks

# Under two minutes: the rows that users wait for; fails where one fell below half of its floor.
bench-quick: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks --quick

# What benchmarks, evidence and a test are compared with; without what these would bring along and do not need.
peers: $(VENV)/dev.stamp
	$(PIP) --no-deps bayesian-torch torchbnn sparsimony anyinit lsuv mup

# A quarter of an hour: networks of distributions beside their peers; writes docs/variational.md.
variational: $(VENV)/dev.stamp peers
	$(BIN)/python -m evidence.variational

# Ten minutes: networks with sparse weights beside dense ones and peers; writes docs/sparse.md.
sparse: $(VENV)/dev.stamp peers
	$(BIN)/python -m evidence.sparse

# The signal expected and measured, and in deep networks; writes docs/signal.md and docs/deep.md.
signal: $(VENV)/dev.stamp
	$(BIN)/python -m evidence.signal
	$(BIN)/python -m evidence.signal.deep

# Models broken on purpose, and what the check says of them; writes docs/health.md.
health: $(VENV)/dev.stamp
	$(BIN)/python -m evidence.health

# The printed tables of GPT-2 small as pictures, docs/pictures/*-gpt2.svg.
tables: $(VENV)/dev.stamp
	$(BIN)/python -m evidence.tables

# A minute: the pictures of the tutorial, from its own code, and the tree of docs/methods/index.md.
pictures: $(VENV)/dev.stamp
	$(BIN)/python -m evidence.tutorial
	$(BIN)/python -m evidence.tree

# Pages of a small GPT-2 in a browser, light, dark and on a phone: docs/pictures/page-*.png; needs Chromium.
screenshots: $(VENV)/dev.stamp
	$(BIN)/python -m evidence.screenshots

# Half an hour: what training says of each rule; writes its section of docs/rules.md. Started again after a
# break, it goes on where it stopped: remove .contest to begin anew, as after a change of a rule.
ablation: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m evidence.contest.ablation --rows .contest/rules.jsonl

# A quarter of an hour: small models trained from a plan and from their own recipe; docs/training.md.
training: $(VENV)/dev.stamp
	$(BIN)/python -m evidence.training

# At most twenty minutes on two cores: learning rates by width and depth, with and without a transfer; writes
# docs/transfer.md. Started again after a break, it goes on where it stopped: remove .transfer to begin anew.
transfer: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m evidence.transfer --rows .transfer/rows.jsonl

# Half an hour: a small model of each family of transformers; writes docs/families.md.
families: $(VENV)/dev.stamp
	$(BIN)/python -m evidence.families

# A quarter of an hour: an audit of a small model of each family of transformers; writes docs/audits.md.
audits: $(VENV)/dev.stamp
	$(BIN)/python -m evidence.audits

# One to two hours, and 6 GB for an environment of its own: whole libraries, checked and planned; writes
# docs/libraries.md. Started again after a break, it goes on where it stopped.
libraries: $(LIBRARIES)/made.stamp
	OMP_NUM_THREADS=1 $(LIBRARIES)/bin/python -m evidence.libraries --rows $(LIBRARIES)/rows.jsonl

# Half an hour an environment, and 6 GB while it is there: environments of old, middle and new packages, every verb and
# tests in each; writes docs/supported.md. It needs Python 3.10 to 3.13. Started again after a break, it goes on where
# it stopped; remove .versions to begin anew.
versions: $(VENV)/dev.stamp
	$(BIN)/python -m evidence.versions

# An hour on two cores: the plan beside its rivals, on the models that rules were tried on, which writes their section
# of docs/evidence.md, and on the last set of fresh ones, which is printed: what is published of it is of its first
# run. Started again after a break, it goes on where it stopped; remove .contest/ to begin anew.
contest: $(VENV)/dev.stamp peers
	OMP_NUM_THREADS=1 $(BIN)/python -m evidence.contest development second --rows .contest

# What is claimed of each method, tried: under twenty minutes on two cores; writes docs/evidence.md.
evidence: $(VENV)/dev.stamp
	$(BIN)/python -m evidence.claims

# What takes minutes: billions of values, 10⁸-sample Monte Carlo, dieharder (apt-get install dieharder).
slow: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m slow
	$(BIN)/python evidence/dieharder.py

# Under ten minutes: processes and threads at random, interrupted, killed, and given damaged files; says what was
# tried and what was lost.
soak: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m evidence.soak

clean:
	rm -rf $(VENV) $(LIBRARIES) .versions dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/demo.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[demo]'
	touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[dev]'
	touch $@ $(VENV)/demo.stamp

$(LIBRARIES)/made.stamp: pyproject.toml evidence/libraries/requirements.txt
	test -x $(LIBRARIES)/bin/python || $(PYTHON) -m venv $(LIBRARIES)
	$(LIBRARIES)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
	  -r evidence/libraries/requirements.txt -e .
	touch $@
