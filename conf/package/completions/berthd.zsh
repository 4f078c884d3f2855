
# Completes account names, where this user may list the accounts.
_berthd() {
    local at=2 operands=0 run=
    local -a config
    while (( at < CURRENT )); do
        case ${words[at]} in
            --config) config=(--config "${(Q)words[at+1]}"); (( at += 1 )) ;;
            @VALUES@) (( at += 1 )) ;;
            -*) ;;
            *)
                if [[ -z $run ]]; then run=${words[at]}
                elif [[ $run == user ]]; then run="user ${words[at]}"
                else (( operands += 1 )); fi
                ;;
        esac
        (( at += 1 ))
    done
    case "$run:$operands" in
        "user show:0" | "user set:0" | "user passwd:0" | "user lock:0" | "user unlock:0" | "user remove:0" | usage:0 | kick:0)
            if (( at == CURRENT )) && [[ ${words[CURRENT]} != -* ]]; then
                compadd -- ${(f)"$(berthd user list $config 2>/dev/null | tail -n +2 | cut -d ' ' -f 1)"}
                return
            fi
            ;;
    esac
    _berthd_options "$@"
}
