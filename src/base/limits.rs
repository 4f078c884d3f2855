//! The bounds of both programs, each with its reason. Values that an administrator may change have
//! their default and range here and their key in `config`.

use std::ops::RangeInclusive;
use std::time::Duration;

// ---- The wire -----------------------------------------------------------------------------

/// Body of a control frame before login. A hello or a SCRAM message needs a few hundred bytes.
pub const CONTROL_BYTES_MAX_BEFORE_LOGIN: usize = 4 * 1024;
/// Body of a control frame after login. Two escaped paths of [`PATH_BYTES_MAX`] fit.
pub const CONTROL_BYTES_MAX: usize = 64 * 1024;
/// Payload of one data frame. A transfer can be cancelled only between frames, so this much may still
/// arrive after a cancel.
pub const DATA_BYTES_MAX: usize = 1024 * 1024;
/// Text of an error: a path and what is wrong with it. Even with each byte escaped, the frame stays
/// under [`CONTROL_BYTES_MAX`].
pub const ERROR_MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// Text of an error before login.
pub const ERROR_MESSAGE_BYTES_MAX_BEFORE_LOGIN: usize = 512;
/// Requests that a client may have sent without their replies.
pub const IN_FLIGHT_MAX: usize = 64;
/// Requests decoded ahead of the running one, in bytes of their frames. Bounds what a peer can queue in
/// a session beyond its input.
pub const PIPELINE_BYTES_MAX: usize = 128 * 1024;
/// Requests in flight before login: a login sends one at a time.
pub const IN_FLIGHT_BEFORE_LOGIN: usize = 2;
/// Requests decoded ahead by a session without memory for a large input, in bytes.
pub const PIPELINE_BYTES_FIRST: usize = INPUT_BYTES_FIRST;
/// Entries in one page of a listing. The page also ends at [`PAGE_BYTES_TARGET`].
pub const PAGE_ENTRIES_MAX: usize = 256;
/// A page ends once its names exceed this, so that its frame stays under [`CONTROL_BYTES_MAX`] even
/// when each byte of a name is escaped.
pub const PAGE_BYTES_TARGET: usize = 6 * 1024;

/// Content of a file that `cat --json` puts into one object, because readers hold an object in memory
/// as a whole.
pub const JSON_CONTENT_BYTES_MAX: u64 = 16 * 1024 * 1024;

// ---- Names and paths ----------------------------------------------------------------------

/// One component of a path: NAME_MAX of common file systems.
pub const NAME_BYTES_MAX: usize = 255;
/// A virtual path: PATH_MAX less the final NUL.
pub const PATH_BYTES_MAX: usize = 4095;
/// An account name: it is used as file name, folder name and log field.
pub const ACCOUNT_NAME_BYTES_MAX: usize = 64;
/// A password as typed. A longer one is probably a file piped into the prompt.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// Output of a password command: the password, then notes that are kept with it.
pub const PASSWORD_OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// An account or configuration file. Real ones are under 4 KiB.
pub const SMALL_FILE_BYTES_MAX: u64 = 256 * 1024;

// ---- Buffers and turns --------------------------------------------------------------------

