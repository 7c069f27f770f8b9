#!/bin/sh
# Sets up one environment for one user of a shared server, without root.
#
#   sh onboarding.sh                 do it; run again, it changes nothing
#   sh onboarding.sh --dry-run       say what it would do, and do nothing
#   sh onboarding.sh --undo          take away what it made, and nothing else
#   sh onboarding.sh --shared ROOT   take ROOT/NAME, which `envforge install --publish ROOT` made
#
# What it made stands in ~/.local/state/envforge/onboarding, and only that is ever taken away.
# Exit status: 0 done; 1 set up, but `verify` found problems; 2 arguments; 5 cannot be set up here.
# Written by envforge 1.2.3 from a lock; ENVFORGE_ENVS, ENVFORGE_STORE and
# ENVFORGE_PREFIXES win over what is filled in here.
set -uf
unset CDPATH

# The environment, and the folder that holds its lock.
name='x-torch27-cu126'
envs='/srv/team/envs'
# SHA-256 of that lock when this script was written: another one is told, and taken.
lock='5c3edde8cb60471d5793e9ff03e5e1039834746e81e8c2fa2b095419134c0036'
# Model files that all users share; empty: the environment has none.
store='/srv/models'
# Where everybody's version lies, in a folder of its name; empty: each user installs one.
shared='/srv/envs'
# Installed only where none is found; a version, so that every user gets the same.
version='1.2.3'

# --- words ------------------------------------------------------------------------------------

say() { printf '%s\n' "$*"; }
told() { printf '  %-7s %s\n' "$1" "$2"; }
warn() { told 'note' "$1" && [ -z "${2:-}" ] || told '' "do: $2"; }
fail() {
    printf 'error: %s\n' "$1" >&2
    [ -z "${2:-}" ] || printf 'hint: %s\n' "$2" >&2
    exit "${3:-5}"
}
put() { # all of it or nothing
    if ! { printf '%s\n' "$2" >"$1.$$" && mv -f -- "$1.$$" "$1"; }; then
        rm -f -- "$1.$$"
        fail "\`$1\` cannot be written"
    fi
}
user=$(id -un 2>/dev/null) || user=$(id -u) # a user without a name is told as a number, twice
word() { # as a shell reads it: for commands to copy
    case $1 in
    '' | *[!A-Za-z0-9_/.:@%+=-]*) printf "'" && printf '%s' "$1" | sed "s/'/'\\\\''/g" && printf "'" ;;
    *) printf '%s' "$1" ;;
    esac
}

# --- what is asked ------------------------------------------------------------------------------

mode='make'
while [ $# -gt 0 ]; do
    case $1 in
    --dry-run) mode=dry ;;
    --undo) mode=undo ;;
    --shared)
        [ $# -gt 1 ] || fail '--shared wants a folder' '' 2
        shared=$2
        shift
        ;;
    -h | --help)
        sed -n '2,/^set /s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *) fail "unknown argument \`$1\`" 'sh onboarding.sh --help' 2 ;;
    esac
    shift
done
[ "$(id -u)" -ne 0 ] || fail 'this sets up one user, and root is none' 'run it as yourself' 2
home=${HOME:-}
newline='
'
case $home in
/*) ;;
*) fail 'HOME names no folder' '' 2 ;;
esac
case $home in
*"$newline"*) fail 'HOME holds a line break, which a list of files cannot carry' '' 2 ;;
esac
[ -d "$home" ] && [ -w "$home" ] || fail "\`$home\` cannot be written" "ask who runs the server for a home folder"
[ -z "${ENVFORGE_ENVS:-}" ] || envs=$ENVFORGE_ENVS
[ -z "$store" ] || [ -z "${ENVFORGE_STORE:-}" ] || store=$ENVFORGE_STORE
data=${XDG_DATA_HOME:-$home/.local/share}
config=${XDG_CONFIG_HOME:-$home/.config}/envforge
journals=${XDG_STATE_HOME:-$home/.local/state}/envforge/onboarding
journal=$journals/$name
tool=${ENVFORGE_TOOL:-$data/envforge/tool}
kernel=${JUPYTER_DATA_DIR:-$data/jupyter}/kernels/$name
settings=$config/server.sh
for place in "$journals" "$config" "$tool" "$kernel"; do
    case $place in
    /*"$newline"*) fail "\`$place\` holds a line break, which a list of files cannot carry" '' 2 ;;
    /*) ;;
    *) fail "\`$place\` is no absolute path" '' 2 ;;
    esac
done
case ${SHELL:-} in
*/bash) start=$home/.bashrc ;;
*/zsh) start=${ZDOTDIR:-$home}/.zshrc ;;
*) start=$home/.profile ;;
esac

