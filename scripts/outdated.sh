#!/usr/bin/env bash
# Lists the modules that go.mod and tools/go.mod ask for themselves and that have a
# newer version of the same major, and fails if there are any.
set -euo pipefail
cd "$(dirname "$0")/.."

go=${GO:-go}
newer=
for dir in . tools; do
	mapfile -t modules < <(
		"$go" list -C "$dir" -m -f '{{if not (or .Indirect .Main)}}{{.Path}}{{end}}' all
		[[ $dir == . ]] || "$go" list -C "$dir" -f '{{.Module.Path}}' tool
	)
	newer+=$("$go" list -C "$dir" -m -u -e -f '{{with .Error}}{{$.Path}}: NOT KNOWN: {{.Err}}
{{end}}{{with .Update}}{{$.Path}} {{$.Version}} -> {{.Version}}
{{end}}' "${modules[@]}")
done
if [[ -z $newer ]]; then
	echo "All modules that we ask for are current."
	exit
fi
grep . <<<"$newer"
! grep -q -- '->' <<<"$newer"
