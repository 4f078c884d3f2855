
# Prints the account names, where this user may list the accounts.
function __berthd_accounts
    set -l line (commandline -opc)
    set -l config
    if set -l at (contains -i -- --config $line)
        set config --config $line[(math $at + 1)]
    end
    berthd user list $config 2>/dev/null | tail -n +2 | string split -f 1 ' '
end
complete -c berthd -n "__fish_seen_subcommand_from user; and __fish_seen_subcommand_from show set passwd lock unlock remove" -f -a "(__berthd_accounts)"
complete -c berthd -n "__fish_seen_subcommand_from usage kick; and not __fish_seen_subcommand_from user" -f -a "(__berthd_accounts)"
