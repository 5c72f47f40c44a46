#!/usr/bin/env bash
# Fuzzes for some seconds each what has changed: the fuzz tests of packages that
# differ from the merge base with main (BASE, if set), or that use one which does.
# On main itself the commit before is the base. Where there is nothing to compare
# with, any fuzz test may run. All of it ends after FUZZ_BUDGET seconds, builds
# included: what was not reached is named, and left to `make fuzz`.
set -euo pipefail
cd "$(dirname "$0")/.."

go=${GO:-go}
time=${FUZZ_TIME:-3s}
budget=${FUZZ_BUDGET:-60}

base() {
	local main
	if [[ -n ${BASE-} ]]; then
		git rev-parse --verify --quiet "$BASE^{commit}" || { echo "BASE=$BASE is no commit" >&2 && return 1; }
		return
	fi
	for main in origin/main main; do
		main=$(git merge-base HEAD "$main" 2>/dev/null) || continue
		if [[ $main != $(git rev-parse HEAD) ]]; then
			echo "$main"
			return
		fi
	done
	git rev-parse --verify --quiet 'HEAD~1^{commit}' || true
}

# touched BASE lists the directories of the packages that differ from it.
touched() {
	{
		git diff --name-only "$1" --
		git ls-files --others --exclude-standard
	} | grep -E '\.go$|/testdata/|^go\.mod$' | sed -E 's#/testdata/.*#/x#; s#[^/]*$##; s#/$##; s#^#./#' | sort -u
}

tests=$(scripts/fuzz-tests.sh)
base=$(base)
if [[ -z $base ]]; then
	echo "There is no commit to compare with: any fuzz test may run."
	chosen=$(sed 's/^/0 /' <<<"$tests")
else
	changed=$(touched "$base" || true)
	echo "Since $(git log -1 --format='%h (%s)' "$base"): $(grep -c . <<<"$changed" || true) directories with code changed."
	# Those that changed themselves come first, then those that use fewest packages:
	# these are built soonest.
	chosen=
	while read -r package names; do
		used=$("$go" list -deps -test -f '{{with .Module}}{{if .Main}}{{$.Dir}}{{end}}{{end}}' "$package" | sed "s#^$PWD#.#" | sort -u)
		if grep -qxF "$package" <<<"$changed"; then
			rank=0
		elif grep -qxF ./ <<<"$changed" || grep -qxFf <(printf '%s\n' "$changed") <<<"$used"; then
			rank=$(wc -l <<<"$used")
		else
			continue
		fi
		for name in $names; do chosen+="$rank $package $name"$'\n'; done
	done < <(awk '{ names[$1] = names[$1] " " $2 } END { for (p in names) print p names[p] }' <<<"$tests")
	chosen=$(sort -n <<<"$chosen" | grep . || true)
fi

if [[ -z $chosen ]]; then
	echo "No fuzz test is concerned."
	exit
fi
failed=() missed=()
while read -r _ package name; do
	left=$((budget - SECONDS))
	if [[ $left -le 0 ]]; then
		missed+=("$package $name")
		continue
	fi
	code=0
	timeout "$left" scripts/fuzz.sh "$time" "$package" "$name" || code=$?
	case $code in
	0) ;;
	124) missed+=("$package $name") ;;
	*) failed+=("$package $name") ;;
	esac
done <<<"$chosen"

total=$(wc -l <<<"$chosen")
echo "Fuzzed $((total - ${#missed[@]})) of $total tests that are concerned, $time each."
if [[ ${#missed[@]} -gt 0 ]]; then
	echo "Not fuzzed, as the $budget s were over (make fuzz runs them):"
	printf '  %s\n' "${missed[@]}"
fi
[[ ${#failed[@]} -eq 0 ]]
