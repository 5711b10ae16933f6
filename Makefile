# make demo    train, infer and grade the reference solution on both tasks
# make test    the tests
# make lint    ruff, and shellcheck where it is installed
# make bench   speed, as ratios against the usual way
# make figs    draw the handout's pictures; first train the runs that they need, in runs/figs
# make release the students' package, dist/vae-lab.zip
# make system  Debian packages that some tests need (as root)
# make clean   remove everything that the other targets made

SHELL = /bin/sh
# The first Python from 3.11 to 3.14 on the PATH; make PYTHON=... takes another.
PYTHON := $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null \
	&& echo $$python && break; done)
RUN = .venv/bin/python
SHELL_SCRIPTS = run_sweep.sh $(wildcard tests/*.sh)
REFERENCE = --submission ta/reference/submission.py
NEEDED = Python 3.11 to 3.14

.PHONY: demo test lint bench figs release system clean

demo: .venv/ready
	@echo "demo: trains the present $(or $(word 2,$(REFERENCE)),submission.py) on both tasks"
	rm -rf runs/demo
	$(RUN) train.py --task VAEwolabel $(REFERENCE) --epochs 10 --latent_dim 20 --batch_size 256 --lr 4e-3 --var 0.1 \
		--save_dir runs/demo/VAEwolabel
	$(RUN) inference.py --task VAEwolabel --checkpoint_path runs/demo/VAEwolabel/best.pth
	$(RUN) train.py --task Genwithlabel $(REFERENCE) --epochs 8 --latent_dim 20 --batch_size 256 --lr 4e-3 --var 0.06 \
		--save_dir runs/demo/Genwithlabel
	$(RUN) inference.py --task Genwithlabel --checkpoint_path runs/demo/Genwithlabel/best.pth
	$(RUN) grade.py --VAEwolabel_output_dir runs/demo/VAEwolabel/output \
		--Genwithlabel_output_dir runs/demo/Genwithlabel/output --out runs/demo/grade_result.json

test: .venv/ready-dev
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: .venv/ready-dev
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	@if command -v shellcheck >/dev/null; then shellcheck -x $(SHELL_SCRIPTS); \
	else echo "shellcheck is not installed, so the shell scripts are not checked: make system"; fi

bench: .venv/ready-dev
	$(RUN) -m benchmarks

figs: .venv/ready
	$(RUN) figs/draw_figs.py

release: .venv/ready
	$(RUN) -m ta release --out dist

system:
	apt-get update -q
	apt-get install -y -q bubblewrap chromium munge shellcheck slurm-wlm strace
	# gVisor, the strongest sandbox: not every distribution packages it
	apt-get install -y -q runsc || echo "runsc is not packaged here: the tests of --isolation gvisor will be skipped"

clean:
	rm -rf .venv runs dist .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment that works is kept, whoever made it; one that does not start is made anew.
.venv/ready: requirements.txt constraints.txt
	@if .venv/bin/python -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 14) else 9)' 2>/dev/null; then \
		.venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null; \
	elif [ $$? -eq 9 ]; then \
		echo "error: $(NEEDED) is needed, but .venv was made with another version: remove or rename it" >&2; exit 2; \
	elif [ -z "$(PYTHON)" ]; then \
		echo "error: $(NEEDED) is needed: install one, or name it: make PYTHON=..." >&2; exit 2; \
	else \
		echo "$(PYTHON) -m venv --clear .venv"; $(PYTHON) -m venv --clear .venv; \
	fi
	$(RUN) -m pip install --disable-pip-version-check -q -r requirements.txt -c constraints.txt
	touch $@

.venv/ready-dev: .venv/ready requirements-ta.txt requirements-dev.txt
	$(RUN) -m pip install --disable-pip-version-check -q -r requirements-dev.txt -c constraints.txt
	touch $@
