#!/usr/bin/env bash
# Runs fuzz tests, one after the other, for the given time each: all of the module,
# or the one that is named.
#
#     fuzz.sh TIME [PACKAGE TEST]
#
# Go keeps what it finds under testdata/fuzz of the package, and this prints it:
# commit it with the fix.
set -euo pipefail
cd "$(dirname "$0")/.."

go=${GO:-go}
time=${1:-20s}
shift || true
failed=()
before=$(mktemp)
trap 'rm -f "$before"' EXIT
while read -r package test; do
	echo "== $package $test"
	"$go" test "$package" -run '^$' -fuzz "^$test\$" -fuzztime "$time" || failed+=("$package $test")
done < <(if [[ $# -gt 0 ]]; then echo "$@"; else scripts/fuzz-tests.sh; fi)

if [[ ${#failed[@]} -gt 0 ]]; then
	find . -path '*/testdata/fuzz/*' -type f -newer "$before" -print -exec cat {} \;
	printf 'FAILED: %s\n' "${failed[@]}" >&2
	exit 1
fi
