#!/usr/bin/env bash
# Fuzzes for some seconds each what has changed: the fuzz tests of packages that
# differ from the merge base with main (BASE, if set), or that use one which does.
# On main itself the commit before is the base. Where there is nothing to compare
# with, any fuzz test may run. All of it ends after FUZZ_BUDGET seconds, builds
# included: what was not reached is named, and left to `make fuzz`. Exit code 3: none was.
set -euo pipefail
cd "$(dirname "$0")/.."

go=${GO:-go}
time=${FUZZ_TIME:-3s}
budget=${FUZZ_BUDGET:-120}

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
	git rev-parse --verify --quiet 'HEAD~1^{commit}' 2>/dev/null || true
}

# touched BASE lists the directories of the packages that differ from it.
# ./ stands for go.mod, which concerns all of them.
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
	changed=./
else
	changed=$(touched "$base" || true)
	echo "Since $(git log -1 --format='%h (%s)' "$base"): $(grep -c . <<<"$changed" || true) directories with code changed."
fi

# Those that changed themselves come first, then those that use fewest packages:
# these are built soonest.
module=$("$go" mod edit -json | awk -F '"' '/"Path"/ { print $4; exit }')
mapfile -t packages < <(cut -d ' ' -f 1 <<<"$tests" | sort -u)
uses=$("$go" list -test -f '{{.ImportPath}} {{join .Deps " "}}' "${packages[@]}" | grep -E '^[^ ]+\.test ')
chosen=$(awk -v module="$module" '
	FILENAME == ARGV[1] { changed[$0] = 1; next }
	FILENAME == ARGV[2] {
		sub(/\.test$/, "", $1)
		sub("^" module, ".", $1)
		rank = $1 in changed ? 1 : "./" in changed ? NF : 0
		for (i = 2; i <= NF && !rank; i++) if (sub("^" module, ".", $i) && $i in changed) rank = NF
		if (rank) ranks[$1] = rank
		next
	}
	$1 in ranks { print ranks[$1], $0 }
' <(printf '%s\n' "$changed") <(printf '%s\n' "$uses") <(printf '%s\n' "$tests") | sort -n)

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
	# One whose build takes long must leave time for others. What was built is kept.
	code=0
	timeout "$((left < 20 ? left : left / 2))" scripts/fuzz.sh "$time" "$package" "$name" || code=$?
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
[[ ${#failed[@]} -eq 0 ]] || exit 1
[[ ${#missed[@]} -lt $total ]] || exit 3
