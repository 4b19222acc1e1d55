# `.venv` is made by the first target that needs it.
PYTHON ?= python3
BIN := .venv/bin
DOCKER ?= docker
IMAGE ?= ecs-runner-sidecar

.PHONY: demo compose test test-windows check soak bench image lock docs clean

# A whole life on stand-ins. STOP=idle, busy or crash shows another ending. LAUNCH=webhook shows how
# queued jobs become tasks: JOBS=20 of them; END=no-capacity, pull or cancel is what goes wrong.
# LAUNCH=action shows how a step of a workflow starts runners. LAUNCH=ec2 shows how a queued job
# becomes a machine: END=no-capacity or hang. LAUNCH=api shows the API, and another account. ROLES=1
# shows how each job has its own role.
demo: .venv/ready
	@$(BIN)/python -m local.demo $(if $(STOP),--stop=$(STOP)) $(if $(LAUNCH),--launch=$(LAUNCH)) \
	    $(if $(JOBS),--jobs=$(JOBS)) $(if $(END),--end=$(END)) $(if $(ROLES),--roles)

# The same with the real image in containers. With FAIL=1 the job fails, and so does the target.
compose:
	@trap : INT; \
	$(DOCKER) compose up --build --exit-code-from stand-ins; code=$$?; \
	[ $$code = 0 ] || $(DOCKER) compose logs runner; \
	$(DOCKER) compose down --volumes --timeout 0; \
	exit $$code

test: .venv/ready
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(ARGS)
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report

# Needs root, debootstrap and gcc-mingw-w64-x86-64; builds wine and two Windows Pythons, once.
test-windows: .venv/ready
	@$(BIN)/python -m tests.windows.toolchain
	@REQUIRE_WINDOWS=1 WINDOWS_TESTS=all $(BIN)/pytest -n1 tests/windows $(ARGS)

check: .venv/ready
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --platform linux
	@$(BIN)/mypy --platform win32
	@$(BIN)/lint-imports

soak: .venv/ready
	@$(BIN)/python -m tests.storms
	@$(BIN)/python -m tests.storms.real
	@$(BIN)/python -m tests.soak $(ARGS)
	@FAILURES=all $(BIN)/pytest -q tests/failures

bench: .venv/ready
	@$(BIN)/python -m bench

image:
	@for target in runner dind; do \
		$(DOCKER) buildx build --load --file images/ubuntu/Dockerfile \
			--target $$target --tag $(IMAGE):$$target $(ARGS) . || exit; \
	done

docs: .venv/ready
	@$(BIN)/python -m docs

clean:
	rm -rf .venv .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache build dist

.venv/ready: requirements/dev.txt pyproject.toml
	@PYTHON="$(PYTHON)" requirements/venv .venv
	@touch $@

# Pin again what pyproject.toml asks for; needs uv.
COMPILE = uv pip compile -q --universal --generate-hashes --no-header --no-annotate
lock::
	$(COMPILE) --python-version 3.11 pyproject.toml -o requirements/runtime.txt
	$(COMPILE) --python-version 3.11 pyproject.toml --group dev \
		-c requirements/runtime.txt -o requirements/dev.txt
	$(COMPILE) --python-version 3.11 --group local \
		-c requirements/dev.txt -o requirements/local.txt
	printf 'hatchling\n' | $(COMPILE) --python-version 3.11 \
		-c requirements/dev.txt -o requirements/build.txt -
	printf '%s\n' awscli boto3 aiobotocore | $(COMPILE) --python-version 3.13 \
		-c requirements/dev.txt -o requirements/clients.txt -

# The Lambda functions, and the AWS that their tests are deployed to.
lock::
	printf '%s\n' aiobotocore aiohttp pydantic-settings 'pyjwt[crypto]' stamina structlog tzdata \
		| $(COMPILE) --python-version 3.11 \
		-c requirements/runtime.txt -o launcher/deploy/requirements.txt -
	printf 'ministack\n' | $(COMPILE) --python-version 3.11 -o requirements/ministack.txt -

# The Windows Pythons. The agent has no colorama there, so no package finds one in a test either.
lock::
	$(subst --universal,--python-platform x86_64-pc-windows-msvc,$(COMPILE)) \
		--python-version 3.11 pyproject.toml --group windows --no-emit-package colorama \
		-c requirements/dev.txt -o requirements/windows.txt