/// Receive buffer at first: enough for a session that rarely sends requests.
pub const INPUT_BYTES_FIRST: usize = 8 * 1024;
/// Receive buffer once a session has filled the first one. One read, one hash and one write of it fit
/// the L2 cache, and it is larger than the largest control frame.
pub const INPUT_BYTES: usize = 256 * 1024;
/// Bytes of memory in a send buffer above which no more is produced, at first.
pub const OUTPUT_BYTES_FIRST: usize = 2 * 1024;
/// The same bound once a session has produced that much and memory is available. The buffer holds at
/// most one piece more than this.
pub const OUTPUT_BYTES_HIGH: usize = 64 * 1024;
/// A piece of a file that is read into a send buffer without memory for a large one.
pub const PIECE_BYTES_FIRST: usize = 16 * 1024;
/// What one turn may move and hash: one piece. At 1.7 GB/s of SHA-256 this takes 0.15 ms, so eight busy
/// transfers delay a small command by little more than 1 ms.
pub const TURN_BUDGET: u64 = PIECE_BYTES as u64;
/// How often one turn of a session with a data connection may fill, step and send on both sockets while
/// little moves there. A small file takes this many from connection to end.
pub const ROUNDS_PER_TURN: usize = 5;
/// What one turn may send when nothing else is busy. Sending a file range costs the loop a tenth of
/// hashing it.
pub const FLUSH_BUDGET: usize = 1024 * 1024;
/// What one turn may send however many transfers are busy. Less would cost mostly system calls and
/// wakeups. It also keeps transfers even: a socket takes large pieces only once its windows have grown,
/// so the transfer that began first would get more of every round.
pub const FLUSH_BUDGET_MIN: usize = 160 * 1024;
/// The least that a request costs of a turn's budget: its system calls take about as long as moving
/// this many bytes.
pub const REQUEST_COST: u64 = 8 * 1024;
/// Cost of a component of a path. The kernel looks each one up, and again at each parent when it checks
/// Landlock rules. A path of the greatest length has two thousand components and takes a whole turn.
pub const PATH_COMPONENT_COST: u64 = 128;
/// Cost of making or finding a folder besides its path: a journalling file system takes as long as
/// hashing this many bytes.
pub const FOLDER_COST: u64 = 32 * 1024;
/// Cost of reading the record of a partial upload: open, read, parse and close a small file.
pub const RECORD_COST: u64 = 32 * 1024;
/// How far ahead of a download the kernel is asked to read, so that a cold disk rarely blocks.
pub const PREFETCH_BYTES: u64 = 2 * 1024 * 1024;
/// Cost of reading, stating and sorting one directory entry.
pub const ENTRY_COST: u64 = 2048;
/// A piece of a file that is read or hashed at once.
pub const PIECE_BYTES: usize = 256 * 1024;
/// Turns of busy connections between two polls. A small request that arrives meanwhile waits for no
/// more than these: 0.5 ms if each hashes a whole piece.
pub const TURNS_PER_ROUND: usize = 2;
/// Turns of woken connections between two polls. Busy connections get as many, so woken ones take at
/// most half of the turns.
pub const ASKING_PER_ROUND: usize = 16;
/// No turn of a user begins later than this after a poll, because another connection may have become
/// ready.
pub const ROUND_TIME: Duration = Duration::from_micros(500);
/// Turns of unauthenticated connections between two polls if no other connection wants one; otherwise
/// one.
pub const STRANGERS_PER_ROUND: usize = 4;
/// A user whose turns took far longer than others' is held back until the others have caught up, but
/// for at most this for each of them: a user that met a slow disk once is not shut out.
pub const OWNER_DEBT_MAX: Duration = Duration::from_millis(100);
/// A turn longer than this is logged with its state, because something in it blocks.
pub const TURN_WARN: Duration = Duration::from_millis(50);
/// How long start and shutdown wait for a service manager whose queue is full.
pub const SUPERVISOR_WAIT: Duration = Duration::from_millis(100);
/// The least time between two log lines of one kind.
pub const WARN_INTERVAL: Duration = Duration::from_secs(10);
/// Connections accepted per round, so that a flood of them cannot starve running sessions.
pub const ACCEPTS_PER_ROUND: usize = 64;
/// The share of all descriptors that may become sockets. The rest is reserved for homes and files of
/// logged-in users.
pub const DESCRIPTORS_FOR_SOCKETS_PERCENT: u64 = 60;
/// Connections that the loop examines in one turn for an admin query: about ten microseconds.
pub const SURVEY_SLOTS_PER_TURN: usize = 128;
/// Steps of a histogram, each twice as long as the one before: from a microsecond to half a second, and
/// one step for longer times.
pub const HISTOGRAM_STEPS: usize = 21;
/// The refresh interval of `berthd status --watch`.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Readiness events taken from one poll.
pub const EVENTS_PER_POLL: usize = 1024;
/// Pause after accept failed for want of descriptors or memory. No new edge announces the connections
/// that already wait.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(200);

// ---- Memory -------------------------------------------------------------------------------

