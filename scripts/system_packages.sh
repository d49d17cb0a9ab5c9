#!/usr/bin/env bash
# Installs the programs in requirements/system.txt that this machine lacks, where it may (root on Debian);
# elsewhere it prints the command. Never fails: a test that needs a missing program says so itself.
set -u
cd "$(dirname "$0")/.." || exit 1

missing=()
while read -r program package elsewhere; do
    case "$program" in '' | '#'*) continue ;; esac
    command -v "$program" >/dev/null 2>&1 && continue
    [ -n "$elsewhere" ] && compgen -G "$elsewhere" >/dev/null && continue
    missing+=("$package")
done <requirements/system.txt
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "==> some tests will be skipped; to run them: sudo apt-get install ${missing[*]}"
    exit 0
fi

echo "==> installing system packages for the tests: ${missing[*]}"
# RUNLEVEL=1 keeps Debian's maintainer scripts from starting the servers they bring: tests start their own.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
log=$(mktemp)
for attempt in 1 2 3; do
    if apt-get update -qq >"$log" 2>&1 &&
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
        rm -f "$log"
        exit 0
    fi
    echo "    attempt $attempt failed"
    sleep $((attempt * 5))
done
tail -n 20 "$log"
rm -f "$log"
exit 0
