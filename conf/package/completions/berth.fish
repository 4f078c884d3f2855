
# Prints the entries of a directory of the server, one a line, where a login works without a question.
function __berth_remote
    set -l host $argv[1]
    set -l word $argv[2]
    if test -z "$BERTH_PASSWORD"
        berth host list --json 2>/dev/null | string match -q "*\"name\":\"$host\",*\"password_command\":\"*"; or return
    end
    set -l directory (string match -r '^.*/' -- $word)
    timeout 3 berth --quiet --retries 0 $host ls -1 $directory </dev/null 2>/dev/null | string replace -r '^' "$directory"
end

# Prints what can follow: named hosts, a command, its options and arguments.
function __berth_words
    set -l line (commandline -opc)
    set -l word (commandline -ct)
    set -e line[1]
    while set -q line[1]
        switch $line[1]
            case @VALUES@
                set -e line[1]
            case '-*'
            case '*'
                break
        end
        set -e line[1]
    end
    set -l host $line[1]
    if test -z "$host"
        berth host list 2>/dev/null | string split -f 1 ' '
        return
    end
    if test "$host" = host
        if test "$line[2]" = remove
            berth host list 2>/dev/null | string split -f 1 ' '
        end
        return
    end
    set -l command $line[2]
    if test -z "$command"
        printf '%s\n' @NAMES@
        return
    end
    set -l kind
    set -l options
    switch $command
@COMMANDS@
    end
    set -e line[1..2]
    if string match -q -- '-*' "$word"
        printf '%s\n' $options
        return
    end
    set -l operands 0
    while set -q line[1]
        switch $line[1]
            case @SWAP@
                set kind remote-local
            case @WITH_VALUE@
                set -e line[1]
            case '-?*'
            case '*'
                set operands (math $operands + 1)
        end
        set -e line[1]
    end
    switch $kind:$operands
        case 'commands:*'
            printf '%s\n' @NAMES@
        case 'remote:*' 'remote-local:0'
            __berth_remote $host $word
        case 'local:*' 'local-remote:0'
            __fish_complete_path $word
        case 'local-directories:*'
            __fish_complete_directories $word
        case 'remote-local:*'
            __fish_complete_path $word
            __berth_remote $host $word
        case 'local-remote:*'
            __berth_remote $host $word
            __fish_complete_path $word
    end
end
complete -c berth -f -a "(__berth_words)"