/// What one connection may hold before login: half of a ClientHello; or the first input, half of a
/// record and a few replies. This much is reserved for each of `limits.strangers`.
pub const STRANGER_BYTES: usize = 40 * 1024;
/// Default bound for all connections and requests: the reserve for [`STRANGERS_DEFAULT`], and
/// [`MEMORY_MEMBERS_DEFAULT`].
pub const MEMORY_DEFAULT: usize = 136 * 1024 * 1024;
/// Default bound for listings and large buffers of all accounts' sessions: two accounts can list the
/// largest folder at once.
pub const MEMORY_MEMBERS_DEFAULT: usize = 96 * 1024 * 1024;
/// The least useful bound: the large buffers of a few transfers and a listing of 10,000 long names.
pub const MEMORY_MEMBERS_MIN: usize = 8 * 1024 * 1024;
/// Charges up to this size may use the reserve that larger ones leave: a folder of a thousand names of
/// usual length, or of 200 of the longest.
pub const MEMORY_SMALL_BYTES: usize = 64 * 1024;
/// What an account may hold even when others have taken all: two short listings.
pub const MEMORY_ALWAYS_BYTES: usize = 2 * MEMORY_SMALL_BYTES;
/// The charge for a large receive buffer: itself, the requests decoded ahead, and what TLS holds for
/// it.
pub const INPUT_CHARGE: usize = INPUT_BYTES + PIPELINE_BYTES_MAX + SEALED_BYTES + 16 * 1024;
/// The charge for a large send buffer: itself, one piece more, and what TLS holds of it.
pub const OUTPUT_CHARGE: usize = OUTPUT_BYTES_HIGH + PIECE_BYTES + SEALED_OUT_BYTES;
/// How long a session without memory waits before it tries again.
pub const MEMORY_WAIT_STEP: Duration = Duration::from_millis(250);
/// A listing without memory for this long is refused: its client can decide better what to do.
pub const LISTING_WAIT_MAX: Duration = Duration::from_secs(10);

// ---- TLS ----------------------------------------------------------------------------------

/// What is copied into a record at once; a record holds two copies. The C library copies more than this
/// by an instruction that is three times slower on some processors (AMD up to Zen 4, depending on the
/// offset between the buffers). Records themselves have the maximum size: half that size costs a reader
/// that uses OpenSSL two system calls more for each and a third of the rate.
pub const COPY_BYTES: usize = 8 * 1024;
/// Encrypted bytes received at once before login, when a record is hardly larger than a control frame.
pub const SEALED_BYTES_BEFORE_LOGIN: usize = 4 * 1024;
/// Encrypted bytes received at once at first, like [`INPUT_BYTES_FIRST`].
pub const SEALED_BYTES_FIRST: usize = 8 * 1024;
/// Encrypted bytes received at once by a session with much to receive: four records of the maximum
/// size.
pub const SEALED_BYTES: usize = 64 * 1024;
/// What a client may send during the TLS handshake. A ClientHello has 300 bytes to 2 KiB, including
/// tickets and post-quantum keys.
pub const HANDSHAKE_BYTES_MAX: usize = 16 * 1024;
/// What a client may send before login without the end of a record. A record holds a control frame or a
/// few lines; a larger one would have to be buffered whole.
pub const RECORD_BYTES_MAX_BEFORE_LOGIN: usize = 8 * 1024;
/// Bytes encrypted ahead of the socket: four records.
pub const SEALED_OUT_BYTES: usize = 64 * 1024;
/// What one turn may encrypt and send: 0.05 ms at 4 GB/s.
pub const SEALED_FLUSH_BUDGET: usize = 256 * 1024;
/// A self-signed certificate ends after ten years. Its key, which clients pin, does not.
pub const CERTIFICATE_LIFE_S: i64 = 3650 * 24 * 3600;
/// A self-signed certificate is renewed when it ends within this.
pub const CERTIFICATE_RENEW_S: i64 = 60 * 24 * 3600;
/// Any other certificate causes a warning when it ends within this.
pub const CERTIFICATE_WARN_S: i64 = 30 * 24 * 3600;
/// How often the certificate's end is checked.
pub const CERTIFICATE_CHECK_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// What a client reads, frame by frame, without a reply that it waits for: pings, and the rest of
/// cancelled transfers, which can be large on a fast line with high latency.
pub const UNWANTED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Extra bytes that each unwanted frame counts for, for the work it causes.
pub const UNWANTED_FRAME_COST: usize = 1024;
/// A client with more than this queued answers no ping: a server that does not read its replies gets no
/// more of them.
pub const PING_QUEUE_MAX: usize = 8 * 1024 * 1024;
/// How often a client reconnects before something is transferred again. With the pauses below this
/// takes about a minute and a half, in which a machine can reboot.
pub const RETRIES_DEFAULT: u32 = 7;
/// The largest number of retries that can be configured: more than a day.
pub const RETRIES_MAX: u32 = 10_000;
/// The longest pause before the first retry after a connection that transferred something. The network
/// is up, and each round trip spent waiting is lost.
pub const RETRY_WAIT_FIRST: Duration = Duration::from_millis(20);
/// The longest pause before the second retry.
pub const RETRY_WAIT_SECOND: Duration = Duration::from_millis(400);
/// The factor for each further pause.
pub const RETRY_WAIT_GROWTH: u32 = 4;
/// The longest pause.
pub const RETRY_WAIT_MAX: Duration = Duration::from_secs(30);
/// How often a client reclaims an upload that another session has taken over. Data of an earlier,
/// interrupted run may reach the server late, and does so once. Of two running clients the later one
/// keeps it.
pub const RECLAIMS_MAX: u32 = 3;
/// A smaller download is fetched again from the start: looking for its partial file would take longer.
pub const PART_BYTES_MIN: u64 = 8 * 1024;
/// With two files of at least this size a second connection transfers in parallel. They take longer
/// than the round trips of a login, on any link where those matter.
pub const SECOND_CONNECTION_BYTES: u64 = 4 * 1024 * 1024;
/// A client that waits for a server and hears nothing for this long, not even a pong, treats the
/// connection as lost. Half of the server's stall timeout.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long a client waits for the server's part of the handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