block_begins='# >>> envforge onboarding >>>'
block_ends='# <<< envforge onboarding <<<'

# --- what was made: a line each, the kind and the path ------------------------------------------

made() { [ -f "$journal" ] && grep -qxF -- "$1 $2" "$journal"; }
note() {
    made "$1" "$2" && return
    [ "$1" = folder ] || folder "$journals"
    printf '%s %s\n' "$1" "$2" >>"$journal" || fail "\`$journal\` cannot be written"
}
folder() { # made, with what is missing above it; each is noted
    [ ! -d "$1" ] || return 0
    case ${1%/*} in '') ;; *) folder "${1%/*}" ;; esac
    mkdir -- "$1" || fail "\`$1\` cannot be made"
    pending="${pending:-}$1$newline"
    [ ! -d "$journals" ] || {
        printf '%s' "$pending" | while IFS= read -r each; do note folder "$each"; done || exit
        pending=
    }
}

# --- undo ---------------------------------------------------------------------------------------

others() { # the name of another environment that was set up this way, and needs what all share
    set +f
    for each in "$journals"/*; do
        if [ -f "$each" ] && [ "${each##*/}" != "$name" ]; then
            set -f
            printf '%s\n' "${each##*/}"
            return
        fi
    done
    set -f
    return 1
}
drop() { # one thing that was made; what somebody changed since stays
    case $1 in
    kernel)
        rm -f -- "$2/kernel.json" && rmdir -- "$2" 2>/dev/null
        ;;
    link) [ ! -L "$2" ] || rm -f -- "$2" ;;
    view) "$envforge" cache view "$name" --envs "$envs" --store "$store" --remove >/dev/null ;;
    install)
        [ ! -e "$2" ] || "$envforge" remove "$name" --envs "$envs" --prefix "$2" --yes >/dev/null || return
        registry=$home/.conda/environments.txt # conda's list, which lives in a folder of ours
        [ -s "$registry" ] || ! made folder "$home/.conda" || rm -f -- "$registry"
        ;;
    block)
        ends=$(grep -xF -e "$block_begins" -e "$block_ends" -- "$2" 2>/dev/null | tail -n 1)
        [ -n "$ends" ] || return 0
        [ "$ends" = "$block_ends" ] || return 1 # how far they go would be a guess
        (umask 077 && sed "/^$block_begins\$/,/^$block_ends\$/d" "$2" >"$2.$$") || {
            rm -f -- "$2.$$"
            return 1
        }
        # Not mv: it may be a link into a folder of settings. The copy stays where a disk is full.
        cat <"$2.$$" >"$2" && rm -f -- "$2.$$"
        ;;
    start | settings) rm -f -- "$2" ;;
    tool) # a line of a disk that was full may be cut off, and name a folder above
        [ ! -e "$2" ] || { [ -f "$2/pyvenv.cfg" ] && rm -rf -- "$2"; }
        ;;
    folder) rmdir -- "$2" 2>/dev/null || return 0 ;;
    esac
}
if [ "$mode" = undo ]; then
    [ -f "$journal" ] || { say "nothing of $name was set up by this script" && exit 0; }
    envforge=$tool/bin/envforge
    [ -x "$envforge" ] || envforge=$(command -v envforge) || envforge=false
    list=$(sed '1!G;h;$!d' "$journal")
    next=$(others) && shares=yes || shares=no
    kept=
    while IFS= read -r line; do
        kind=${line%% *} path=${line#* }
        case $kind,$shares in
        folder,* | settings,yes | block,yes | start,yes | tool,yes) continue ;;
        esac
        if [ "$kind" = start ] && [ -s "$path" ]; then
            continue # something else stands there by now
        elif drop "$kind" "$path"; then
            case $kind in block) told 'removed' "its lines in $path" ;; *) told 'removed' "$path" ;; esac
        else
            told 'kept' "$path"
            kept="$kept$line$newline"
        fi
    done <<LIST
$list
LIST
    folders=$(printf '%s\n' "$list" | sed -n 's/^folder //p')
    if [ "$shares" = yes ]; then # the last one to go takes away what all share
        printf '%s\n' "$list" | sed '1!G;h;$!d' | grep -E '^(folder|settings|block|start|tool) ' >>"$journals/$next"
    fi
    if [ -n "$kept" ]; then # to be tried again
        printf '%s%s\n' "$kept" "$folders" | sed '/^$/d; /^\//s/^/folder /' |
            sed '1!G;h;$!d' >"$journal" # what was made first stands first
        fail 'not all of it could be taken away: see above'
    fi
    rm -f -- "$journal"
    while IFS= read -r path; do
        [ -z "$path" ] || [ "$shares" = yes ] || drop folder "$path"
    done <<LIST
