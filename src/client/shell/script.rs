//! Commands without a prompt: from the program's arguments, `-c`, a file or a pipe. The first failure stops a
//! script, unless the user chose to keep going.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::base::atomic_file::BYTE_ORDER_MARK;
use crate::base::text::plain;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::files::local::shown;
use crate::client::shell::dispatch::{self, Flow};
use crate::client::syntax::command::find;
use crate::client::syntax::lexer::{Word, split};
use crate::client::ui::failures::report;

/// Runs commands and remembers the first failure.
pub struct Script {
    keep_going: bool,
    first_failure: Option<Failure>,
}

impl Script {
    /// Creates a script. With `keep_going`, the next command runs even after a failure.
    pub fn new(keep_going: bool) -> Self {
        Self { keep_going, first_failure: None }
    }

    /// Runs commands that have already been parsed.
    pub fn run(mut self, session: &mut Session, commands: &[Vec<Word>]) -> Option<Failure> {
        for words in commands {
            if self.run_one(session, words) == Flow::Leave {
                break;
            }
        }
        self.first_failure
    }

    /// Runs the lines of `input` as they arrive. `source` names the input in messages: a file, or "" for standard
    /// input.
    pub fn run_lines(mut self, session: &mut Session, source: &str, input: impl Read) -> Option<Failure> {
        let mut input = BufReader::new(input);
        for number in 1.. {
            let commands = match read_line(&mut input) {
                Ok(None) => break,
                Ok(Some(line)) => split(line.strip_prefix(BYTE_ORDER_MARK).filter(|_| number == 1).unwrap_or(&line)),
                Err(error) => {
                    let failure = Failure::Local(format!("{}: {}", line_name(source, number), plain(&error)).into());
                    self.note("script", session, failure);
                    break;
                }
            };
            let commands = match commands {
                Ok(commands) => commands,
                Err(error) => {
                    let failure = Failure::Usage(format!("{}: {error}", line_name(source, number)).into());
                    if self.note("script", session, failure) == Flow::Leave {
                        break;
                    }
                    continue;
                }
            };
            for words in &commands {
                if self.run_one(session, words) == Flow::Leave {
                    return self.first_failure;
                }
            }
        }
        self.first_failure
    }

    fn run_one(&mut self, session: &mut Session, words: &[Word]) -> Flow {
        let failures_before = session.output.failures;
        let result = dispatch::run(session, words);
        let flushed = session.output.flush();
        let failure = match result.and_then(|flow| flushed.map(|()| flow)) {
            Ok(flow) => return flow,
            Err(failure) => failure,
        };
        session.recover();
        let failed = session.output.failures - failures_before;
        match failure {
            // The output has no reader. That is no failure, and the next command may do more than show results.
            Failure::OutputClosed if failed == 0 => Flow::Next,
            Failure::OutputClosed => self.remember(Failure::SomeFailed { failed, total: failed }),
            failure => {
                let name = words.first().map(|word| word.as_str().to_string()).unwrap_or_default();
                self.note(&name, session, failure)
            }
        }
    }

    /// Reports a failure. Returns whether the script continues.
    fn note(&mut self, command: &str, session: &mut Session, failure: Failure) -> Flow {
        let reported = report(&mut session.output, command, &failure).and_then(|()| session.output.flush());
        let is_reported = matches!(reported, Ok(()) | Err(Failure::OutputClosed));
        let must_end = failure.ends_session() || failure == Failure::Interrupted || !is_reported;
        let flow = self.remember(failure);
        if must_end { Flow::Leave } else { flow }
    }

    /// Remembers the first failure as the result of the script.
    fn remember(&mut self, failure: Failure) -> Flow {
        self.first_failure.get_or_insert(failure);
        if self.keep_going { Flow::Next } else { Flow::Leave }
    }
}

/// Opens a script file.
pub fn open(path: &Path) -> Result<std::fs::File, Failure> {
    std::fs::File::open(path).map_err(|error| {
        Failure::Usage(format!("cannot read the commands in {}: {}", shown(path), plain(&error)).into())
    })
}

/// Refuses unknown commands before the client connects.
pub fn check(commands: &[Vec<Word>]) -> Result<(), Failure> {
    commands.iter().filter_map(|words| words.first()).try_for_each(|word| find(word.as_str()).map(|_| ()))
}

/// Reads the next line, without its end. Returns `None` at the end of the input.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    input.take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line)?;
    if line.pop_if(|last| *last == b'\n').is_none() && line.len() as u64 > LINE_BYTES_MAX {
        // The rest of the line would be run as a command of its own.
        return Err(io::Error::other(format!("the line is longer than {} bytes", LINE_BYTES_MAX)));
    } else if line.is_empty() && input.fill_buf()?.is_empty() {
        // An empty last line runs nothing either.
        return Ok(None);
    }
    Ok(Some(line))
}

/// Names a line of a script.
fn line_name(source: &str, line: u64) -> String {
    if source.is_empty() { format!("line {line}") } else { format!("{source}:{line}") }
}

/// The maximum length of a line. It holds thousands of names; a longer one is not part of a script.
const LINE_BYTES_MAX: u64 = 1024 * 1024;