// ---- FTP ----------------------------------------------------------------------------------

/// The default passive ports: the dynamic ports (RFC 6335, section 6) above those that Linux uses for
/// outgoing connections, so that the two do not compete. With port 0 the kernel would skip every port
/// of the last minute's connections, which after ten thousand transfers takes it longer than the
/// transfer.
pub const DATA_PORTS: RangeInclusive<u16> = 61000..=65535;
/// Ports of a range that one turn tries.
pub const DATA_PORT_TRIES: u32 = 64;
/// Connections to one passive port that one turn examines.
pub const DATA_ACCEPTS_PER_TURN: usize = 8;
/// After the end of data, the control connection must stay open for 1/N of the upload's duration.
/// Otherwise the part that a killed client sent would be taken for the whole file.
pub const FTP_END_GRACE_SHARE: u32 = 64;
/// A shorter grace period is skipped; the control connection is only checked once more.
pub const FTP_END_GRACE_MIN: Duration = Duration::from_millis(1);
/// The least grace period for an upload of [`RESUME_BYTES_MIN`] or more. When a client is killed, the
/// kernel often closes its data connection first and, on a busy machine, the control connection some
/// time later.
pub const FTP_END_GRACE_LARGE: Duration = Duration::from_millis(20);
/// How many bytes of a refused upload are dropped, so that the client reads the reply: curl and ftplib read it after
/// their last byte. Other servers reset the connection at once.
pub const FTP_DISCARDED_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The same as a time.
pub const FTP_DISCARD_TIME_MAX: Duration = Duration::from_secs(60);
/// How long the data connection of a refused transfer outlives the reply, if no command arrives before.
pub const FTP_REFUSED_DATA_GRACE: Duration = Duration::from_millis(200);
/// The same over TLS: during a handshake curl looks for replies only once a second.
pub const FTP_REFUSED_TLS_DATA_GRACE: Duration = Duration::from_millis(1500);
/// The least time between the first and the last reply to a download, unless the client closes its side
/// of the data connection before. aria2 closes that first, slowly on a busy machine; if it finds both
/// replies at once, it waits for the second for ever.
pub const FTP_REPLIES_APART: Duration = Duration::from_millis(500);
/// A client that keeps its side open until it has the last reply would wait that long for each small
/// file. After two such downloads in a row, each further one waits half as long, down to this.
pub const FTP_REPLIES_APART_MIN: Duration = Duration::from_millis(20);
/// The longest grace period: users do not notice it, and even a busy machine has closed both
/// connections by then.
pub const FTP_END_GRACE_MAX: Duration = Duration::from_millis(50);
/// How long the server waits for a data connection by default.
pub const DATA_CONNECTION_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// The largest such timeout: while the server waits, no other deadline ends the session.
pub const DATA_CONNECTION_TIMEOUT_MAX: Duration = Duration::from_secs(10 * 60);
/// A command line with its end: a command, its arguments and the longest path, with space for a name in
/// which Telnet doubles some bytes. It fits the first receive buffer.
pub const FTP_LINE_BYTES_MAX: usize = PATH_BYTES_MAX + 1024;
/// How much of an unknown command a reply repeats.
pub const FTP_VERB_BYTES_MAX: usize = 32;
/// How much of a path a reply repeats: some clients fail at a line of 2 KiB.
pub const FTP_SUBJECT_BYTES_MAX: usize = 1024;
/// The lowest port of passive data connections, and of the peer of active ones. Lower ports are
/// services, which an upload could be made to speak to.
pub const FTP_DATA_PORT_MIN: u16 = 1024;

