.PHONY: api demo pictures recording docs test test-slow lint benchmark release

demo:
	@tools/venv.sh
	@tools/demo.sh

# The pictures of docs/pictures.md.
pictures:
	@tools/venv.sh
	@.venv/bin/python tools/pictures.py
	@! command -v dot >/dev/null || dot -Tsvg docs/images/shop.dot -o docs/images/shop-graph.svg

# The terminal in README.md, which shows the demonstration: docs/images/demo.svg.
recording:
	@tools/venv.sh recording
	@.venv/bin/python tools/recording.py

# The public names of the library: docs/api.txt.
api:
	@tools/venv.sh test,lint
	@.venv/bin/python tools/coroutines.py
	@.venv/bin/python tools/api.py

# The site, in site/: open site/index.html, no server is needed.
docs:
	@tools/servers.sh docs
	@tools/venv.sh docs
	@NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --quiet --strict

# One more than there are processors: many tests wait for others.
WORKERS = $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

test:
	@tools/servers.sh
	@tools/venv.sh test
	@.venv/bin/python -m coverage erase
	.venv/bin/python -m pytest -q -n $(WORKERS) -m "not slow" --cov --cov-report=
	.venv/bin/python tools/coverage_gate.py

test-slow:
	@tools/servers.sh slow
	@tools/venv.sh test,docs,release
	.venv/bin/python -m pytest -q -n auto -m slow

lint:
	@tools/venv.sh test,lint
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/basedpyright

# On a quiet machine; ARGS='--only copy --repetitions 1' measures a part, ARGS='--only scaling' what takes longest, ARGS=--help says the rest.
benchmark:
	@tools/servers.sh
	@tools/venv.sh test
	.venv/bin/python -m benchmarks.run $(ARGS)

# Of the commit that is checked out, into dist/; ARGS='--tests none' leaves out the longest step, ARGS=--help says the rest.
release:
	@tools/venv.sh release
	.venv/bin/python tools/release.py $(ARGS)
