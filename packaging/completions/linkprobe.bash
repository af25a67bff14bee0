# Completion of linkprobe(8) for bash. shellcheck shell=bash

_linkprobe() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local command='' config=/etc/bastion/bastion.toml words='' word behind=0 i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
        --config) ((++i < COMP_CWORD)) && config=${COMP_WORDS[i]} ;;
        --state-dir | --run-dir | --since | --svg | --html | --csv) ((++i)) ;;
        -*) ;;
        *) if [[ -n $command ]]; then ((behind++)); else command=$word; fi ;;
        esac
    done
    COMPREPLY=()
    case $prev in
    --config | --svg | --html | --csv)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    --state-dir | --run-dir)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        return
        ;;
    --since)
        mapfile -t COMPREPLY < <(compgen -W '1d 7d 30d 90d all' -- "$cur")
        return
        ;;
    esac
    case $command in
    '') words='check check-config measure watch status report import is-configured --version' ;;
    check) words='--json --quiet --long' ;;
    measure) words='--json --quiet --no-download --no-upload' ;;
    status) words='--json' ;;
    report) words='--since --json --svg --html --csv' ;;
    import)
        if ((behind > 0)) && [[ $cur != -* ]]; then
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return
        fi
        ;;
    esac
    case $command in
    check | measure | status | report | import)
        ((behind > 0)) || words+=" $(_linkprobe_names "$config")"
        ;;
    esac
    words+=' --config --state-dir --run-dir --help'
    # Options are offered to who has begun one.
    [[ $cur == -* ]] || words=$(tr -s ' ' '\n' <<<"$words" | grep -v '^-')
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

# The names in [[link]] of the file $1.
_linkprobe_names() {
    awk '/^[ \t]*\[/ { here = /^[ \t]*\[\[link\]\]/ }
        here && /^[ \t]*name[ \t]*=/ { split($0, part, "\""); print part[2] }' "$1" 2>/dev/null
}

complete -F _linkprobe linkprobe