// ---- Login --------------------------------------------------------------------------------

/// PBKDF2 rounds for new accounts (RFC 7677 asks for at least 4,096).
pub const SCRAM_ROUNDS_DEFAULT: u32 = 100_000;
/// The fewest rounds that the client accepts from a server and an account may have (RFC 7677, section
/// 4).
pub const SCRAM_ROUNDS_MIN: u32 = 4_096;
/// The most rounds that the client computes: a few seconds on a small core.
pub const SCRAM_ROUNDS_MAX: u32 = 5_000_000;
/// Bytes of the salt and of each nonce.
pub const SCRAM_RANDOM_BYTES: usize = 18;
/// Cost of a PBKDF2 round: two blocks of SHA-256 and the code around them take as long as hashing this
/// many bytes.
pub const PASSWORD_ROUND_COST: u64 = 256;
/// Passwords that are hashed at the same time. More would delay all of them and take more turns from
/// logged-in users.
pub const PASSWORD_CHECKS_AT_ONCE: usize = 2;
/// How long a queued password waits before it tries again, for each pair ahead of it.
pub const PASSWORD_WAIT_STEP: Duration = Duration::from_millis(10);
/// The longest such wait, because the logins ahead may end early.
pub const PASSWORD_WAIT_MAX: Duration = Duration::from_millis(500);
/// How long a correct password is remembered: clients open several connections, and new ones for each
/// batch of files.
pub const LOGIN_MEMORY: Duration = Duration::from_secs(5 * 60);
/// Accounts whose last password is remembered. The oldest is dropped first.
pub const LOGINS_REMEMBERED: usize = 1024;
/// Failed logins on one connection before it is closed.
pub const LOGIN_TRIES_DEFAULT: u32 = 3;

// ---- Sessions and time --------------------------------------------------------------------

/// All sessions at once.
pub const SESSIONS_DEFAULT: usize = 10_000;
/// Unauthenticated connections at once. A login takes a few round trips, so this admits hundreds a
/// second even over a slow line. Each holds at most [`STRANGER_BYTES`].
pub const STRANGERS_DEFAULT: usize = 1_000;
/// One account, and one address, may have one in this many of all sessions unless configured otherwise,
/// so that it cannot keep all others out.
pub const SESSIONS_SHARE: usize = 10;
/// The least such share, if there are as many sessions in all: a client opens several.
pub const SESSIONS_SHARE_MIN: usize = 16;
/// Accounts whose session counts are kept before those without a session are dropped.
pub const SEATS_REMEMBERED: usize = 4096;
/// From accept to a completed login.
pub const LOGIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// From the last command to the next.
pub const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(15 * 60);
/// From the last byte that moved in a transfer to the next.
pub const STALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(120);
/// The interval of a client's pings while it works for long without a request, so that the stall
/// timeout does not end its session.
pub const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long running transfers may take to finish after SIGTERM.
pub const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// How long the server waits for a disk to answer a sync.
pub const STORAGE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// How often the account folder is checked for changes. The sessions of a locked account end within two
/// of these.
pub const ACCOUNTS_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Accounts read again per round after the folder changed.
pub const ACCOUNTS_PER_ROUND: usize = 16;
/// The slowest rate at which a client reads and hashes the stored part of a resumed upload, in bytes a
/// second. During that time its pings extend the stall timeout.
pub const PREFIX_COMPARED_PER_SECOND_MIN: u64 = 8 * 1024 * 1024;
/// How long a client that has closed its control connection may read nothing of a download: it may be
/// gone without a notice on its data connection.
pub const HALF_CLOSED_STALL: Duration = Duration::from_secs(10);
/// How long a closed session may take to read its last reply.
pub const LINGER: Duration = Duration::from_secs(5);

