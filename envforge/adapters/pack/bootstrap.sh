#!/bin/sh
# Makes the environments of a pack on a machine that has no envforge, no Python and no network.
#
#   tar -xf FILE bootstrap.sh && sh bootstrap.sh FILE
#
# It needs sh and tar. What it lays out, a Python with envforge in it, stays in ENVFORGE_TOOL
# (~/.local/share/envforge/tool), so that `bin/envforge` there runs and verifies the environments.
# ENVFORGE_ENVS, ENVFORGE_PREFIXES, ENVFORGE_STORE and the other settings of envforge count.
set -euf
unset TAR_OPTIONS # what somebody wants of GNU tar elsewhere

fail() {
    printf 'error: %s\n' "$1" >&2
    exit "${2:-2}"
}

sum_of() {
    if command -v sha256sum >/dev/null 2>&1; then
        sha256sum <"$1"
    elif command -v shasum >/dev/null 2>&1; then
        shasum -a 256 <"$1"
    elif command -v openssl >/dev/null 2>&1; then
        openssl dgst -sha256 -r <"$1"
    else
        printf 'unknown\n'
    fi
}

[ $# -eq 1 ] || fail 'usage: sh bootstrap.sh FILE'
pack=$1
[ -f "$pack" ] || fail "there is no file \`$pack\`"
case $pack in -*) pack=./$pack ;; esac
tool=${ENVFORGE_TOOL:-${HOME:?}/.local/share/envforge/tool}
case $tool in /*) ;; *) tool=$PWD/$tool ;; esac
tool=${tool%"${tool##*[!/]}"} # no slash at its end: its neighbour is made from its name
# by standard input: a name with a colon would be another machine's to GNU tar
listed=$(tar -tf - <"$pack") || fail "\`$pack\` is no pack: tar cannot read it" 5
names=$(printf '%s\n' "$listed" | sed -n 's,^environments/\([^/]*\)/conda-lock\.yml$,\1,p')
[ -n "$names" ] || fail "\`$pack\` is no pack: it holds no environment" 5

if [ -e "$tool" ] && [ ! -f "$tool/tool.sha256" ] && ! rmdir "$tool" 2>/dev/null; then
    fail "\`$tool\` holds something else: name another place by ENVFORGE_TOOL"
fi
work="$tool.$$.tmp"
mkdir -p "${tool%/*}/"
mkdir "$work" # not -p: what another user put there is not ours
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir "$work/tool"
tar -xf - -C "$work" tool.tar tool.sha256 <"$pack" 2>/dev/null ||
    fail "\`$pack\` brings no envforge: it was packed with --no-bootstrap" 5
found=$(sum_of "$work/tool.tar")
found=${found%% *}
read -r wanted _ <"$work/tool.sha256"
if [ "$found" = unknown ]; then
    printf 'no program for sha256 here: the tool is not checked before it runs\n' >&2
elif [ "$found" != "$wanted" ]; then
    fail "the tool in \`$pack\` has other bytes than it should have: copy it again" 5
fi
if [ "$(cat "$tool/tool.sha256" 2>/dev/null)" != "$wanted  tool.tar" ]; then
    printf 'laying out envforge in %s\n' "$tool" >&2
    tar -xf - -C "$work/tool" <"$work/tool.tar"
    cp "$work/tool.sha256" "$work/tool/tool.sha256"
    rm -rf "$tool"
    mv "$work/tool" "$tool"
fi
rm -rf "$work"
"$tool/bin/envforge" --version >/dev/null ||
    fail 'the packed Python does not run on this machine: another system, or an older C library' 7

case $listed in
*"
models/"*) "$tool/bin/envforge" cache init ;;
esac
"$tool/bin/envforge" unpack "$pack"
for name in $names; do
    "$tool/bin/envforge" install --offline --locked "$name"
done
for name in $names; do
    printf 'run it: %s run %s -- python\n' "$tool/bin/envforge" "$name"
done
