//! Every key of `berthd.json`, once: what it means, its default, and when a new value takes effect. The shipped
//! file, the man page and `docs/configuration.md` are made of this table.

/// One key.
pub struct Key {
    /// The objects around it and itself, such as `limits.sessions`.
    pub name: &'static str,
    /// Its value in the shipped file, in JSON.
    pub shipped: &'static str,
    /// What holds without it, for people.
    pub default: &'static str,
    /// Whether a new value takes effect only after a restart, not on SIGHUP.
    pub needs_restart: bool,
    /// What it means.
    pub help: &'static str,
}

const fn key(name: &'static str, shipped: &'static str, default: &'static str, help: &'static str) -> Key {
    Key { name, shipped, default, needs_restart: false, help }
}

const fn restart(key: Key) -> Key {
    Key { needs_restart: true, ..key }
}

/// All keys, in the order of the shipped file. The keys of an object stand together.
pub const KEYS: &[Key] = &[
    restart(key("root", "\".\"", "parent of the file's directory", "where relative paths start")),
    restart(key(
        "user",
        "null",
        "none",
        "the user that the server becomes when root starts it. Other groups of that user do not count: what the server \
         reads or writes must belong to this user or to `group`",
    )),
    restart(key("group", "null", "the user's own", "the group that the server becomes when root starts it")),
    restart(key("listen", "[\"[::]:2121\"]", "`[::]:2121`", "one address or a list, for `berth`")),
    key(
        "plaintext",
        "false",
        "`false`",
        "connections without TLS are allowed, on the same port, to clients that ask for it",
    ),
    key(
        "tls.certificate",
        "null",
        "none",
        "a PEM file; without it the server makes a certificate in `tls/` beside the configuration",
    ),
    key("tls.key", "null", "none", "the PEM file of the key of `tls.certificate`"),
    restart(key(
        "ftp.listen",
        "null",
        "none",
        "one address or a list for FTP, and FTPS by `AUTH TLS`; 2120 is usual. FTP is off without this and \
         `ftp.listen_tls`",
    )),
    restart(key("ftp.listen_tls", "null", "none", "one address or a list for FTPS that begins with TLS")),
    key("ftp.plaintext", "null", "`plaintext`", "FTP passwords and data may travel without TLS"),
    key(
        "ftp.passive_ports",
        "null",
        "`61000-65535`",
        "ports of passive data connections, such as `50000-50099`; none below 1024",
    ),
    key(
        "ftp.public_address",
        "null",
        "the local one",
        "the IPv4 address that `PASV` announces behind NAT; clients in the server's own private network get the local one",
    ),
    key("ftp.active", "false", "`false`", "`PORT` and `EPRT`: the server connects to the client for data"),
    key("ftp.data_timeout", "30", "30", "time from the command of a transfer to its data connection; at most `10m`"),
    key(
        "ftp.session_reuse",
        "\"offered\"",
        "`offered`",
        "`offered`: a client that has resumed a TLS session on a data connection with TLS 1.2, or used one ticket of TLS \
         1.3 twice, must resume on every later one. It may resume any session of its account; others are refused (522). \
         For other clients the server prefers the connection that resumes, and takes a single one in any case. \
         `required`: the TLS of a data connection must resume its control connection's. With TLS 1.3, clients forget all \
         tickets after 7 days without a transfer, and curl before 8.10 needs `--tls-max 1.2` for several uploads in one \
         run, because it does not wait for new tickets",
    ),
    key(
        "ftp.close_notify",
        "\"required\"",
        "`required`",
        "`optional`: an upload over TLS that just ends counts as whole, as some devices need it",
    ),
    key("ftp.hash_uploads", "false", "`false`", "SHA-256 of FTP uploads is computed as they come, and logged"),
    restart(key(
        "home_roots",
        "[\"homes\"]",
        "`homes`",
        "the directories that homes lie below; new homes are made below the first",
    )),
    key("default_quota", "null", "none", "quota of accounts that are added without `--quota`"),
    key("limits.sessions", "10000", "10000", "sessions at once"),
    key(
        "limits.strangers",
        "1000",
        "1000",
        "connections without a login at once. For one more, or when anything else is full, the one that has waited \
         longest is closed, of the address with the most of them; a session with a login never is",
    ),
    key(
        "limits.sessions_per_account",
        "null",
        "a tenth of `limits.sessions`, at least 16",
        "sessions of one account at once",
    ),
    key(
        "limits.sessions_per_address",
        "null",
        "a tenth of `limits.sessions`, at least 16",
        "sessions from one address at once: an IPv4 address, or an IPv6 network of 64 bits",
    ),
    key(
        "limits.memory",
        "\"136M\"",
        "`136M`",
        "memory that connections and requests may hold beside the program itself. 40 KiB for each of `limits.strangers` \
         are set aside; the rest, at least `8M`, is for listings and buffers of users, at most half of it for one account. \
         A listing without room waits for up to 10 s and is refused with `busy`; transfers continue with small buffers",
    ),
    key("limits.login_tries", "3", "3", "failed logins on one connection, after which it is closed"),
    key("rates.requests", "null", "none", "requests a second of one session; further ones wait"),
    key("rates.requests_burst", "null", "a second's worth", "requests of one session at once, after a pause"),
    key(
        "rates.session_up",
        "null",
        "none",
        "bytes a second from one session to the server, such as `10M`; at least `1K`. A second's worth may move at once \
         after a pause",
    ),
    key("rates.session_down", "null", "none", "the same from the server to one session"),
    key("rates.account_up", "null", "none", "the same for all sessions of an account together, which share it alike"),
    key("rates.account_down", "null", "none", "the same from the server to all sessions of an account"),
    key("timeouts.login", "30", "30", "from the connection to the login"),
    key("timeouts.idle", "\"15m\"", "`15m`", "between two commands"),
    key("timeouts.stall", "120", "120", "without progress in a transfer"),
    key("timeouts.drain", "30", "30", "for running transfers to finish after SIGTERM"),
    key(
        "timeouts.storage",
        "30",
        "30",
        "for a disk to answer a sync. Then uploads that wait for it are refused (`io`, try again; FTP 451), and so is \
         every new upload and every removal there until it answers; the log and `berthd status` name it. What was stored \
         of an upload can be resumed",
    ),
    key(
        "sync",
        "\"data\"",
        "`data`",
        "`none`: the kernel writes when it likes. `data`: content is on disk before the name appears. `full`: the name and \
         the directories above it are, too, before the upload is acknowledged",
    ),
    restart(key(
        "partial_expiry",
        "\"7d\"",
        "`7d`",
        "how long an interrupted upload is kept. A home has at most 64; the oldest makes room for one more. One that the \
         disk had no room for is kept for at most an hour. Nothing expires before the clock has run for an hour without a \
         jump",
    )),
    key("scram_rounds", "100000", "100000", "PBKDF2 rounds of new passwords; the client computes them, not the server"),
    restart(key("logs.access", "\"logs/access.log\"", "`logs/access.log`", "connections, logins, commands, refusals")),
    restart(key(
        "logs.transactions",
        "\"logs/transactions.log\"",
        "`logs/transactions.log`",
        "a line for each transfer",
    )),
    restart(key(
        "logs.bytes_max",
        "\"16M\"",
        "`16M`",
        "size at which a log begins again. One old one of each is kept as `….log.old`, so all of them take four times as \
         much at most",
    )),
    restart(key(
        "control_folder",
        "null",
        "that of the file",
        "where `control.sock` is, over which `berthd` asks the running server",
    )),
];

