//! The system calls of a program, by `strace`.

use std::path::PathBuf;
use std::process::Command;

use crate::support::needs::tests;
use crate::support::{Place, wait_until};

tests! {
    []
        calls_are_read_whole_however_their_lines_are_torn;
}

/// One system call that has returned.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) thread: u32,
    pub(crate) name: String,
    /// As strace prints them: descriptors with their paths, strings in quotes.
    pub(crate) arguments: String,
    /// Negative for an error.
    pub(crate) result: i64,
    /// Whether strace made it fail.
    pub(crate) is_injected: bool,
    /// Positions in the order of all that was seen: one thread's calls and another's are told
    /// apart by where each begins and ends.
    pub(crate) began: usize,
    pub(crate) ended: usize,
}

/// Runs what `command` does under strace, which looks at these `calls` and does `more`. The
/// process that is started is the program itself; strace is beside it.
pub(crate) fn watched(command: &Command, file: &PathBuf, calls: &str, more: &[&str]) -> Command {
    let mut watched = Command::new("strace");
    // Beside the program and not above it, its threads too, paths of descriptors, long strings.
    watched.args(["-D", "-f", "-y", "-s", "300", "-e", &format!("trace={calls}")]).args(more).arg("-o").arg(file);
    watched.arg(command.get_program()).args(command.get_args()).env_clear();
    watched.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    watched.current_dir(command.get_current_dir().expect("set for all of them"));
    watched
}

/// A file for what strace writes.
pub(crate) fn file(place: &Place) -> PathBuf {
    place.path("io/trace")
}

/// All calls of a program that has ended, by when they returned.
pub(crate) fn read(place: &Place) -> Vec<Call> {
    let is_over = |text: String| {
        let main = text.split(' ').next().unwrap_or_default();
        text.lines().any(|line| line.strip_prefix(main).is_some_and(|rest| rest.trim_start().starts_with("+++")))
    };
    wait_until("strace has written all", || is_over(text(place)));
    so_far(place)
}

/// The calls that have returned by now.
pub(crate) fn so_far(place: &Place) -> Vec<Call> {
    parse(&text(place))
}

/// How many of these calls have begun by now, and have ended or were followed by one of another thread.
pub(crate) fn begun(place: &Place, name: &str) -> usize {
    let start = format!("{name}(");
    let is_its = |line: &&str| line.split_once(' ').is_some_and(|(_, call)| call.trim_start().starts_with(&start));
    text(place).lines().filter(is_its).count()
}

/// The whole lines that strace has written.
fn text(place: &Place) -> String {
    let mut text = String::from_utf8_lossy(&std::fs::read(file(place)).unwrap_or_default()).into_owned();
    text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
    text
}

/// Reads lines such as `12 fsync(3</path>) = 0`. Lines of other threads may interrupt one:
/// `12 fsync(3</path> <unfinished ...>`, and later `12 <... fsync resumed>) = 0`.
fn parse(text: &str) -> Vec<Call> {
    let mut begun: Vec<(u32, usize, String)> = Vec::new();
    let mut calls = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let (thread, rest) = line.split_once(' ').expect("a thread");
        let (thread, rest) = (thread.parse().expect("a number"), rest.trim_start());
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if let Some(beginning) = rest.strip_suffix("<unfinished ...>") {
            begun.push((thread, at, beginning.to_string()));
            continue;
        }
        let (began, whole) = match rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            Some((_, end)) => {
                // What was begun before strace came is not known.
                let Some(of) = begun.iter().rposition(|(of, ..)| *of == thread) else { continue };
                let (_, began, beginning) = begun.remove(of);
                (began, format!("{beginning}{end}"))
            }
            None => (at, rest.to_string()),
        };
        calls.extend(parse_whole(thread, &whole, began, at));
    }
    calls
}

fn parse_whole(thread: u32, whole: &str, began: usize, ended: usize) -> Option<Call> {
    let (call, told) = whole.rsplit_once(" = ")?;
    let (name, arguments) = call.trim_end().strip_suffix(')')?.split_once('(')?;
    // A call that the end of the program interrupted returned nothing: `?`.
    let number = told.split([' ', '<']).next()?;
    let result = match number.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok()?,
        None => number.parse().ok()?,
    };
    let is_injected = told.ends_with("(INJECTED)");
    Some(Call { thread, name: name.into(), arguments: arguments.into(), result, is_injected, began, ended })
}

