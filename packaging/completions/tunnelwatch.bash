# Completion of tunnelwatch(8) for bash. shellcheck shell=bash

_tunnelwatch() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local command='' what='' config=/etc/bastion/bastion.toml words='' word i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
        --config) ((++i < COMP_CWORD)) && config=${COMP_WORDS[i]} ;;
        --run-dir | --host-key) ((++i)) ;;
        -*) ;;
        *) if [[ -z $command ]]; then command=$word; else what=$word; fi ;;
        esac
    done
    COMPREPLY=()
    case $prev in
    --config)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    --run-dir)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        return
        ;;
    --host-key) return ;;
    esac
    case $command in
    '') words='run enroll check watch release status jump retry is-configured --version' ;;
    enroll) words="--host-key $(_tunnelwatch_names "$config")" ;;
    status) words='--json' ;;
    jump)
        words="--json $(_tunnelwatch_names "$config")"
        [[ -n $what ]] || words='start stop status --json'
        ;;
    is-configured) words='run watch' ;;
    esac
    words+=' --config --run-dir --help'
    # Options are offered to who has begun one.
    [[ $cur == -* ]] || words=$(tr -s ' ' '\n' <<<"$words" | grep -v '^-')
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

# The names in [[tunnel]] of the file $1.
_tunnelwatch_names() {
    awk '/^[ \t]*\[/ { here = /^[ \t]*\[\[tunnel\]\]/ }
        here && /^[ \t]*name[ \t]*=/ { split($0, part, "\""); print part[2] }' "$1" 2>/dev/null
}

complete -F _tunnelwatch tunnelwatch
