//! Every key of `berthd.json` with its help: its meaning, its default, and when a new value takes effect. The
//! shipped file, the man page and `docs/configuration.md` come from this table. `raw` reads the keys.

/// One key.
pub struct Key {
    /// The path of the key, such as `limits.sessions`.
    pub name: &'static str,
    /// The value in the shipped file, in JSON.
    pub shipped: &'static str,
    /// The default, for people.
    pub default: &'static str,
    /// Whether a new value takes effect only after a restart, not on SIGHUP.
    pub needs_restart: bool,
    /// The meaning.
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
    restart(key(
        "root",
        "\".\"",
        "parent of the directory of this file",
        "The directory that relative paths in this file start at. A relative `root` starts at its default.",
    )),
    restart(key(
        "user",
        "null",
        "none",
        "The user that the server switches to if root starts it. It drops all groups except `group`.",
    )),
    restart(key("group", "null", "the user's own", "The group that the server switches to. It needs `user`.")),
    restart(key(
        "listen",
        "[\"[::]:2121\"]",
        "`[::]:2121`",
        "Address or list of addresses for `berth`, with ports. `[::]` accepts IPv6 and IPv4.",
    )),
    key("plaintext", "false", "`false`", "Also accept connections without TLS, on the same port."),
    key(
        "tls.certificate",
        "null",
        "none",
        "PEM file with the certificate, then its issuers. Without it, the server creates its own in `tls/` beside \
         this file.",
    ),
    key("tls.key", "null", "none", "PEM file with the key of `tls.certificate`."),
    restart(key(
        "ftp.listen",
        "null",
        "none",
        "Address or list of addresses for FTP with optional TLS (`AUTH TLS`), usually with port 2120. FTP is off \
         without `ftp.listen` and `ftp.listen_tls`.",
    )),
    restart(key(
        "ftp.listen_tls",
        "null",
        "none",
        "Address or list of addresses for FTP that begins with TLS, usually with port 990.",
    )),
    key("ftp.plaintext", "null", "`plaintext`", "Also accept FTP passwords and data without TLS."),
    key(
        "ftp.passive_ports",
        "null",
        "`61000-65535`",
        "Ports of passive data connections, such as `50000-50099`: 1024 or higher, at least one for each transfer at \
         once.",
    ),
    key(
        "ftp.public_address",
        "null",
        "the address that the client connected to",
        "The IPv4 address that `PASV` announces, for a server behind NAT. Clients in the server's own private network \
         get the default.",
    ),
    key("ftp.active", "false", "`false`", "Allow active mode (`PORT` and `EPRT`): the server connects to the client."),
    key("ftp.data_timeout", "30", "30", "How long a transfer waits for its data connection, at most `10m`."),
    key(
        "ftp.session_reuse",
        "\"offered\"",
        "`offered`",
        "Whether the TLS of a data connection must resume the session of its control connection: `offered` or \
         `required`; `docs/ftp.md` explains them.",
    ),
    key(
        "ftp.close_notify",
        "\"required\"",
        "`required`",
        "`optional`: store an upload even if the client closes TLS without `close_notify`, as some devices do. Then a \
         cut connection can store a truncated file.",
    ),
    key("ftp.hash_uploads", "false", "`false`", "Compute the SHA-256 of FTP uploads while they arrive, and log it."),
    restart(key(
        "home_roots",
        "[\"homes\"]",
        "`homes`",
        "Directories that contain homes. `berthd user add` creates new homes in the first one.",
    )),
    key(
        "default_quota",
        "null",
        "none",
        "The quota of accounts that are added without `--quota`. Existing accounts keep theirs.",
    ),
    key("limits.sessions", "10000", "10000", "Connections at once, with and without a login."),
    key("limits.strangers", "1000", "1000", "Connections without a login at once."),
    key(
        "limits.sessions_per_account",
        "null",
        "a tenth of `limits.sessions`, at least 16",
        "Sessions of one account at once.",
    ),
    key(
        "limits.sessions_per_address",
        "null",
        "a tenth of `limits.sessions`, at least 16",
        "Connections at once from one IPv4 address, or one IPv6 network of 64 bits.",
    ),
    key(
        "limits.memory",
        "\"136M\"",
        "`96M`, and 40 KiB for each of `limits.strangers`; at least `136M`",
        "Memory for buffers and listings of all connections. 40 KiB for each of `limits.strangers` are reserved; the \
         rest, at least `8M`, is for users. One account gets at most half of the rest.",
    ),
    key("limits.login_tries", "3", "3", "Failed logins on one connection. Then the server closes it."),
    key("rates.requests", "null", "none", "Requests a second of one session. More requests wait."),
    key(
        "rates.requests_burst",
        "null",
        "as many as `rates.requests`",
        "Requests that one session may send at once after a pause. It needs `rates.requests`.",
    ),
    key(
        "rates.session_up",
        "null",
        "none",
        "Bytes a second from one session to the server, such as `10M`; at least `1K`.",
    ),
    key("rates.session_down", "null", "none", "Bytes a second from the server to one session."),
    key(
        "rates.account_up",
        "null",
        "none",
        "Bytes a second from all sessions of one account to the server, shared equally.",
    ),
    key(
        "rates.account_down",
        "null",
        "none",
        "Bytes a second from the server to all sessions of one account, shared equally.",
    ),
    key("timeouts.login", "30", "30", "The server closes a connection that has not logged in after this time."),
    key("timeouts.idle", "\"15m\"", "`15m`", "The server closes a session without a command for this time."),
    key("timeouts.stall", "120", "120", "The server closes a session whose transfer makes no progress for this time."),
    key("timeouts.drain", "30", "30", "How long running transfers may continue after SIGTERM. 0: stop at once."),
    key(
        "timeouts.storage",
        "30",
        "30",
        "How long the server waits for a file system to answer. Then requests to it fail (`io`, FTP 451) until it \
         answers. They can be tried again, and uploads can be resumed.",
    ),
    key(
        "sync",
        "\"data\"",
        "`data`",
        "`none`: the kernel writes uploads to disk later. `data`: the content is on disk before the file gets its \
         name. `full`: its name is on disk, too, before the upload is acknowledged.",
    ),
    restart(key(
        "partial_expiry",
        "\"7d\"",
        "`7d`",
        "How long a partial upload is kept; at most an hour if it met a full disk. A home keeps at most 64, and the \
         server drops those first that expire first.",
    )),
    key(
        "scram_rounds",
        "100000",
        "100000",
        "PBKDF2 rounds of new passwords, 4096 to 5000000. `berth` computes them itself; for an FTP client, the server \
         does.",
    ),
    restart(key(
        "logs.access",
        "\"logs/access.log\"",
        "`logs/access.log`",
        "The log of connections, logins, requests and refusals.",
    )),
    restart(key("logs.transactions", "\"logs/transactions.log\"", "`logs/transactions.log`", "The log of transfers.")),
    restart(key(
        "logs.bytes_max",
        "\"16M\"",
        "`16M`",
        "Maximum size of each log, at least `64K`. The server renames a full log to `….log.old` and starts a new one. \
         Both logs together take at most four times this size.",
    )),
    restart(key(
        "control_folder",
        "null",
        "the directory of this file",
        "The directory of `control.sock`, which `berthd status`, `usage` and `kick` use.",
    )),
];

impl Key {
    /// Returns the object around it, if there is one, and its name there.
    fn parts(&self) -> (Option<&'static str>, &'static str) {
        self.name.split_once('.').map_or((None, self.name), |(object, name)| (Some(object), name))
    }
}

/// Returns the shipped file: every key with its default.
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

/// Returns the rows of the table of `docs/configuration.md`, in Markdown.
pub fn markdown_rows() -> String {
    let row = |key: &Key| {
        let when = if key.needs_restart { "restart" } else { "SIGHUP" };
        format!("| `{}` | {} | {when} | {} |\n", key.name, key.default, key.help)
    };
    KEYS.iter().map(row).collect()
}