// ---- Rates --------------------------------------------------------------------------------

/// The lowest rate of bytes: a login of about 1 KiB each way must finish within its deadline.
pub const RATE_BYTES_MIN: u64 = 1024;
/// A rate-limited session moves pieces of at least this. Less would cost a turn and system calls for
/// very little.
pub const RATE_STEP_BYTES_MIN: usize = 4 * 1024;
/// Such pieces a second: enough that a progress bar moves smoothly.
pub const RATE_STEPS_PER_SECOND: u64 = 20;

// ---- Storage ------------------------------------------------------------------------------

/// Entries of one directory that a listing holds in memory. A larger directory is refused.
pub const LISTING_ENTRIES_MAX: usize = 1_000_000;
/// Bytes of names one listing holds in memory.
pub const LISTING_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of paths that a client keeps of one tree or pattern. A million entries then take a few hundred
/// megabytes, whatever the server lists.
pub const TREE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Entries read and sorted together. The sorted runs are merged as pages are produced.
pub const LISTING_RUN_ENTRIES: usize = 1024;
/// Homes whose ledger is kept after their last session, so that the next session need not count again.
pub const LEDGERS_REMEMBERED: usize = 4096;
/// A home without sessions is counted again once its last count is this old.
pub const RECOUNT_AFTER: Duration = Duration::from_secs(5 * 60);
/// Levels of folders that a count descends. The kernel accepts about 2,000 in one path.
pub const COUNT_DEPTH_MAX: usize = 100_000;
/// How often a count starts again because its folders were moved.
pub const COUNT_RESTARTS_MAX: u32 = 8;
/// Unreadable entries that the log and `berthd usage` name. The others are only counted.
pub const UNSEEN_NAMED_MAX: usize = 8;
/// Written and unsynced bytes of one upload, above which its input is not read.
pub const UNSYNCED_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Unsynced bytes of all uploads to one file system. An account below its share is not held back by
/// accounts above theirs.
pub const UNSYNCED_BYTES_MAX_TOTAL: u64 = 64 * 1024 * 1024;
/// An upload that has written less is not counted: it is synced at its end, which comes soon.
pub const UNCOUNTED_BYTES_MAX: u64 = 64 * 1024;
/// A sync is started whenever this much has been written since the last one.
pub const SYNC_STEP_BYTES: u64 = 8 * 1024 * 1024;
/// A removed or replaced file of at least this size is closed by the file system's worker: the last
/// close frees its pages, and a gigabyte of them would stall the loop for 0.1 s.
pub const SLOW_CLOSE_BYTES: u64 = 16 * 1024 * 1024;
/// How much one turn truncates. The kernel frees this in 0.5 ms, and 4 GiB at once in more than a
/// second.
pub const CUT_BYTES_PER_TURN: u64 = 2 * 1024 * 1024;
/// Files whose digest is remembered (about 130 bytes each).
pub const DIGESTS_REMEMBERED: usize = 65_536;
/// A file changed less than this long ago may change again within the same clock tick, so its digest is
/// not remembered.
pub const DIGEST_SETTLE: Duration = Duration::from_secs(2);
/// A smaller upload is sent again from the start. A larger one gets a record, so that it can be resumed
/// even after a crash of the server.
pub const RESUME_BYTES_MIN: u64 = 1024 * 1024;
/// Interrupted uploads kept per home.
pub const PARTIALS_PER_HOME_MAX: usize = 64;
/// How long an interrupted upload is kept.
pub const PARTIAL_EXPIRY_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Partial uploads expire only by a clock that has not jumped for this long, or for the expiry time if
/// that is shorter: a clock that was wrong at boot is usually correct by then.
pub const EXPIRY_STEADY_CLOCK: Duration = Duration::from_secs(3600);
/// Data of an upload is stored in pieces of at least this, except at the end of a data frame, so that a
/// peer that sends single bytes does not cost a system call for each.
pub const STORE_BYTES_MIN: usize = 32 * 1024;
