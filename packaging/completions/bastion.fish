# Completion of bastion(8) for fish.

function __bastion_config
    set -l words (commandline -opc)
    set -l at (contains -i -- --config $words)
    and set -q words[(math $at + 1)]
    and echo $words[(math $at + 1)]
    or echo /etc/bastion/bastion.toml
end

function __bastion_channels
    sed -n 's/^[[:space:]]*\[notify\.channel\.\([A-Za-z0-9_-]*\)\].*/\1/p' (__bastion_config) 2>/dev/null
end

# Whoever may not look there is offered nothing.
function __bastion_ids
    bastion --config (__bastion_config) queue $argv 2>/dev/null | sed -n 's/^\([a-z0-9]\{6\}\) .*/\1/p'
end

set -l commands run send test queue report enable disable check drill allow why is-configured
set -l none "not __fish_seen_subcommand_from $commands"
set -l queue "__fish_seen_subcommand_from queue; and not __fish_seen_subcommand_from list show retry drop"

complete -c bastion -f
complete -c bastion -l config -r -F -d 'the configuration file'
complete -c bastion -l help -d 'a short text'
complete -c bastion -n $none -l version -d 'the version'

complete -c bastion -n $none -a run -d 'the sender'
complete -c bastion -n $none -a send -d 'put a text into the spool, for scripts'
complete -c bastion -n $none -a test -d 'send a message now'
complete -c bastion -n $none -a queue -d 'list, show, retry and drop alerts'
complete -c bastion -n $none -a report -d 'what the weekly report would say now'
complete -c bastion -n $none -a enable -d 'logins are told'
complete -c bastion -n $none -a disable -d 'logins are not told any more'
complete -c bastion -n $none -a check -d 'what is wrong on this host'
complete -c bastion -n $none -a drill -d 'prove the whole way'
complete -c bastion -n $none -a allow -d 'make a place known good for a time'
complete -c bastion -n $none -a why -d 'whether a login would be told, and why'
complete -c bastion -n $none -a is-configured -d 'for the unit'

complete -c bastion -n '__fish_seen_subcommand_from run' -l stderr -d 'repeat every log line on standard error'

complete -c bastion -n '__fish_seen_subcommand_from send' -l severity -x -a 'info warning critical' -d 'how urgent it is'
complete -c bastion -n '__fish_seen_subcommand_from send' -l down -x -d 'is not well from now on'
complete -c bastion -n '__fish_seen_subcommand_from send' -l up -x -d 'is well again'
complete -c bastion -n '__fish_seen_subcommand_from send' -l tally -x -d 'is added up for the weekly report'

complete -c bastion -n '__fish_seen_subcommand_from test' -a '(__bastion_channels)' -d channel

complete -c bastion -n $queue -a list -d 'what waits'
complete -c bastion -n $queue -a show -d 'everything about one alert'
complete -c bastion -n $queue -a retry -d 'send a failed alert again'
complete -c bastion -n $queue -a drop -d 'do not send an alert that waits'
complete -c bastion -n '__fish_seen_subcommand_from queue' -l failed -d 'what has failed'
complete -c bastion -n '__fish_seen_subcommand_from queue' -l sent -d 'what has been sent'
complete -c bastion -n '__fish_seen_subcommand_from queue; and __fish_seen_subcommand_from show drop' -a '(__bastion_ids)' -d waits
complete -c bastion -n '__fish_seen_subcommand_from queue; and __fish_seen_subcommand_from show retry' -a '(__bastion_ids --failed)' -d failed
complete -c bastion -n '__fish_seen_subcommand_from queue; and __fish_seen_subcommand_from retry' -a all -d 'all that have failed'

complete -c bastion -n '__fish_seen_subcommand_from enable disable' -l dry-run -d 'show the change alone'
complete -c bastion -n '__fish_seen_subcommand_from check' -l online -d 'ask the providers'
complete -c bastion -n '__fish_seen_subcommand_from check' -l json -d 'as JSON'
complete -c bastion -n '__fish_seen_subcommand_from drill' -l monthly -d 'for the timer'
complete -c bastion -n '__fish_seen_subcommand_from drill' -l json -d 'as JSON'

complete -c bastion -n '__fish_seen_subcommand_from allow' -l for -x -a '2h 8h 1d 2d 7d' -d 'how long'
complete -c bastion -n '__fish_seen_subcommand_from allow' -l list -d 'what is allowed'
complete -c bastion -n '__fish_seen_subcommand_from allow' -l remove -x -d 'end what has this number or address'
complete -c bastion -n '__fish_seen_subcommand_from allow why' -l user -x -a '(__fish_complete_users)' -d user
complete -c bastion -n '__fish_seen_subcommand_from allow why' -l key -x -d 'fingerprint of a key'