$folders
LIST
    exit 0
fi

# --- look: what would be in the way --------------------------------------------------------------

say "$name, for $user"
[ -f "$envs/$name/conda-lock.yml" ] && [ -r "$envs/$name/conda-lock.yml" ] ||
    fail "there is no lock to read at \`$envs/$name\`" 'ENVFORGE_ENVS names the folder that holds it'
if command -v sha256sum >/dev/null 2>&1; then
    found=$(sha256sum <"$envs/$name/conda-lock.yml")
    [ "${found%% *}" = "$lock" ] ||
        warn 'the lock has changed since this script was written: what it holds now is taken'
fi
mask=$(umask)
case $mask in
*[2367]) ;;
*) warn "umask $mask: everybody can change what you make" 'umask 022, in your start file' ;;
esac
if [ -n "$store" ]; then
    if [ -d "$store" ] && [ -r "$store" ] && [ -x "$store" ]; then
        told 'ok' "models are shared from $store"
    else
        above=$store
        while [ ! -e "$above" ] && [ "$above" != / ]; do above=$(dirname -- "$above"); done
        group=$(stat -c %G -- "$above" 2>/dev/null || stat -f %Sg -- "$above" 2>/dev/null || say '?')
        case " $(id -Gn) " in
        *" $group "*) warn "models at $store cannot be read: they will be downloaded" 'ask who runs the server' ;;
        *) warn "models at $store can be read by group $group only, and you are not in it" "ask for: usermod -aG $(word "$group") $user" ;;
        esac
        store=
    fi
fi
if command -v quota >/dev/null 2>&1; then
    over=$(quota -q 2>/dev/null) || warn "your quota is used up: ${over%%"$newline"*}" 'quota -s shows it'
fi

# --- envforge itself ----------------------------------------------------------------------------

runs() { [ -n "$1" ] && "$1" --version >/dev/null 2>&1; }
python() { # the first that envforge runs on
    for each in python3.14 python3.13 python3.12 python3.11 python3.10 python3 python; do
        if command -v "$each" >/dev/null 2>&1 &&
            "$each" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            command -v "$each"
            return
        fi
    done
    return 1
}
packages() { # what envforge itself runs on: the versions that it was tested with
    cat <<'PACKAGES'
anyio==4.16.0 ; sys_platform != 'emscripten'
click==8.5.1
colorama==0.4.6 ; sys_platform == 'win32'
exceptiongroup==1.3.1 ; python_full_version < '3.11' and sys_platform != 'emscripten'
filelock==4.1.0 ; python_full_version < '3.11'
filelock==4.2.11 ; python_full_version >= '3.11'
fsspec==2026.9.0
h11==0.16.0 ; sys_platform != 'emscripten'
hf-xet==1.8.0 ; platform_machine == 'AMD64' or platform_machine == 'ARM64' or platform_machine == 'aarch64' or platform_machine == 'amd64' or platform_machine == 'arm64' or platform_machine == 'x86_64'
httpcore2==2.14.0 ; python_full_version < '3.11' and sys_platform != 'emscripten'
httpcore2==2.16.2 ; python_full_version >= '3.11' and sys_platform != 'emscripten'
httpx2==2.14.0 ; python_full_version < '3.11'
httpx2==2.16.2 ; python_full_version >= '3.11'
httpx2-jsfetch==1.0 ; python_full_version >= '3.12' and sys_platform == 'emscripten'
huggingface-hub==2.4.0
idna==3.20
jinja2==3.1.6
markdown-it-py==4.3.0
markupsafe==3.0.4
mdurl==0.1.2
packaging==26.3
py-rattler==0.28.0
pyelftools==0.33
pygments==2.21.0
pyyaml==6.0.3
rich==15.0.0
ruamel-yaml==0.19.1
tomli==2.5.0 ; python_full_version < '3.11'
tqdm==4.70.1
truststore==0.10.5 ; sys_platform != 'emscripten'
typing-extensions==4.16.0
uv==0.13.9
PACKAGES
}
get_envforge() { # by pip, which reads the site's pip.conf; uv where Python makes no environments
    if [ -n "$1" ] && "$1" -c 'import ensurepip, venv' 2>/dev/null || ! uv=$(command -v uv); then
        "$1" -m venv "$tool" && packages >"$tool/packages.txt" &&
            "$tool/bin/python" -m pip install --quiet --disable-pip-version-check \
                --constraint "$tool/packages.txt" "envforge==$version"
    else
        "$uv" venv --quiet --python '>=3.10' "$tool" && packages >"$tool/packages.txt" &&
            "$uv" pip install --quiet --python "$tool/bin/python" \
                --constraint "$tool/packages.txt" "envforge==$version"
    fi
}
envforge=${ENVFORGE:-}
runs "$envforge" || envforge=$(command -v envforge) || envforge=$tool/bin/envforge
if runs "$envforge"; then
    told 'ok' "$("$envforge" --version) at $envforge"
