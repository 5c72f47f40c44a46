#!/usr/bin/env bash
# Puts what `make bench` has measured into docs/performance.md, between its markers,
# and the picture of the same run beside it.
set -euo pipefail
cd "$(dirname "$0")/.."

doc=docs/performance.md
if ! grep -q '^| case |' bin/bench.md; then
	echo "bin/bench.md has no results: run make bench first" >&2
	exit 1
fi
for marker in begin end; do
	if ! grep -qx "<!-- results: $marker -->" "$doc"; then
		echo "$doc has no line '<!-- results: $marker -->'" >&2
		exit 1
	fi
done
awk '
	$0 == "<!-- results: end -->" { skip = 0 }
	!skip { print }
	$0 == "<!-- results: begin -->" {
		skip = 1
		print ""
		while ((getline line < "bin/bench.md") > 0) print line
		print ""
	}' "$doc" >"$doc.new"
mv "$doc.new" "$doc"
cp bin/bench.svg docs/performance.svg
echo "$doc and docs/performance.svg have the results of $(sed -n '/^20/{s/,.*//;p;q}' bin/bench.md)."
