# Completion of bastion(8) for bash. shellcheck shell=bash

_bastion() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local command='' config=/etc/bastion/bastion.toml words='' word i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
        --config) ((++i < COMP_CWORD)) && config=${COMP_WORDS[i]} ;;
        -*) ;;
        *) [[ -n $command ]] || command=$word ;;
        esac
    done
    COMPREPLY=()
    case $prev in
    --config)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    --user)
        mapfile -t COMPREPLY < <(compgen -u -- "$cur")
        return
        ;;
    --severity) words='info warning critical' ;;
    --for) words='2h 8h 1d 2d 7d' ;;
    --key | --down | --up | --tally | --remove) return ;;
    *)
        case $command in
        '') words='run send test queue report enable disable check drill allow why is-configured' ;;
        run) words='--stderr' ;;
        send) words='--severity --down --up --tally' ;;
        test) words=$(sed -n 's/^[[:space:]]*\[notify\.channel\.\([A-Za-z0-9_-]*\)\].*/\1/p' "$config" 2>/dev/null) ;;
        queue)
            case $prev in
            # Whoever may not look there is offered nothing.
            show) words=$({ bastion --config "$config" queue && bastion --config "$config" queue --failed; } 2>/dev/null | _bastion_ids) ;;
            drop) words=$(bastion --config "$config" queue 2>/dev/null | _bastion_ids) ;;
            retry) words="all $(bastion --config "$config" queue --failed 2>/dev/null | _bastion_ids)" ;;
            queue) words='list show retry drop --failed --sent' ;;
            list) words='--failed --sent' ;;
            esac
            ;;
        enable | disable) words='--dry-run' ;;
        check) words='--online --json' ;;
        drill) words='--monthly --json' ;;
        allow) words='--for --user --key --list --remove' ;;
        why) words='--user --key' ;;
        esac
        words+=' --config --help'
        [[ -n $command ]] || words+=' --version'
        ;;
    esac
    # Options are offered to who has begun one.
    [[ $cur == -* ]] || words=$(tr -s ' ' '\n' <<<"$words" | grep -v '^-')
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

# The ids in what bastion queue lists.
_bastion_ids() {
    sed -n 's/^\([a-z0-9]\{6\}\) .*/\1/p'
}

complete -F _bastion bastion
