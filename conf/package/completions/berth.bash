
# Prints the entries of a directory of the server, one a line, where a login works without a question.
_berth_remote() {
    local host=$1 word=$2 directory=
    if [ -z "${BERTH_PASSWORD-}" ] &&
        ! berth host list --json 2>/dev/null | grep -F "\"name\":\"$host\"" | grep -q '"password_command":"'; then
        return
    fi
    case $word in */*) directory=${word%/*}/ ;; esac
    timeout 3 berth --quiet --retries 0 "$host" ls -1 ${directory:+"$directory"} </dev/null 2>/dev/null |
        while IFS= read -r name; do printf '%s\n' "$directory$name"; done
}

# The words of the line; readline splits them at : and @ too.
_berth_line() {
    local word is_joined=
    line=()
    for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        case $word in
            : | @ | =) line[${#line[@]}-1]+=$word is_joined=1 ;;
            *)
                if [ -n "$is_joined" ]; then line[${#line[@]}-1]+=$word; else line+=("$word"); fi
                is_joined=
                ;;
        esac
    done
    if [ -n "$is_joined" ]; then line[${#line[@]}-1]+=; fi
}

# Offers the lines of $1 that begin with what was typed.
_berth_offer() {
    local IFS=$'\n' name
    for name in $1; do
        case $name in "$word"*) COMPREPLY+=("$name") ;; esac
    done
}

_berth_files() {
    local IFS=$'\n'
    compopt -o filenames 2>/dev/null
    COMPREPLY+=($(compgen "$1" -- "$word"))
}

_berth_remote_files() {
    compopt -o filenames +o default +o bashdefault 2>/dev/null
    _berth_offer "$(_berth_remote "$host" "$word")"
}

# Completes the operand $2 (from 0) of a command that takes operands of the kind $1.
_berth_operand() {
    case $1:$2 in
        commands:*) _berth_offer $'@NAMES@' ;;
        remote:* | remote-local:0) _berth_remote_files ;;
        local:* | local-remote:0) _berth_files -f ;;
        local-directories:*) _berth_files -d ;;
        remote-local:*)
            _berth_files -f
            if [ ${#COMPREPLY[@]} -eq 0 ]; then _berth_remote_files; fi
            ;;
        local-remote:*)
            _berth_remote_files
            if [ ${#COMPREPLY[@]} -eq 0 ]; then _berth_files -f; fi
            ;;
        *) compopt +o default +o bashdefault 2>/dev/null ;;
    esac
}

_berth_words() {
    local line word host at=1 command kind options operands=0
    _berth_line
    word=${COMP_WORDS[COMP_CWORD]}
    local last=$((${#line[@]} - 1))
    while [ "$at" -lt "$last" ]; do
        case ${line[at]} in
            @VALUES@) at=$((at + 2)) ;;
            -*) at=$((at + 1)) ;;
            *) break ;;
        esac
    done
    host=${line[at]}
    if [ "$at" -ge "$last" ] || [ "$host" = host ]; then
        _berth "$@"
        case $word in -*) return ;; esac
        if [ "$at" -lt "$last" ] && [ "${line[at+1]}" = remove ] && [ "$last" -gt $((at + 1)) ]; then
            COMPREPLY=()
            compopt +o default +o bashdefault 2>/dev/null
            _berth_offer "$(berth host list 2>/dev/null | cut -d ' ' -f 1)"
        elif [ "$at" -eq "$last" ]; then
            _berth_offer "$(berth host list 2>/dev/null | cut -d ' ' -f 1)"
        fi
        return
    fi
    if [ $((at + 1)) -eq "$last" ]; then
        _berth_offer $'@NAMES@'
        return
    fi
    command=${line[at+1]}
    case $command in
@COMMANDS@
    esac
    case $word in
        -*) _berth_offer "${options// /$'\n'}"; return ;;
    esac
    at=$((at + 2))
    while [ "$at" -lt "$last" ]; do
        case ${line[at]} in
            @SWAP@) kind=remote-local ;;
            @WITH_VALUE@) at=$((at + 1)) ;;
            -?*) ;;
            *) operands=$((operands + 1)) ;;
        esac
        at=$((at + 1))
    done
    _berth_operand "$kind" "$operands"
}
complete -F _berth_words -o nosort -o bashdefault -o default berth