elif [ "$mode" = dry ]; then
    told 'would' "install envforge $version into $tool"
else
    [ ! -e "$tool" ] || made tool "$tool" || fail "\`$tool\` is there, and is no envforge" 'ENVFORGE_TOOL names another place'
    found=$(python) || command -v uv >/dev/null 2>&1 ||
        fail 'there is no Python 3.10 or newer, and no uv' 'load a module that brings one, then run this again' 7
    folder "${tool%/*}"
    note tool "$tool"
    get_envforge "$found" >&2 || { rm -rf -- "$tool" && fail "envforge $version could not be installed" 'it comes from a package index: PIP_INDEX_URL, or for uv UV_DEFAULT_INDEX' 7; }
    envforge=$tool/bin/envforge
    runs "$envforge" || fail "envforge in $tool does not run" '' 7
    told 'made' "envforge $version in $tool"
fi

# --- settings: where the lock and the shared models are -------------------------------------------

wanted=$(
    printf '# Written by onboarding.sh of envforge; --undo takes it away.\n'
    printf 'export ENVFORGE_ENVS=%s\n' "$(word "$envs")"
    [ -z "$store" ] || printf 'export ENVFORGE_STORE=%s\n' "$(word "$store")"
    # shellcheck disable=SC2016 # for the shell that reads the file
    [ "$envforge" != "$tool/bin/envforge" ] || printf 'case ":$PATH:" in *:%s:*) ;; *) export PATH=%s:"$PATH" ;; esac\n' "$(word "$tool/bin")" "$(word "$tool/bin")"
)
if [ "$(cat -- "$settings" 2>/dev/null)" = "$wanted" ]; then
    told 'kept' "$settings"
elif [ "$mode" = dry ]; then
    told 'would' "write $settings"
else
    [ ! -e "$settings" ] || made settings "$settings" || others >/dev/null || fail "\`$settings\` is there, and is not ours" 'move it away, then run this again'
    folder "$config"
    [ -e "$settings" ] || note settings "$settings"
    put "$settings" "$wanted"
    told 'made' "$settings"
fi
if grep -qxF "$block_begins" -- "$start" 2>/dev/null; then
    told 'kept' "$start"
elif [ "$mode" = dry ]; then
    told 'would' "have $start read it"
else
    [ -e "$start" ] || note start "$start"
    note block "$start"
    before=$(wc -c <"$start" 2>/dev/null) || before=0
    read_it="[ ! -r $(word "$settings") ] || . $(word "$settings")"
    lines=$block_begins$newline$read_it$newline$block_ends$newline
    [ -z "$(tail -c 1 -- "$start" 2>/dev/null)" ] || lines=$newline$lines
    printf '%s' "$lines" >>"$start" || { # cut off where it ended: a half would break each new shell
        dd if=/dev/null of="$start" bs=1 seek="$((before))" 2>/dev/null
        fail "\`$start\` cannot be written"
    }
    told 'made' "lines in $start that read it"
