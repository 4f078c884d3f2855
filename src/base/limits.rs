//! Every bound of both programs, each with its reason. Nothing here is configuration; what an
//! administrator may change has its default and its range here and its key in `config`.

use std::ops::RangeInclusive;
use std::time::Duration;

// ---- The wire -----------------------------------------------------------------------------

/// Body of a control frame before login: a hello or a SCRAM message needs a few hundred bytes.
pub const CONTROL_BYTES_MAX_BEFORE_LOGIN: usize = 4 * 1024;
/// Body of a control frame after login: two paths of [`PATH_BYTES_MAX`], escaped, fit with room.
pub const CONTROL_BYTES_MAX: usize = 64 * 1024;
/// Payload of one data frame. A transfer can be cancelled only between frames, so this is also
/// how much arrives after a cancel.
pub const DATA_BYTES_MAX: usize = 1024 * 1024;
/// Text of an error: a path with room to say what is wrong with it. Even with each byte escaped
/// the frame stays under [`CONTROL_BYTES_MAX`], whatever a peer's own text the error repeats.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// The same before login, when nobody need read it.
pub const ERROR_MESSAGE_BYTES_MAX_BEFORE_LOGIN: usize = 512;
/// Requests a client may have sent and not yet seen answered.
pub const IN_FLIGHT_MAX: usize = 64;
/// Requests decoded ahead of the running one, in bytes of their frames: bounds what a peer can
/// park in a session beyond its input.
pub const PIPELINE_BYTES_MAX: usize = 128 * 1024;
/// The same before login: a login is one request at a time.
pub const IN_FLIGHT_BEFORE_LOGIN: usize = 2;
/// Requests decoded ahead by a session without memory for a large input, in bytes.
pub const PIPELINE_BYTES_FIRST: usize = INPUT_BYTES_FIRST;
/// Entries in one page of a listing; the page also ends at [`PAGE_BYTES_TARGET`].
pub const PAGE_ENTRIES_MAX: usize = 256;
/// A page is closed once its names exceed this, so that its frame stays under
/// [`CONTROL_BYTES_MAX`] even when each byte of a name is escaped.
pub const PAGE_BYTES_TARGET: usize = 6 * 1024;

/// Content of a file that `cat --json` puts into one object, which readers hold as a whole.
pub const JSON_CONTENT_BYTES_MAX: u64 = 16 * 1024 * 1024;

// ---- Names and paths ----------------------------------------------------------------------

/// One component of a path: NAME_MAX of every common filesystem.
pub const NAME_BYTES_MAX: usize = 255;
/// A whole virtual path: PATH_MAX less the final NUL.
pub const PATH_BYTES_MAX: usize = 4095;
/// An account name: it is a file name, a folder name and a log field.
pub const ACCOUNT_NAME_BYTES_MAX: usize = 64;
/// A password as typed: beyond this somebody pipes a file into the prompt.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// What a password command may print: the password, then a page of whatever else is kept with it.
pub const PASSWORD_OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// An account or configuration file: real ones are under 4 KiB.
pub const SMALL_FILE_BYTES_MAX: u64 = 256 * 1024;

// ---- Lanes and turns ----------------------------------------------------------------------

