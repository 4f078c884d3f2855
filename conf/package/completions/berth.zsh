
# Prints the entries of a directory of the server, one a line, where a login works without a question.
_berth_remote() {
    local host=$1 word=$2 directory= name
    if [[ -z ${BERTH_PASSWORD-} ]] &&
        ! berth host list --json 2>/dev/null | grep -F "\"name\":\"$host\"" | grep -q '"password_command":"'; then
        return
    fi
    if [[ $word == */* ]]; then directory=${word%/*}/; fi
    timeout 3 berth --quiet --retries 0 "$host" ls -1 ${directory:+"$directory"} </dev/null 2>/dev/null |
        while IFS= read -r name; do print -r -- "$directory$name"; done
}

_berth_remote_files() {
    local -a names
    names=("${(@f)$(_berth_remote "$host" "${(Q)PREFIX}")}")
    names=(${names:#})
    (( $#names )) || return 1
    compadd -S '' -- ${(M)names:#*/}
    compadd -- ${names:#*/}
}

# Named hosts first, then a command and its arguments.
_berth() {
    local at=2 host command kind operands=0
    local -a options
    while (( at < CURRENT )); do
        case ${words[at]} in
            @VALUES@) (( at += 2 )) ;;
            -*) (( at += 1 )) ;;
            *) break ;;
        esac
    done
    host=${words[at]}
    if (( at >= CURRENT )) || [[ $host == host ]]; then
        if [[ ${words[CURRENT]} != -* ]] &&
            { (( at == CURRENT )) || { [[ ${words[at+1]} == remove ]] && (( CURRENT > at + 1 )) } }; then
            compadd -- ${(f)"$(berth host list 2>/dev/null | cut -d ' ' -f 1)"}
            (( at == CURRENT )) && compadd -- host
            return
        fi
        if (( CURRENT == at + 1 )); then
            compadd -- add list remove help
            return
        fi
        _berth_options "$@"
        return
    fi
    if (( at + 1 == CURRENT )); then
        compadd -- @NAMES@
        return
    fi
    command=${words[at+1]}
    case $command in
@COMMANDS@
    esac
    if [[ ${words[CURRENT]} == -* ]]; then
        compadd -- ${=options}
        return
    fi
    (( at += 2 ))
    while (( at < CURRENT )); do
        case ${words[at]} in
            @SWAP@) kind=remote-local ;;
            @WITH_VALUE@) (( at += 1 )) ;;
            -?*) ;;
            *) (( operands += 1 )) ;;
        esac
        (( at += 1 ))
    done
    case $kind:$operands in
        commands:*) compadd -- @NAMES@ ;;
        remote:* | remote-local:0) _berth_remote_files ;;
        local:* | local-remote:0) _files ;;
        local-directories:*) _files -/ ;;
        remote-local:*) _files || _berth_remote_files ;;
        local-remote:*) _berth_remote_files || _files ;;
    esac
}
