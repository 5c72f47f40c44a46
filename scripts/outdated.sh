#!/usr/bin/env bash
# Lists the modules that go.mod and tools/go.mod ask for themselves and that have a
# newer version of the same major, or of which that is not known, and fails if there are any.
set -euo pipefail
cd "$(dirname "$0")/.."

go=${GO:-go}
newer=
for dir in . tools; do
	list=$(
		"$go" list -C "$dir" -m -f '{{if not (or .Indirect .Main)}}{{.Path}}{{end}}' all
		if [[ $dir != . ]]; then "$go" list -C "$dir" -f '{{.Module.Path}}' tool; fi
	)
	mapfile -t modules <<<"$list"
	newer+=$("$go" list -C "$dir" -m -u -e -f '{{with .Error}}{{$.Path}}: NOT KNOWN: {{.Err}}
{{end}}{{with .Update}}{{$.Path}} {{$.Version}} -> {{.Version}}
{{end}}' "${modules[@]}")$'\n'
done
if ! grep . <<<"$newer"; then
	echo "All modules that we ask for are current."
	exit
fi
exit 1