/// Inbox at first: a session that sends a request now and then needs no more.
pub const INPUT_BYTES_FIRST: usize = 8 * 1024;
/// Inbox once a session has filled the first one: one read, one hash and one write of what
/// still fits the L2 cache, and more than the largest control frame.
pub const INPUT_BYTES: usize = 256 * 1024;
/// Bytes of memory in an output above which no more is produced for it at first.
pub const OUTPUT_BYTES_FIRST: usize = 2 * 1024;
/// The same once a session has produced so much and there is memory. One piece more than this is the
/// most it holds.
pub const OUTPUT_BYTES_HIGH: usize = 64 * 1024;
/// A piece of a file that is read into an output that has no memory for a large one.
pub const PIECE_BYTES_FIRST: usize = 16 * 1024;
/// What one turn may move and hash: one piece. At 1.7 GB/s of SHA-256 this is 0.15 ms, so that
/// eight greedy transfers delay a small command by little more than 1 ms.
pub const TURN_BUDGET: u64 = PIECE_BYTES as u64;
/// How often one turn of a session with a second socket may fill, step and send on both, while hardly
/// anything moves there: from its connection to its end, a small file takes this many.
pub const ROUNDS_PER_TURN: usize = 5;
/// What one turn may send when nothing else is under way. A range of a file costs the loop a tenth
/// of what hashing it does.
pub const FLUSH_BUDGET: usize = 1024 * 1024;
/// What one turn may send however much is under way: less would go into system calls and waking
/// peers. Many small pieces end as soon as few large ones, and nobody's is far ahead: a socket takes
/// large pieces only once its windows have grown, so whoever began first would get more of every round.
pub const FLUSH_BUDGET_MIN: usize = 160 * 1024;
/// The least a request costs of a turn's budget: its system calls take about as long as moving
/// this many bytes.
pub const REQUEST_COST: u64 = 8 * 1024;
/// What a component of a path costs: the kernel looks each of them up, and again at each folder above
/// where it checks what this process may open (Landlock). A path of the greatest length has two
/// thousand of them and takes a whole turn.
pub const PATH_COMPONENT_COST: u64 = 128;
/// What making or finding a folder costs besides its path: a file system with a journal takes as long for
/// it as hashing this.
pub const FOLDER_COST: u64 = 32 * 1024;
/// What reading the record of a partial upload costs: to open, read, parse and close a small file.
pub const RECORD_COST: u64 = 32 * 1024;
/// How far ahead of a download the kernel is asked to read, so that a cold disk rarely blocks.
pub const PREFETCH_BYTES: u64 = 2 * 1024 * 1024;
/// What reading, stating and sorting one directory entry costs of a turn's budget.
pub const ENTRY_COST: u64 = 2048;
/// A piece of a file read or hashed in one go.
pub const PIECE_BYTES: usize = 256 * 1024;
/// Scheduler of connections with work left between two polls. A small request that comes meanwhile
/// waits for no more than these: 0.5 ms where each hashes a whole piece.
pub const TURNS_PER_ROUND: usize = 2;
/// Scheduler of connections that woke up to ask something between two polls; as many go to those
/// with work left, so that a crowd that asks takes half of the turns at the most.
pub const ASKING_PER_ROUND: usize = 16;
/// No turn of a user begins later than this after a poll: somebody else may have become ready.
pub const ROUND_TIME: Duration = Duration::from_micros(500);
/// Scheduler of strangers between two polls when nobody else wants one; else it is one.
pub const STRANGERS_PER_ROUND: usize = 4;
/// A user whose turns took far more than those of others is held back until they have had as much,
/// but for no more than this of each of them: one that met a slow disk once is not shut out.
pub const OWNER_DEBT_MAX: Duration = Duration::from_millis(100);
/// A turn longer than this is logged with its state: something in it blocks.
pub const TURN_WARN: Duration = Duration::from_millis(50);
/// How long a start or an end waits for a supervisor whose queue is full.
pub const SUPERVISOR_WAIT: Duration = Duration::from_millis(100);
/// The least time between two lines in the log about one kind of trouble.
pub const WARN_INTERVAL: Duration = Duration::from_secs(10);
/// Connections accepted per round, so that a storm of them cannot starve running sessions.
pub const ACCEPTS_PER_ROUND: usize = 64;
/// What part of all descriptors may become sockets: those that are left are for the homes and
/// files of those who are in, and strangers cannot take them.
pub const DESCRIPTORS_FOR_SOCKETS_PERCENT: u64 = 60;
/// Connections the loop looks at in one turn for an administrator who asks about all of them: some
/// ten microseconds.
pub const SURVEY_SLOTS_PER_TURN: usize = 128;
/// Steps of a histogram of times, each twice the last: from a microsecond to half a second, and
/// what is longer.
pub const HISTOGRAM_STEPS: usize = 21;
/// How often `berthd status --watch` asks.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Readiness events taken from one poll.
pub const EVENTS_PER_POLL: usize = 1024;
/// Pause after accept failed for want of descriptors or memory; no new edge will announce the
/// connections that wait.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(200);

// ---- Memory -------------------------------------------------------------------------------

