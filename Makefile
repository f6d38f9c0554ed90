# Two commands matter: `make demo` and `make test`. Each sets up what it needs in .venv, without root.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SOURCES := bridge edge_agent cloud_agent tests models

.PHONY: help setup demo test test-parts test-short test-whole check bench bench-place netlab chaos train openvino clean

help:
	@echo "make setup   .venv with everything for demo, test and check"
	@echo "make demo    the main job on recorded people: devices, bridge and cloud agent on the embedded broker"
	@echo "make test    all tests (those that need Mosquitto or libcoap skip without them)"
	@echo "make check   ruff, mypy strict, import-linter"
	@echo "make bench   figures of the data path, side by side (see docs/benchmarks.md)"
	@echo "make bench-place  where to compute: ours beside fixed rivals and an oracle, and with a cloud that fails; PLACE=\"models replay\""
	@echo "make netlab  rivals on emulated links, side by side, as root; SCENARIO=name runs one"
	@echo "make chaos   programs killed, cut off, out of disk: nothing accepted is lost; SEEDS=n FIRST=k (see tests/faults/campaign)"
	@echo "make train   rebuild models/activity from the packaged data set, in .venv-train"
	@echo "make openvino  the models on OpenVINO, in .venv-openvino: the same labels as the CPU's, and times"

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)

demo: setup
	$(BIN)/python -m bridge.demo

# Two halves side by side, for programs mostly wait: what is said of the parts, and what they cover, comes at the end.
PARTS := tests/unit tests/property
SHORT := tests/contract tests/interop tests/netlab tests/place tests/benchmarks
WHOLE := tests/integration tests/faults

test: setup
	@( $(MAKE) --no-print-directory test-parts; parts=$$?; $(MAKE) --no-print-directory test-short && exit $$parts ) \
		>.test-parts.log 2>&1 & beside=$$!; \
	$(MAKE) --no-print-directory test-whole; whole=$$?; \
	wait $$beside; beside=$$?; cat .test-parts.log; exit $$((beside | whole))

test-parts:
	$(BIN)/python -m pytest -q --cov --cov-report= $(PARTS)
	$(BIN)/coverage report --include='bridge/wire/*,bridge/link/*,bridge/place/*,bridge/batch/*' --fail-under=100 --show-missing --skip-covered

test-short:
	$(BIN)/python -m pytest -q $(SHORT)

test-whole:
	$(BIN)/python -m pytest -q $(WHOLE)

check: setup
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m tests.benchmarks.data_path $(BENCH) # BENCH=--quick, or names of rows

bench-place: setup
	$(BIN)/python -m tests.place $(PLACE) # PLACE="models replay real", or some of them

netlab: setup
	$(BIN)/python -m tests.netlab $(SCENARIO) $(NETLAB) # SCENARIO=name; NETLAB="--seeds 1 --messages 300"

chaos: setup
	$(BIN)/python -m tests.faults.campaign --seeds $(or $(SEEDS),100) --first $(or $(FIRST),1) $(CHAOS) # CHAOS="--resume --jobs 3"

train:
	$(PYTHON) -m venv .venv-train
	.venv-train/bin/python -m pip install --quiet -c models/activity/constraints.txt -r models/activity/requirements.txt
	.venv-train/bin/python -m pip install --quiet --no-deps seglearn==1.2.5
	.venv-train/bin/python models/activity/train.py

openvino:
	$(PYTHON) -m venv .venv-openvino
	.venv-openvino/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt onnxruntime-openvino==1.24.1 \
		aiocoap aiomqtt backports.zstd cbor2 iotcore msgspec mqtt5 numpy paho-mqtt pytest pytest-asyncio pytest-timeout trustme
	.venv-openvino/bin/python -m pytest -q -s tests/integration/test_openvino.py

clean:
	rm -rf $(VENV) demo-report bench-report place-report netlab-report chaos-report .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage .test-parts.log