impl Key {
    /// The object around it and its name there.
    fn parts(&self) -> (Option<&'static str>, &'static str) {
        self.name.split_once('.').map_or((None, self.name), |(object, name)| (Some(object), name))
    }
}

/// The shipped file: every key with its default.
pub fn shipped_file() -> String {
    let lines = |keys: &[Key], indent: &str| {
        let lines = keys.iter().map(|key| format!("{indent}\"{}\": {}", key.parts().1, key.shipped));
        lines.collect::<Vec<_>>().join(",\n")
    };
    let groups = KEYS.chunk_by(|one, next| one.parts().0 == next.parts().0);
    let entries = groups.map(|keys| match keys[0].parts().0 {
        None => lines(keys, "  "),
        Some(object) => format!("  \"{object}\": {{\n{}\n  }}", lines(keys, "    ")),
    });
    format!("{{\n{}\n}}\n", entries.collect::<Vec<_>>().join(",\n"))
}

/// The rows of the table of `docs/configuration.md`, in Markdown.
pub fn markdown_rows() -> String {
    let row = |key: &Key| {
        let when = if key.needs_restart { "restart" } else { "SIGHUP" };
        format!("| `{}` | {} | {when} | {} |\n", key.name, key.default, key.help)
    };
    KEYS.iter().map(row).collect()
}