/// What one connection may hold before login, at the most: half of a ClientHello; or the first input,
/// half of a record and a few answers. For all of `limits.strangers` it is set aside.
pub const STRANGER_BYTES: usize = 40 * 1024;
/// What all connections and requests may hold, unless the configuration says otherwise: what is set aside
/// for [`STRANGERS_DEFAULT`], and [`MEMORY_MEMBERS_DEFAULT`].
pub const MEMORY_DEFAULT: usize = 136 * 1024 * 1024;
/// What the sessions of all accounts may hold for listings and large buffers, unless the configuration
/// says otherwise: two accounts can list the largest folder at once.
pub const MEMORY_MEMBERS_DEFAULT: usize = 96 * 1024 * 1024;
/// The least that makes sense: the large buffers of a few transfers and a listing of 10,000 long names.
pub const MEMORY_MEMBERS_MIN: usize = 8 * 1024 * 1024;
/// Charges of this size are taken from what larger ones leave: a folder of a thousand names of usual
/// length, or of 200 of the longest.
pub const MEMORY_SMALL_BYTES: usize = 64 * 1024;
/// What an account may hold even where others have taken all: two short listings.
pub const MEMORY_ALWAYS_BYTES: usize = 2 * MEMORY_SMALL_BYTES;
/// What is charged for a large input: itself, what is decoded ahead of it, and what TLS holds for it.
pub const INPUT_CHARGE: usize = INPUT_BYTES + PIPELINE_BYTES_MAX + SEALED_BYTES + 16 * 1024;
/// What is charged for a large output: itself, with one piece more, and what TLS holds of it.
pub const OUTPUT_CHARGE: usize = OUTPUT_BYTES_HIGH + PIECE_BYTES + SEALED_OUT_BYTES;
/// How long a session without room in memory waits until it looks again.
pub const MEMORY_WAIT_STEP: Duration = Duration::from_millis(250);
/// A listing that has found no room for this long is refused: its client knows better how to go on.
pub const LISTING_WAIT_MAX: Duration = Duration::from_secs(10);

// ---- TLS ----------------------------------------------------------------------------------

/// What is copied into a record at once, of which one holds two: the C library copies more than this by
/// an instruction that is three times slower on some processors (AMD's up to Zen 4, by the offset of one
/// buffer to the other). The records themselves are as large as they may be: each costs whoever reads
/// them by OpenSSL two system calls and a third of the rate if it is half as large.
pub const COPY_BYTES: usize = 8 * 1024;
/// Encrypted bytes received at once before login, when a record is hardly larger than a control frame.
pub const SEALED_BYTES_BEFORE_LOGIN: usize = 4 * 1024;
/// Encrypted bytes received at once at first, as [`INPUT_BYTES_FIRST`].
pub const SEALED_BYTES_FIRST: usize = 8 * 1024;
/// The same once a session has much to receive: four records of the largest size that a peer may send.
pub const SEALED_BYTES: usize = 64 * 1024;
/// What a client may send until TLS is agreed on: a ClientHello has 300 bytes to 2 KiB, with tickets
/// and keys for the time after quantum computers.
pub const HANDSHAKE_BYTES_MAX: usize = 16 * 1024;
/// What a client may send before login without the end of a record: one holds a control frame or a few
/// lines, and a larger one would have to be kept whole.
pub const RECORD_BYTES_MAX_BEFORE_LOGIN: usize = 8 * 1024;
/// Bytes encrypted ahead of the socket: four records.
pub const SEALED_OUT_BYTES: usize = 64 * 1024;
/// What one turn may encrypt and send: a twentieth of a millisecond at 4 GB/s.
pub const SEALED_FLUSH_BUDGET: usize = 256 * 1024;
/// A certificate made here ends after ten years; its key, which clients pin, does not.
pub const CERTIFICATE_LIFE_S: i64 = 3650 * 24 * 3600;
/// A certificate made here is renewed when it ends within this.
pub const CERTIFICATE_RENEW_S: i64 = 60 * 24 * 3600;
/// One that is not is warned about when it ends within this.
pub const CERTIFICATE_WARN_S: i64 = 30 * 24 * 3600;
/// How often that is looked at.
pub const CERTIFICATE_CHECK_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// What a client reads, frame by frame, without anything in it that somebody waits for: the rest of
/// cancelled transfers, which a fast long line may hold a lot of, and pings.
pub const UNWANTED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// A frame counts as so many bytes more, for the work it makes.
pub const UNWANTED_FRAME_COST: usize = 1024;
/// What a client has queued when it still answers a ping. A server that does not read what it asks
/// for is not answered for ever.
pub const PING_QUEUE_MAX: usize = 8 * 1024 * 1024;
/// How often a client tries to get a lost connection back before something came of it again: with
/// the pauses below for about a minute and a half, in which a machine starts again.
pub const RETRIES_DEFAULT: u32 = 7;
/// Most tries that can be asked for: more than a day.
pub const RETRIES_MAX: u32 = 10_000;
/// The longest pause before the first try after a connection that had brought something: a network
/// that cuts is there, and each round trip that is waited for is time in which nothing moves.
pub const RETRY_WAIT_FIRST: Duration = Duration::from_millis(20);
/// The longest pause before the second, …
pub const RETRY_WAIT_SECOND: Duration = Duration::from_millis(400);
/// … how many times as long each further one is, …
pub const RETRY_WAIT_GROWTH: u32 = 4;
/// … and the longest of all.
pub const RETRY_WAIT_MAX: Duration = Duration::from_secs(30);
/// How often a client claims an upload again that another session has taken over. What an earlier run
/// had sent before it was interrupted may reach the server late, and does so once. Of two runs that are
/// both alive the one that came last keeps it.
pub const RECLAIMS_MAX: u32 = 3;
/// A download smaller than this is simply fetched again: looking for what an earlier try left would
/// take longer.
pub const PART_BYTES_MIN: u64 = 8 * 1024;
/// From two files of this size on a second connection moves them beside the first: they take longer
/// than the round trips of a login, on any link where those count.
pub const SECOND_CONNECTION_BYTES: u64 = 4 * 1024 * 1024;
/// A client that waits for a server and hears nothing for this long, not even an answer to its
/// pings, takes the connection for lost. Half of the server's own stall deadline.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);
/// A client waits this long for a server's side of the handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

