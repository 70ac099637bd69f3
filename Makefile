# Every target is a thin name for one command; `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
RECIPE ?= recipes/demo.yaml
RUNNER ?= DirectRunner
WORKDIR ?=
ARGS ?=
BEAM ?=

# LANG is also the shell's locale. It names a language only when it stands on make's command line, and then
# no child process may take it for a locale.
ifeq ($(origin LANG),command line)
LANGUAGE := --lang $(LANG)
unexport LANG
endif

PY := $(VENV)/bin/python
OPTIONS := $(if $(WORKDIR),--workdir $(WORKDIR)) $(ARGS)
BEAM_OPTIONS := --runner $(RUNNER) $(OPTIONS) $(if $(BEAM),-- $(BEAM))
READY := $(VENV)/.ready

.PHONY: help setup demo test lint bench vocab prune shards teacher-logits train-student evaluate report
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  variables: RECIPE=recipes/x.yaml LANG=hi RUNNER=DirectRunner|DataflowRunner WORKDIR=url"
	@echo "             ARGS=\"--set a.b=c\" BEAM=\"--beam_option=…\""

setup: $(READY) ## create .venv with everything that demo, tests and benchmarks need

$(READY): setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet -c constraints.txt torch
	@# setuptools warns of every editable install
	PYTHONWARNINGS=ignore $(PY) -m pip install --quiet -c constraints.txt -e '.[demo,dev]'
	@touch $@

demo: $(READY) ## about five minutes: train tiny teachers, merge them, show the report
	@$(PY) -m recipes.demo
	@$(MAKE) --no-print-directory vocab shards teacher-logits train-student evaluate report RECIPE=recipes/demo.yaml
	@$(PY) -m recipes.demo --result

test: $(READY) ## run the tests
	$(PY) -m pytest

lint: $(READY) ## check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(READY) ## measure what docs/results.md states (both sides of every ratio)
	$(PY) -m benchmarks.vocabulary
	$(PY) -m benchmarks.exactness
	$(PY) -m benchmarks.jobs shard memory workers finished
	$(PY) -m benchmarks.kills
	$(PY) -m benchmarks.teach_speed
	$(PY) -m benchmarks.student_step

vocab: $(READY) ## merge the teachers' vocabularies
	@$(PY) -m vocab build $(RECIPE) $(OPTIONS)

prune: $(READY) ## drop merged tokens that the shards never use (vocab.min_count)
	@$(PY) -m vocab prune $(RECIPE) $(OPTIONS)

shards: $(READY) ## cut the corpora into sequence shards [LANG=hi]
	@$(PY) -m pipeline shard $(RECIPE) $(LANGUAGE) $(BEAM_OPTIONS)

teacher-logits: $(READY) ## run the teachers once and store their top-k logits [LANG=hi]
	@$(PY) -m pipeline teach $(RECIPE) $(LANGUAGE) $(BEAM_OPTIONS)

train-student: $(READY) ## train the student on the stored logits
	@$(PY) -m student train $(RECIPE) $(OPTIONS)

evaluate: $(READY) ## score student, control and teachers on held-out text
	@$(PY) -m student evaluate $(RECIPE) $(OPTIONS)

report: $(READY) ## write report/index.html
	@$(PY) -m student report $(RECIPE) $(OPTIONS)
