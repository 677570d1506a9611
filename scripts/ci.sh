#!/usr/bin/env bash
# The steps of CI, each timed. The first that fails ends the run.
set -euo pipefail
cd "$(dirname "$0")/.."

step() {
  local name=$1 began=$SECONDS
  shift
  echo "=== $name"
  "$@"
  echo "=== $name: $((SECONDS - began)) s"
}
no_diff() {
  "$@"
  if [ -n "$(git status --porcelain)" ]; then
    git status --short
    git --no-pager diff | head -100
    echo "$* changes committed files: run it and commit what it writes" >&2
    return 1
  fi
}

step tidy no_diff make -s tidy
step generate no_diff make -s generate
step lint make -s lint
step 'other systems' env GOOS=darwin CGO_ENABLED=0 go vet ./...
step test make -s test
step build make -s build
step validate make -s validate
step e2e make -s e2e
echo "=== all green after $SECONDS s"