// ---- FTP ----------------------------------------------------------------------------------

/// Where data connections are awaited unless the configuration says otherwise: the dynamic ports (RFC
/// 6335, section 6) above those that Linux gives to outgoing connections, so that neither looks for
/// long among the other's. Left to itself the kernel passes over every port of the last minute's
/// connections, which after ten thousand transfers takes it longer than the transfer.
pub const DATA_PORTS: RangeInclusive<u16> = 61000..=65535;
/// Ports of a range that are tried in one turn for one that is free.
pub const DATA_PORT_TRIES: u32 = 64;
/// Connections to one data port that are looked at in one turn; strangers' are turned away.
pub const DATA_ACCEPTS_PER_TURN: usize = 8;
/// What share of the time that an upload took its control connection has to stay open after its data
/// has ended, for the end to be believed; so a killed client's part is not taken for the whole.
pub const FTP_END_GRACE_SHARE: u32 = 64;
/// Less is not waited for; the control connection is only looked at once more.
pub const FTP_END_GRACE_MIN: Duration = Duration::from_millis(1);
/// At least this for an upload of [`RESUME_BYTES_MIN`] or more, however fast it came: a client that is
/// killed has its data connection closed first as often as not, and on a busy machine it is some time
/// until the kernel goes on to the other.
pub const FTP_END_GRACE_LARGE: Duration = Duration::from_millis(20);
/// How long the data connection of a refused transfer outlives the reply, if no command comes before.
pub const FTP_REFUSED_DATA_GRACE: Duration = Duration::from_millis(200);
/// The same over TLS: curl, amid the handshake, looks for replies once a second only.
pub const FTP_REFUSED_TLS_DATA_GRACE: Duration = Duration::from_millis(1500);
/// How long after the first reply to a download the last one leaves at the earliest, unless the client
/// has ended its side of the data connection before. aria2 ends that first, and on a busy machine takes
/// its time; if it finds both replies at once, it waits for the second for ever.
pub const FTP_REPLIES_APART: Duration = Duration::from_millis(500);
/// A client that keeps its side open until it has the last reply would wait that long for each small
/// file. After two such downloads in a row each further one waits half as long, down to this.
pub const FTP_REPLIES_APART_MIN: Duration = Duration::from_millis(20);
/// At most this: nobody notices it, and even a busy machine has ended both connections by then.
pub const FTP_END_GRACE_MAX: Duration = Duration::from_millis(50);
/// A data connection that does not come within this is not waited for any longer, …
pub const DATA_CONNECTION_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// … and nobody can allow more: while it is awaited no other deadline ends the session.
pub const DATA_CONNECTION_TIMEOUT_MAX: Duration = Duration::from_secs(10 * 60);
/// A command line with its end: a command, its other arguments and the longest path, with room for a
/// name in which Telnet doubles some bytes. It fits the first input, whatever is in it.
pub const FTP_LINE_BYTES_MAX: usize = PATH_BYTES_MAX + 1024;
/// What a reply repeats of a word that is no command.
pub const FTP_VERB_BYTES_MAX: usize = 32;
/// What a reply repeats of the path it is about: some clients give up at a line of 2 KiB.
pub const FTP_SUBJECT_BYTES_MAX: usize = 1024;
/// The lowest port of passive data connections, and of the other side of active ones: those below
/// are services, which an upload could be made to speak to.
pub const FTP_DATA_PORT_MIN: u16 = 1024;
/// Files older than this are listed with their year instead of their hour, as `ls` does: half a year.
pub const FTP_RECENT_S: i64 = 182 * 86_400 + 43_200;

