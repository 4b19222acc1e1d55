# Few verbs, one line each. `.venv` is made by whichever comes first.
PYTHON ?= python3
BIN := .venv/bin
DOCKER ?= docker
IMAGE ?= ecs-runner-sidecar

.PHONY: demo compose test check soak bench image lock docs clean
demo: .venv/ready ; @$(BIN)/python -m local.demo $(if $(STOP),--stop=$(STOP))
# With FAIL=1 the job of the story fails, and so does the story.
compose: ; @trap : INT; $(DOCKER) compose up --build --exit-code-from stand-ins; code=$$?; [ $$code = 0 ] || $(DOCKER) compose logs runner; $(DOCKER) compose down --volumes --timeout 0; exit $$code
test: .venv/ready ; @$(BIN)/coverage erase && $(BIN)/coverage run -m pytest $(ARGS) && $(BIN)/coverage combine -q && $(BIN)/coverage report
check: .venv/ready ; @$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy --platform linux && $(BIN)/mypy --platform win32 && $(BIN)/lint-imports
soak: .venv/ready ; @$(BIN)/python -m tests.soak $(ARGS)
bench: .venv/ready ; @$(BIN)/python -m bench
image: ; @for target in runner dind; do $(DOCKER) buildx build --load --file images/ubuntu/Dockerfile --target $$target --tag $(IMAGE):$$target $(ARGS) . || exit; done
docs: .venv/ready ; @$(BIN)/python -m docs
clean: ; rm -rf .venv .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache build dist

.venv/ready: requirements/dev.txt pyproject.toml
	@PYTHON="$(PYTHON)" requirements/venv .venv
	@touch $@

# Pins anew what pyproject.toml asks for; needs uv.
lock:
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml -o requirements/runtime.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml --group dev -c requirements/runtime.txt -o requirements/dev.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --group local -c requirements/dev.txt -o requirements/local.txt
	printf 'hatchling\n' | uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -c requirements/dev.txt -o requirements/build.txt -
	printf '%s\n' awscli boto3 aiobotocore | uv pip compile -q --universal --python-version 3.13 --generate-hashes --no-header --no-annotate -c requirements/dev.txt -o requirements/clients.txt -
