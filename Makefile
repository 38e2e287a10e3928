# Each target does its own set-up; what is there already is skipped.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup build plugin demo test hour soak lint deny fuzz bench bench-t0 bench-gate bench-cost bench-tokens bench-offload bench-load bench-cameras clean

ENV := source setup/env.sh &&
MSAO := target/release/msao
CARGO_FUZZ := 0.13.2

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 14

setup: ## system packages, ONNX Runtime, nats-server, sample videos
	@setup/setup.sh

build: setup ## the msao program and the GStreamer plugin, in target/release
	cargo build --release -p pipeline -p elements

demo: build ## a street video, captioned as it plays; VIDEO=path for another, SCENE=rig for sound and motion, too, SCENE=rig4 for four cameras
	@$(if $(filter rig,$(SCENE)),setup/setup.sh rig)
	@$(ENV) $(MSAO) demo $(if $(SCENE),--scene $(SCENE)) $(if $(VIDEO),--video "$(VIDEO)")

test: setup ## all tests; fetches the Python subscriber's packages, a server of language models and Chromium once
	examples/python/setup.sh
	setup/setup.sh llama
	setup/setup.sh browser
	$(ENV) cargo test --workspace

hour: setup ## an hour of stream through all elements, as fast as it goes: memory must stay what it was
	$(ENV) cargo test -p elements --test hour -- --ignored --nocapture

soak: setup ## faults of all kinds, and a judge of what was acknowledged; SEEDS= how many (20), SEED= the first, SECONDS= of each
	$(ENV) cargo run -q -p soak -- run --seeds $(or $(SEEDS),20) --seed $(or $(SEED),1) --seconds $(or $(SECONDS),20)

lint: setup ## formatting and clippy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features -- -D warnings

deny: ## licences, sources and known faults of all dependencies; CHECKS="licenses bans sources" needs no advisory database
	setup/setup.sh deny
	.cache/bin/cargo-deny check $(CHECKS)

# Inputs that libFuzzer finds go to .cache/fuzz, those that break a target to fuzz/artifacts.
fuzz: setup ## what reads bytes from outside, on bytes that libFuzzer makes up; TARGET=features for one, SECONDS=60 for each
	test -x .cache/bin/cargo-fuzz || cargo install cargo-fuzz --version $(CARGO_FUZZ) --locked --root .cache
	for target in $(or $(TARGET),$(notdir $(wildcard fuzz/corpus/*))); do mkdir -p ".cache/fuzz/$$target" && \
		PATH="$$PWD/.cache/bin:$$PATH" cargo +nightly fuzz run --features libfuzzer --target-dir target/fuzz "$$target" ".cache/fuzz/$$target" "fuzz/corpus/$$target" -- \
		-max_total_time=$(or $(SECONDS),60) -timeout=10 -rss_limit_mb=2048 -max_len=16384 || exit; done

bench: build bench-t0 bench-gate bench-tokens bench-cost bench-offload bench-load bench-cameras ## timings of each stage on this machine, and what MAS finds, keeps and costs
	$(ENV) cargo build --release --workspace --examples
	$(ENV) target/release/examples/t0
	mkdir -p .cache/frames
	gst-launch-1.0 -q filesrc location=.cache/media/vtest.avi ! decodebin ! videoconvert ! videorate ! \
		video/x-raw,framerate=1/1 ! jpegenc ! multifilesink location=.cache/frames/%03d.jpg
	$(ENV) target/release/examples/latency --runs 80 --edge testdata/models/msao-edge --cloud testdata/models/msao-cloud .cache/frames/*.jpg
	$(ENV) target/release/examples/timings .cache/media/vtest.avi testdata/models/msao-edge | tail -n 3

bench-t0: setup ## T0 of a frame beside a plain read of its luma plane, at 720p and 1080p; takes 1 GiB of memory
	$(ENV) cargo bench -p mas --bench t0

bench-gate: setup ## MAS against other ways to choose frames, on labelled clips
	bench/setup.sh
	cargo build --release -p elements --example gate
	$(ENV) .cache/bench-venv/bin/python bench/gate.py --media .cache/media --work .cache/gate \
		--program target/release/examples/gate --model testdata/models/msao-edge

bench-cost: setup ## what MAS costs: share of time and operations, cameras a core
	bench/setup.sh
	cargo build --release -p elements --example cost
	$(ENV) .cache/bench-venv/bin/python bench/cost.py --media .cache/media --work .cache/cost \
		--program target/release/examples/cost --edge testdata/models/msao-edge --cloud testdata/models/msao-cloud

bench-tokens: setup ## which tokens MAS keeps, and beta, against other choices; FLICKR=, DAQUAR=, SOUNDS= for more data
	cargo build --release -p mllm --example evaluate
	$(ENV) bench/tokens.sh

bench-offload: build ## MSAO against cloud only, edge only, layer split and others, on six links; QUICK=1 for a short one
	$(ENV) bench/offload.sh $(if $(QUICK),--quick)

bench-load: build ## windows a second from edge to broker to worker, against JetStream alone; QUICK=1 for a short one, WINDOWS=1000000 for memory
	$(ENV) $(MSAO) bench load $(if $(QUICK),--quick) $(if $(WINDOWS),--windows $(WINDOWS))

bench-cameras: build ## CPU time of a camera's pipeline with and without our elements at 720p30 and 1080p30, cameras a core
	$(ENV) $(MSAO) bench cameras

clean: ## everything that was built or fetched
	rm -rf target .cache