// ---- Login --------------------------------------------------------------------------------

/// PBKDF2 rounds for new accounts (RFC 7677 asks for at least 4,096).
pub const SCRAM_ROUNDS_DEFAULT: u32 = 100_000;
/// Fewest rounds the client accepts from a server and an account may have (RFC 7677, section 4).
pub const SCRAM_ROUNDS_MIN: u32 = 4_096;
/// Most rounds the client is willing to compute: a few seconds on a small core.
pub const SCRAM_ROUNDS_MAX: u32 = 5_000_000;
/// Bytes of salt, of the client's and of the server's nonce.
pub const SCRAM_RANDOM_BYTES: usize = 18;
/// What a PBKDF2 round costs of a turn's budget: two blocks of SHA-256 and what is around them
/// take as long as hashing this many bytes.
pub const PASSWORD_ROUND_COST: u64 = 256;
/// Passwords whose rounds are computed in the same time: more would only finish later, all of
/// them, and take more of the turns from those who are in.
pub const PASSWORD_CHECKS_AT_ONCE: usize = 2;
/// A password that waits for others looks again after this, for each pair that is before it.
pub const PASSWORD_WAIT_STEP: Duration = Duration::from_millis(10);
/// It looks again after this at the latest, since others may give up.
pub const PASSWORD_WAIT_MAX: Duration = Duration::from_millis(500);
/// A password that was right is not computed again for this long: clients open several
/// connections, and new ones for each batch of files.
pub const LOGIN_MEMORY: Duration = Duration::from_secs(5 * 60);
/// Accounts whose last password is remembered so; the oldest goes first.
pub const LOGINS_REMEMBERED: usize = 1024;
/// Failed logins on one connection before it is closed.
pub const LOGIN_TRIES_DEFAULT: u32 = 3;

// ---- Sessions and time --------------------------------------------------------------------

/// Sessions at once, in all.
pub const SESSIONS_DEFAULT: usize = 10_000;
/// Connections at once that nobody has logged in to. A login takes a few round trips, so this
/// lets in hundreds a second even over a slow line; each holds [`STRANGER_BYTES`] at the most.
pub const STRANGERS_DEFAULT: usize = 1_000;
/// One account, and one address, may have one in this many of all sessions unless the administrator
/// says otherwise, so that one of them cannot keep all others out.
pub const SESSIONS_SHARE: usize = 10;
/// But at least this many, where there are as many in all: a client opens several.
pub const SESSIONS_SHARE_MIN: usize = 16;
/// Accounts whose session counts are kept before those without a session are dropped.
pub const SEATS_REMEMBERED: usize = 4096;
/// From accept to a completed login.
pub const LOGIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// From the last command to the next.
pub const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(15 * 60);
/// From the last byte that moved in a transfer to the next.
pub const STALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(120);
/// While a client works for long without a request, it pings the server this often, so that
/// the stall timeout does not end its session.
pub const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long SIGTERM lets running transfers finish.
pub const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// A disk that has been asked to sync and answers nothing for this long is not waited for any longer.
pub const STORAGE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// How often the account folder is asked whether it changed: a locked account's sessions end
/// within two of these.
pub const ACCOUNTS_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Accounts read again per round after the folder changed.
pub const ACCOUNTS_PER_ROUND: usize = 16;
/// The slowest that a client with a resumed upload reads and hashes what the server holds of it, in bytes a
/// second. For so long its pings put off the end of a transfer that stalls.
pub const PREFIX_COMPARED_PER_SECOND_MIN: u64 = 8 * 1024 * 1024;
/// How long a client that has ended its control connection may read nothing of a download: it may have
/// gone without its data connection noticing.
pub const HALF_CLOSED_STALL: Duration = Duration::from_secs(10);
/// How long a closed session may take to read its last reply.
pub const LINGER: Duration = Duration::from_secs(5);

