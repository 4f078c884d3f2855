
# Completes account names, where this user may list the accounts.
_berthd_words() {
    _berthd "$@"
    local word=${COMP_WORDS[COMP_CWORD]} path= operands=0 at name config=()
    case $word in -*) return ;; esac
    for ((at = 1; at < COMP_CWORD; at++)); do
        case ${COMP_WORDS[at]} in
            --config) config=(--config "${COMP_WORDS[at+1]}") at=$((at + 1)) ;;
            @VALUES@) at=$((at + 1)) ;;
            -*) ;;
            user | usage | kick) if [ -z "$path" ]; then path=${COMP_WORDS[at]}; else operands=$((operands + 1)); fi ;;
            *) if [ "$path" = user ]; then path="user ${COMP_WORDS[at]}"; else operands=$((operands + 1)); fi ;;
        esac
    done
    case $path:$operands in
        "user show:0" | "user set:0" | "user passwd:0" | "user lock:0" | "user unlock:0" | "user remove:0" | usage:0 | kick:0) ;;
        *) return ;;
    esac
    case ${COMP_WORDS[COMP_CWORD-1]} in @VALUES@ | --config) return ;; esac
    compopt +o default +o bashdefault 2>/dev/null
    COMPREPLY=()
    for name in $(berthd user list "${config[@]}" 2>/dev/null | tail -n +2 | cut -d ' ' -f 1); do
        case $name in "$word"*) COMPREPLY+=("$name") ;; esac
    done
}
complete -F _berthd_words -o nosort -o bashdefault -o default berthd
