#!/usr/bin/env bash
# Lists the fuzz tests of the module, as lines of package and name.
set -euo pipefail
cd "$(dirname "$0")/.."

grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed -E 's#/[^/]*:func # #' | sort
