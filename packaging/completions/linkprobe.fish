# Completion of linkprobe(8) for fish.

function __linkprobe_names
    set -l config /etc/bastion/bastion.toml
    set -l words (commandline -opc)
    set -l at (contains -i -- --config $words)
    and set -q words[(math $at + 1)]
    and set config $words[(math $at + 1)]
    awk '/^[ \t]*\[/ { here = /^[ \t]*\[\[link\]\]/ }
        here && /^[ \t]*name[ \t]*=/ { split($0, part, "\""); print part[2] }' $config 2>/dev/null
end

# Whether the name stands there: files follow.
function __linkprobe_imports
    set -l words (commandline -opc)
    set -l at (contains -i -- import $words)
    and test (count $words) -gt $at
end

set -l commands check check-config measure watch status report import is-configured
set -l none "not __fish_seen_subcommand_from $commands"

complete -c linkprobe -f
complete -c linkprobe -l config -r -F -d 'the configuration file'
complete -c linkprobe -l state-dir -x -a '(__fish_complete_directories)' -d 'where history and budget are'
complete -c linkprobe -l run-dir -x -a '(__fish_complete_directories)' -d 'where the state of now is'
complete -c linkprobe -l help -d 'a short text'
complete -c linkprobe -n $none -l version -d 'the version'

complete -c linkprobe -n $none -a check -d 'is it there, the right one, good enough?'
complete -c linkprobe -n $none -a check-config -d 'is each [[link]] right?'
complete -c linkprobe -n $none -a measure -d 'how much has it?'
complete -c linkprobe -n $none -a watch -d 'see whether the lines are up'
complete -c linkprobe -n $none -a status -d 'how they are'
complete -c linkprobe -n $none -a report -d 'what the history says'
complete -c linkprobe -n $none -a import -d 'take measurements of other tools'
complete -c linkprobe -n $none -a is-configured -d 'for the units'

complete -c linkprobe -n '__fish_seen_subcommand_from check measure status report' -a '(__linkprobe_names)' -d link
complete -c linkprobe -n '__fish_seen_subcommand_from import; and not __linkprobe_imports' -a '(__linkprobe_names)' -d link
complete -c linkprobe -n '__fish_seen_subcommand_from check measure status report' -l json -d 'as JSON'
complete -c linkprobe -n '__fish_seen_subcommand_from check measure' -l quiet -d 'print nothing'
complete -c linkprobe -n '__fish_seen_subcommand_from check' -l long -d 'look longer'
complete -c linkprobe -n '__fish_seen_subcommand_from measure' -l no-download -d 'leave the download out'
complete -c linkprobe -n '__fish_seen_subcommand_from measure' -l no-upload -d 'leave the upload out'
complete -c linkprobe -n '__fish_seen_subcommand_from report' -l since -x -a '1d 7d 30d 90d all' -d 'how far back'
complete -c linkprobe -n '__fish_seen_subcommand_from report' -l svg -r -F -d 'a picture'
complete -c linkprobe -n '__fish_seen_subcommand_from report' -l html -r -F -d 'a page with the pictures'
complete -c linkprobe -n '__fish_seen_subcommand_from report' -l csv -r -F -d 'a line for each record'
complete -c linkprobe -n __linkprobe_imports -F
