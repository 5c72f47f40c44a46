#!/usr/bin/env bash
# Format, vet, lint and known vulnerabilities. A tool is taken from this machine
# if it has the right version, else it is fetched with `go run`. Every check runs
# even if one before it failed; the end says what failed and what could not be
# checked at all.
set -uo pipefail
cd "$(dirname "$0")/.."

go=${GO:-go}
export PATH="$PATH:$("$go" env GOPATH)/bin"
failed=()
unchecked=()

# tool NAME MODULE VERSION VERSION-COMMAND...: puts into the array `tool` how to
# run it, and fails if it cannot be had.
tool() {
	local name=$1 module=$2 version=$3
	shift 3
	if command -v "$name" >/dev/null && "$name" "$@" 2>&1 | grep -qF "${version#v}"; then
		tool=("$name")
		return
	fi
	tool=("$go" run "$module@$version")
	"${tool[@]}" "$@" >/dev/null 2>&1
}

# check NAME COMMAND...: runs one check.
check() {
	local name=$1
	shift
	echo "== $name"
	"$@" || failed+=("$name")
}

formatted() {
	local files
	files=$("${tool[@]}" -l .) || return 1
	[[ -z $files ]] && return
	echo "not formatted (gofumpt -w):"
	echo "$files"
	return 1
}

if tool gofumpt mvdan.cc/gofumpt v0.12.0 -version; then
	check gofumpt formatted
else
	unchecked+=("gofumpt (cannot be fetched; gofmt was run instead)")
	tool=(gofmt)
	check gofmt formatted
fi

check vet "$go" vet ./...

if tool golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint v2.15.0 version; then
	check golangci-lint "${tool[@]}" run ./...
else
	unchecked+=("golangci-lint (cannot be fetched)")
fi

if tool govulncheck golang.org/x/vuln/cmd/govulncheck v1.9.0 -version; then
	echo "== govulncheck"
	"${tool[@]}" ./...
	case $? in
	0) ;;
	3) failed+=(govulncheck) ;; # its code for findings
	*) unchecked+=("govulncheck (it could not finish, most likely without its database; see above)") ;;
	esac
else
	unchecked+=("govulncheck (cannot be fetched)")
fi

for name in "${unchecked[@]}"; do
	echo "NOT CHECKED: $name" >&2
done
for name in "${failed[@]}"; do
	echo "FAILED: $name" >&2
done
[[ ${#failed[@]} -eq 0 ]]