impl Call {
    pub(crate) fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.name.as_str())
    }

    /// The path of the descriptor that comes first.
    pub(crate) fn path(&self) -> &str {
        self.descriptors().into_iter().next().unwrap_or_default()
    }

    /// The paths of all of them.
    pub(crate) fn descriptors(&self) -> Vec<&str> {
        let outside: Vec<&str> = self.arguments.split('"').step_by(2).collect();
        let starts = outside.iter().flat_map(|part| part.split('<').skip(1));
        starts.filter_map(|part| Some(part.split_once('>')?.0)).collect()
    }

    /// The strings among the arguments, as strace escapes them.
    fn strings(&self) -> Vec<&str> {
        let mut strings = Vec::new();
        let mut rest = self.arguments.as_str();
        while let Some((_, after)) = rest.split_once('"') {
            let is_quoted = |at: usize| after[..at].bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1;
            let Some((end, _)) = after.match_indices('"').find(|(at, _)| !is_quoted(*at)) else { break };
            strings.push(&after[..end]);
            rest = &after[end + 1..];
        }
        strings
    }

    /// What is written or sent, with the quotes of JSON as they were.
    pub(crate) fn text(&self) -> String {
        self.strings().first().map_or_else(String::new, |text| text.replace("\\\"", "\""))
    }

    /// The path that a link gives to a file.
    pub(crate) fn linked(&self) -> String {
        let (directories, names) = (self.descriptors(), self.strings());
        format!("{}/{}", directories.last().copied().unwrap_or_default(), names.last().copied().unwrap_or_default())
    }

    /// What `openat` has opened.
    pub(crate) fn opened(&self) -> String {
        self.named().into_iter().next().unwrap_or_default()
    }

    /// The paths that the call names; relative ones that no descriptor goes with stay so.
    pub(crate) fn named(&self) -> Vec<String> {
        let directories = self.descriptors();
        let mut directories = directories.iter();
        let full = |name: &str| match directories.next() {
            Some(directory) if !name.starts_with('/') => format!("{directory}/{name}"),
            _ => name.to_string(),
        };
        self.strings().into_iter().map(full).collect()
    }
}

fn calls_are_read_whole_however_their_lines_are_torn() {
    let trace = "7 openat(AT_FDCWD</here>, \"a\", O_RDONLY) = 3</here/a>\n\
                 7 fsync(3</here/a> <unfinished ...>\n\
                 8 write(4</b>, \"say \\\"x\\\" = 1, \\\\\", 9) = -1 ENOSPC (No space left on device)\n\
                 7 <... fsync resumed>)              = 0\n\
                 8 renameat2(5</x>, \"p\", 6</y>, \"q\", RENAME_NOREPLACE) = 0\n\
                 8 rename(\"/x/p\", \"/y/q\") = 0\n\
                 8 fdatasync(3</here/a> <unfinished ...>\n\
                 7 --- SIGTERM {si_signo=SIGTERM} ---\n\
                 8 <... fdatasync resumed>) = ?\n\
                 8 +++ killed by SIGKILL +++\n";
    let calls = parse(trace);
    let seen: Vec<_> = calls.iter().map(|c| (c.thread, c.name.as_str(), c.result, c.began, c.ended)).collect();
    let expected = [
        (7, "openat", 3, 0, 0),
        (8, "write", -1, 2, 2),
        (7, "fsync", 0, 1, 3),
        (8, "renameat2", 0, 4, 4),
        (8, "rename", 0, 5, 5),
    ];
    assert_eq!(seen, expected);
    assert_eq!((calls[1].path(), calls[1].text().as_str()), ("/b", "say \"x\" = 1, \\\\"));
    assert_eq!(calls[2].path(), "/here/a");
    for call in &calls[3..] {
        assert_eq!(call.named(), ["/x/p", "/y/q"]);
    }
}