// ---- Rates --------------------------------------------------------------------------------

/// The lowest rate of bytes: a login, of about 1 KiB each way, must be done within its deadline.
pub const RATE_BYTES_MIN: u64 = 1024;
/// A session held to a rate moves a piece of at least this and waits until it is paid for: less
/// would cost a turn and system calls for next to nothing.
pub const RATE_STEP_BYTES_MIN: usize = 4 * 1024;
/// Such pieces a second: often enough that a progress bar moves, and no more turns than that.
pub const RATE_STEPS_PER_SECOND: u64 = 20;

// ---- Storage ------------------------------------------------------------------------------

/// Entries of one directory that a listing holds in memory; a larger directory is refused with
/// a clear error instead of breaking the memory bound.
pub const LISTING_ENTRIES_MAX: usize = 1_000_000;
/// Bytes of names one listing holds in memory.
pub const LISTING_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of paths a client keeps of one tree or pattern: with them a million entries take it a few
/// hundred megabytes, whatever a server lists.
pub const TREE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Entries read and sorted together; the sorted runs are merged as pages are produced.
pub const LISTING_RUN_ENTRIES: usize = 1024;
/// Homes whose ledger is kept after their last session, so that the next need not count again.
pub const LEDGERS_REMEMBERED: usize = 4096;
/// A home that nobody was logged in to is counted again once its last count is this old.
pub const RECOUNT_AFTER: Duration = Duration::from_secs(5 * 60);
/// Levels of folders a count descends; the kernel takes no path of more than about 2,000.
pub const COUNT_DEPTH_MAX: usize = 100_000;
/// A count whose folders are moved about under it starts again at most so often.
pub const COUNT_RESTARTS_MAX: u32 = 8;
/// Entries that could not be examined and are named in the log and by `berthd usage`; the others
/// are only counted.
pub const UNSEEN_NAMED_MAX: usize = 8;
/// Written and not yet synced bytes of one upload, above which its input is not read.
pub const UNSYNCED_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The same for all uploads to one file system together; an account that has less than its part of it
/// is not held back by those that have more.
pub const UNSYNCED_BYTES_MAX_TOTAL: u64 = 64 * 1024 * 1024;
/// An upload that has written less is not counted: a small file is synced at its end, which comes soon.
pub const UNCOUNTED_BYTES_MAX: u64 = 64 * 1024;
/// A sync is asked for whenever this much has been written since the last one.
pub const SYNC_STEP_BYTES: u64 = 8 * 1024 * 1024;
/// A removed or replaced file of at least this is closed by the file system's worker: the kernel frees its
/// pages at the last close, and a gigabyte of them would stall the loop for 0.1 s.
pub const SLOW_CLOSE_BYTES: u64 = 16 * 1024 * 1024;
/// What is cut off the end of a file in one turn. The kernel frees as much in 0.5 ms, and 4 GiB at
/// once in more than a second.
pub const CUT_BYTES_PER_TURN: u64 = 2 * 1024 * 1024;
/// Files whose digest is remembered (about 130 bytes each).
pub const DIGESTS_REMEMBERED: usize = 65_536;
/// A file changed less than this long ago may change again within the same clock tick, so its
/// digest is not remembered.
pub const DIGEST_SETTLE: Duration = Duration::from_secs(2);
/// An upload smaller than this is simply sent again; from here on its record is written, so
/// that it resumes after a crash of the server too.
pub const RESUME_BYTES_MIN: u64 = 1024 * 1024;
/// Interrupted uploads kept per home.
pub const PARTIALS_PER_HOME_MAX: usize = 64;
/// How long an interrupted upload is kept.
pub const PARTIAL_EXPIRY_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Interrupted uploads expire only by a clock that has not jumped for so long, or for the time
/// after which they expire if that is shorter: one that was set wrong is set right by then.
pub const EXPIRY_STEADY_CLOCK: Duration = Duration::from_secs(3600);
/// Data of an upload is stored in pieces of at least this, except at the end of a data frame,
/// so that a peer that sends byte by byte costs no system call for each.
pub const STORE_BYTES_MIN: usize = 32 * 1024;