fi
case ${SHELL:-} in
*/fish | */csh | */tcsh) warn "${SHELL##*/} does not read $start" "$(word "${envforge##*/}") run $name, or \`bash\` first" ;;
esac
export ENVFORGE_ENVS="$envs"
[ -z "$store" ] || export ENVFORGE_STORE="$store"

# --- the environment: everybody's, or one of your own ---------------------------------------------

forge() { # what it says of progress belongs to people, not to the answer
    "$envforge" "$@" --envs "$envs"
}
# shellcheck disable=SC2016 # for the shell in the environment
entered() { forge run "$name" -- sh -c 'printf %s "$CONDA_PREFIX"'; }
where=${ENVFORGE_PREFIXES:-$home/.conda/envs}
if [ "$mode" = dry ] && ! runs "$envforge"; then
    prefix=$where/$name
    if [ -n "$shared" ]; then told 'would' "link $prefix to $shared/$name"; else
        told 'would' 'install the environment from its lock'
    fi
elif [ -n "$shared" ]; then
    [ -d "$shared/$name/conda-meta" ] || fail "there is no environment at \`$shared/$name\`" "who runs the server makes it: envforge install $name --publish $(word "$shared")"
    prefix=$where/$name
    if [ "$(readlink -- "$prefix")" = "$shared/$name" ]; then
        told 'kept' "$prefix, which leads to $shared/$name"
    elif [ -e "$prefix" ] || [ -L "$prefix" ]; then
        fail "\`$prefix\` is there already, and is another environment" "envforge remove $name, then run this again"
    elif [ "$mode" = dry ]; then
        told 'would' "link $prefix to $shared/$name"
    else
        folder "$where"
        note link "$prefix"
        ln -s -- "$shared/$name" "$prefix" || fail "\`$prefix\` cannot be made"
        told 'made' "$prefix, which leads to $shared/$name"
    fi
else
    prefix=$(entered 2>/dev/null) || prefix=
    state=$(forge show "$name" --json 2>/dev/null | grep -c '"up_to_date": true')
    if [ -n "$prefix" ] && [ "$state" -gt 0 ]; then
        told 'kept' "the environment in $prefix"
    elif [ "$mode" = dry ]; then
        told 'would' 'install the environment from its lock'
        forge install --locked --dry-run "$name" || fail 'it could not be installed: see above'
        prefix=${prefix:-$where/$name}
    else
        if [ -z "$prefix" ]; then
            folder "$where"
            # Before: what is left half made goes, too. What was there is somebody's.
            [ -e "$where/$name" ] || note install "$where/$name"
        fi
        before=$prefix
        forge install --locked "$name" >&2 || fail 'the environment could not be installed: see above'
        prefix=$(entered) || fail 'the environment cannot be entered'
        # Where conda's settings put environments elsewhere.
        [ -n "$before" ] || [ "$prefix" = "$where/$name" ] || note install "$prefix"
        told 'made' "the environment in $prefix"
    fi
fi

# --- models: a view of what all share -------------------------------------------------------------

if [ -n "$store" ] && [ "$mode" = dry ]; then
    told 'would' "make or refresh your view of the models in $store"
elif [ -n "$store" ]; then
    if said=$(forge cache view "$name" --store "$store" 2>&1); then
        note view "$name"
        told 'ok' "your view of the models in $store"
    else
        warn "no view of the shared models: $(printf '%s' "$said" | head -n 1)" "who runs the server can make it: envforge cache view $name --for $user"
    fi
fi

# --- the notebook kernel --------------------------------------------------------------------------

has_ipykernel() {
    [ -x "$prefix/bin/python" ] &&
        "$prefix/bin/python" -I -B -c 'import importlib.util as u, sys; sys.exit(u.find_spec("ipykernel") is None)' 2>/dev/null
}
has_kernel=no
if ! has_ipykernel; then
    [ "$mode" = dry ] || told 'ok' 'no notebook kernel: the environment has no ipykernel'
elif spec=$(forge export "$name" --to jupyter --set "prefix=$prefix" 2>/dev/null); then
    has_kernel=yes
    if [ "$(cat -- "$kernel/kernel.json" 2>/dev/null)" = "$spec" ]; then
        told 'kept' "the notebook kernel in $kernel"
    elif [ "$mode" = dry ]; then
        told 'would' "write the notebook kernel $kernel"
    elif [ -e "$kernel/kernel.json" ] && ! made kernel "$kernel"; then
        warn "$kernel is there already, and stays as it is" "jupyter kernelspec remove $name, then run this again"
    else
        folder "${kernel%/*}"
        [ -d "$kernel" ] || mkdir -- "$kernel" || fail "\`$kernel\` cannot be made"
        note kernel "$kernel"
        put "$kernel/kernel.json" "$spec"
        told 'made' "the notebook kernel in $kernel"
    fi
else
    warn 'the notebook kernel could not be written' "envforge export $name --to jupyter"
fi

# --- does it work? --------------------------------------------------------------------------------

[ "$mode" != dry ] || exit 0
say
forge verify "$name" --prefix "$prefix"
status=$?
say
say 'next'
say "  in this shell:  . $(word "$settings")     (new shells read it by themselves)"
say "  run it:         $(word "${envforge##*/}") run $name -- python"
say "  activate it:    eval \"\$(envforge activate $name)\""
[ "$has_kernel" = no ] || say "  in notebooks:   choose the kernel $name"
say "  take it away:   sh $(word "$0") --undo"
[ "$status" -eq 0 ] || exit 1
