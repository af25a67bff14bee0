# Completion of tunnelwatch(8) for fish.

function __tunnelwatch_names
    set -l config /etc/bastion/bastion.toml
    set -l words (commandline -opc)
    set -l at (contains -i -- --config $words)
    and set -q words[(math $at + 1)]
    and set config $words[(math $at + 1)]
    awk '/^[ \t]*\[/ { here = /^[ \t]*\[\[tunnel\]\]/ }
        here && /^[ \t]*name[ \t]*=/ { split($0, part, "\""); print part[2] }' $config 2>/dev/null
end

set -l commands run enroll check watch release status jump retry is-configured
set -l none "not __fish_seen_subcommand_from $commands"

complete -c tunnelwatch -f
complete -c tunnelwatch -l config -r -F -d 'the configuration file'
complete -c tunnelwatch -l run-dir -x -a '(__fish_complete_directories)' -d 'where the state is'
complete -c tunnelwatch -l help -d 'a short text'
complete -c tunnelwatch -n $none -l version -d 'the version'

complete -c tunnelwatch -n $none -a run -d 'internal host: keep the tunnels'
complete -c tunnelwatch -n $none -a enroll -d 'internal host: make a key, pin, test'
complete -c tunnelwatch -n $none -a check -d 'find what is wrong'
complete -c tunnelwatch -n $none -a watch -d 'jump host: see whether the ports answer'
complete -c tunnelwatch -n $none -a release -d 'jump host: end a session that holds a port'
complete -c tunnelwatch -n $none -a status -d 'internal host: how the tunnels are'
complete -c tunnelwatch -n $none -a jump -d 'internal host: start and stop the jump host'
complete -c tunnelwatch -n $none -a retry -d 'try now'
complete -c tunnelwatch -n $none -a is-configured -d 'for the units'

complete -c tunnelwatch -n '__fish_seen_subcommand_from enroll' -a '(__tunnelwatch_names)' -d tunnel
complete -c tunnelwatch -n '__fish_seen_subcommand_from enroll' -l host-key -x -d "fingerprint of the jump host's key"
complete -c tunnelwatch -n '__fish_seen_subcommand_from status' -l json -d 'as JSON'
complete -c tunnelwatch -n '__fish_seen_subcommand_from jump; and not __fish_seen_subcommand_from start stop' -l json -d 'as JSON'
complete -c tunnelwatch -n '__fish_seen_subcommand_from jump; and not __fish_seen_subcommand_from start stop status' -a 'start stop status' -d 'the jump host'
complete -c tunnelwatch -n '__fish_seen_subcommand_from jump; and __fish_seen_subcommand_from start stop status' -a '(__tunnelwatch_names)' -d tunnel
complete -c tunnelwatch -n '__fish_seen_subcommand_from is-configured' -a 'run watch' -d 'of this unit'
