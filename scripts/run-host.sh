#!/usr/bin/env bash
# Runs the collector on this host in dry_run and tells where to look.
set -euo pipefail
cd "$(dirname "$0")/.."
export MEMGUARD_DIR=${MEMGUARD_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/memguard}
mkdir -p -m 0700 "$MEMGUARD_DIR"
cat <<EOT
MemGuard watches this host in dry_run: it repairs nothing.
  metrics   http://127.0.0.1:9464/metrics     (every process; findings are memguard_leak_*)
  events    below, as they come               (no line is good news)
  journal   bin/memguard journal --directory $MEMGUARD_DIR
  what it can see here: bin/memguard doctor
A leak is confirmed after hours, by design; 'make demo' shows one in a minute.
Ctrl-C ends it.
EOT
exec bin/otelcol-memguard --config examples/host/config.yaml
