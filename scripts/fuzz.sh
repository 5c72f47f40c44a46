#!/usr/bin/env bash
# Runs every fuzz test of the module, one after the other, for the given time
# each. Findings are kept by Go under testdata/fuzz of the package: commit them
# with the fix.
set -euo pipefail
cd "$(dirname "$0")/.."

go=${GO:-go}
time=${1:-20s}
failed=()
while IFS=: read -r file test; do
	package=./$(dirname "$file")
	echo "== $package $test"
	"$go" test "$package" -run '^$' -fuzz "^$test\$" -fuzztime "$time" || failed+=("$package $test")
done < <(grep -rhoE --include='*_test.go' --with-filename '^func Fuzz[A-Za-z0-9_]+' . | sed -e 's#^\./##' -e 's#func ##' | sort)

if [[ ${#failed[@]} -gt 0 ]]; then
	printf 'FAILED: %s\n' "${failed[@]}" >&2
	exit 1
fi
