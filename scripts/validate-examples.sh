#!/usr/bin/env bash
# Validates every YAML in examples/ with the built collector, then starts each
# for two seconds: `validate` does not see ids that components look up.
set -euo pipefail
cd "$(dirname "$0")/.."
collector=$PWD/bin/otelcol-memguard
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0
while IFS= read -r config; do
  export MEMGUARD_DIR=$scratch/$(echo "$config" | tr / _)
  mkdir -p -m 0700 "$MEMGUARD_DIR"
  if ! "$collector" validate --config "$config" >"$scratch/out" 2>&1; then
    echo "FAIL validate $config"; cat "$scratch/out"; failed=1; continue
  fi
  "$collector" --config "$config" >"$scratch/out" 2>&1 &
  pid=$!
  sleep 2
  if ! kill -0 "$pid" 2>/dev/null; then
    echo "FAIL start $config"; cat "$scratch/out"; failed=1; continue
  fi
  kill -TERM "$pid"
  if ! wait "$pid"; then
    echo "FAIL stop $config"; tail -20 "$scratch/out"; failed=1; continue
  fi
  if grep -q $'\terror\t' "$scratch/out"; then
    echo "FAIL errors in the log of $config"; grep $'\terror\t' "$scratch/out"; failed=1; continue
  fi
  echo "ok $config"
done < <(find examples -name '*.yaml' | sort)
exit "$failed"
