//! The prompt: editing, history and completion. Ctrl-C clears the line; Ctrl-D leaves the shell.

use std::borrow::Cow;
use std::cell::RefCell;
use std::path::Path;
use std::time::{Duration, Instant};

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hinter, HistoryHinter};
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::base::refusals;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::files::directory::NamedEntry;
use crate::client::files::patterns;
use crate::client::shell::completion::{Side, complete};
use crate::client::shell::directory_cache::DirectoryCache;
use crate::client::shell::dispatch::{self, Flow};
use crate::client::shell::history;
use crate::client::syntax::lexer::{Word, split};
use crate::client::ui::confirm;
use crate::client::ui::failures::report;
use crate::client::ui::terminal::{has_colors, supports_escape_sequences};
use crate::wire::message::EntryKind;

/// Reads and runs commands until the user leaves. `server` is the user's name for the server. A failed command
/// does not end the shell. Returns a failure if the shell ended for another reason.
pub fn run(session: &mut Session, server: &str) -> Option<Failure> {
    let history = session.state.history();
    let mut editor = match open_editor(session) {
        Ok(editor) => editor,
        Err(error) => return Some(Failure::Local(format!("cannot show a prompt on this terminal: {error}").into())),
    };
    if let Some(path) = &history {
        load_history(&mut editor, path);
    }
    let mut typed = Vec::new();
    let end = run_lines(&mut editor, server, &mut typed);
    if let Some(path) = &history
        && let Err(error) = history::append(path, &typed, HISTORY_LINES_MAX)
        && let Some(context) = context_of(&mut editor)
    {
        context.session.output.note(format_args!("the history cannot be saved: {}", Failure::local(path, &error)));
    }
    if let Some(context) = context_of(&mut editor) {
        refusals::take().into_iter().for_each(|text| context.session.output.note(text));
    }
    end
}

/// Loads the history of earlier shells into the editor.
fn load_history(editor: &mut ShellEditor<'_>, path: &Path) {
    match history::read(path) {
        Ok(lines) => lines.into_iter().for_each(|line| drop(editor.add_history_entry(line))),
        Err(error) => {
            if let Some(context) = context_of(editor) {
                let failure = Failure::local(path, &error);
                context.session.output.note(format_args!("the history cannot be read: {failure}"));
            }
        }
    }
}

fn context_of<'a, 'b>(editor: &'a mut ShellEditor<'b>) -> Option<&'a mut CompletionContext<'b>> {
    editor.helper_mut().map(|helper| helper.context.get_mut())
}

/// The type of the editor. One editor serves the whole session, because it keeps typed-ahead input.
type ShellEditor<'a> = Editor<EditorHelper<'a>, FileHistory>;

fn open_editor(session: &mut Session) -> rustyline::Result<ShellEditor<'_>> {
    let config = Config::builder()
        .max_history_size(HISTORY_LINES_MAX)?
        .history_ignore_dups(true)?
        .history_ignore_space(true)
        .completion_type(rustyline::CompletionType::List)
        .build();
    let mut editor = Editor::with_config(config)?;
    let context = CompletionContext { session, cache: DirectoryCache::default() };
    editor.set_helper(Some(EditorHelper {
        hinter: HistoryHinter::new(),
        has_colors: has_colors(),
        context: RefCell::new(context),
    }));
    Ok(editor)
}

fn run_lines(editor: &mut ShellEditor<'_>, server: &str, typed: &mut Vec<String>) -> Option<Failure> {
    loop {
        let session = &context_of(editor)?.session;
        let columns = session.output.columns().unwrap_or(usize::MAX);
        let prompt = prompt_text(server, &session.directory.to_string(), columns / PROMPT_SHARE);
        let line = match read_line(editor, &prompt) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return None,
            Err(error) => return Some(Failure::Local(format!("cannot read from the terminal: {error}").into())),
        };
        if !line.trim().is_empty() && editor.add_history_entry(line.as_str()).is_ok_and(|is_new| is_new) {
            typed.push(line.clone());
        }
        let context = context_of(editor)?;
        context.cache.clear();
        match run_line(context.session, &line) {
            Ok(Flow::Next) => {}
            Ok(Flow::Leave) => return None,
            Err(failure) => return Some(failure),
        }
    }
}

/// Formats `SERVER:DIRECTORY> `. If it is wider than `width`, the beginning of the directory is cut first, then
/// the end of the server.
fn prompt_text(server: &str, directory: &str, width: usize) -> String {
    let fits = |server: &str, directory: &str| server.width() + directory.width() + ":> ".len() <= width;
    let last = format!("…/{}", directory.rsplit('/').next().unwrap_or_default());
    let directory = if directory.len() <= last.len() || fits(server, directory) { directory.into() } else { last };
    if fits(server, &directory) {
        return format!("{server}:{directory}> ");
    }
    let server = cut(server, SERVER_COLUMNS_MIN.max(width.saturating_sub(directory.width() + ":> ".len())));
    let directory = cut(&directory, width.saturating_sub(server.width() + ":> ".len()).max(DIRECTORY_COLUMNS_MIN));
    format!("{server}:{directory}> ")
}

/// Shortens `text` to `width` columns, with … for the removed part.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.into();
    }
    let mut kept = String::new();
    for letter in text.chars() {
        if kept.width() + letter.width().unwrap_or(0) >= width {
            break;
        }
        kept.push(letter);
    }
    kept + "…"
}

/// Reads a line with the editor, or plainly if the terminal does not understand the editor's output.
fn read_line(editor: &mut ShellEditor<'_>, prompt: &str) -> rustyline::Result<String> {
    if supports_escape_sequences() {
        return editor.readline(prompt);
    }
    let session = &mut *context_of(editor).ok_or(ReadlineError::Eof)?.session;
    let interrupt = session.link.interrupt().clone();
    match confirm::line(&mut session.output, &interrupt, prompt) {
        Ok(line) => line.ok_or(ReadlineError::Eof),
        Err(Failure::Interrupted) => {
            interrupt.clear();
            Err(ReadlineError::Interrupted)
        }
        Err(failure) => Err(std::io::Error::other(failure.to_string()).into()),
    }
}

/// Runs one line. After a failed command, the rest of the line is skipped.
pub fn run_line(session: &mut Session, line: &str) -> Result<Flow, Failure> {
    let commands = match split(line.as_bytes()) {
        Ok(commands) => commands,
        Err(error) => {
            session.output.error(format_args!("berth: {error}"));
            return Ok(Flow::Next);
        }
    };
    for words in commands {
        session.link.interrupt().clear();
        let result = dispatch::run(session, &words).and_then(|flow| session.output.flush().map(|()| flow));
        match result {
            Ok(Flow::Next) => {}
            Ok(Flow::Leave) => return Ok(Flow::Leave),
            Err(failure) if failure.ends_session() => return Err(failure),
            Err(failure) => {
                session.recover();
                let name = words.first().map(|word| word.as_str().to_string()).unwrap_or_default();
                report(&mut session.output, &name, &failure)?;
                session.output.flush()?;
                // A second Ctrl-C while a command is being cancelled means that the user wants to leave.
                let wants_to_leave = session.link.interrupt().is_set();
                return if wants_to_leave { Err(Failure::Interrupted) } else { Ok(Flow::Next) };
            }
        }
    }
    Ok(Flow::Next)
}

/// Completes the typed text and gives hints from the history. The editor borrows it immutably, although
/// completion sends requests; hence the `RefCell`.
struct EditorHelper<'a> {
    hinter: HistoryHinter,
    has_colors: bool,
    context: RefCell<CompletionContext<'a>>,
}

/// The session that resolves paths, and the cached directory listings.
struct CompletionContext<'a> {
    session: &'a mut Session,
    cache: DirectoryCache,
}

impl CompletionContext<'_> {
    fn names_in(&mut self, side: Side, directory: &Word) -> Vec<NamedEntry> {
        match side {
            Side::Local => patterns::names_in(directory),
            Side::Remote => self.remote_names_in(directory).unwrap_or_default(),
        }
    }

    fn remote_names_in(&mut self, directory: &Word) -> Option<Vec<NamedEntry>> {
        let path = match directory.text.is_empty() {
            true => self.session.directory.clone(),
            false => self.session.path(directory).ok()?,
        };
        let now = Instant::now();
        if let Some(names) = self.cache.find(&path, now) {
            return Some(names.to_vec());
        }
        let entries = self.session.list_until(&path, now + COMPLETION_TIMEOUT)?;
        let named = |entry: crate::wire::message::Entry| NamedEntry {
            is_directory: entry.kind == EntryKind::Dir,
            name: entry.name.0,
        };
        let names: Vec<NamedEntry> = entries.into_iter().map(named).collect();
        self.cache.keep(path, names.clone(), now);
        Some(names)
    }
}

impl Completer for EditorHelper<'_> {
    type Candidate = Pair;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let mut context = self.context.borrow_mut();
        Ok(complete(&line[..position], |side, directory| context.names_in(side, directory)))
    }
}

impl Hinter for EditorHelper<'_> {
    type Hint = String;

    fn hint(&self, line: &str, position: usize, context: &Context<'_>) -> Option<String> {
        // Without colours, a hint would look like typed text.
        if !self.has_colors {
            return None;
        }
        self.hinter.hint(line, position, context)
    }
}

impl Highlighter for EditorHelper<'_> {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(format!("\x1b[2m{hint}\x1b[m"))
    }
}

impl Validator for EditorHelper<'_> {}

impl Helper for EditorHelper<'_> {}

/// The prompt takes at most one part in this many of a line, so that commands have room.
const PROMPT_SHARE: usize = 2;
/// The minimum width of the server and of the directory in a narrow prompt.
const SERVER_COLUMNS_MIN: usize = 6;
const DIRECTORY_COLUMNS_MIN: usize = 6;
/// The maximum number of lines in the history. Older lines are dropped.
const HISTORY_LINES_MAX: usize = 2000;
/// The maximum time for a completion. A slower listing gives no completion.
const COMPLETION_TIMEOUT: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_names_the_server_and_the_directory_and_leaves_room_in_narrow_terminals() {
        for (server, directory, width, prompt) in [
            ("nas", "/", 20, "nas:/> "),
            ("nas", "/photos/2026", 20, "nas:/photos/2026> "),
            ("nas", "/photos/2026/summer", 20, "nas:…/summer> "),
            ("192.168.100.200", "/photos", 20, "192.168.1…:/photos> "),
            ("files.example.org", "/photos/2026/a long name of a folder", 20, "files…:…/a long n…> "),
            ("nas", "/写真/夏休み", 14, "nas:…/夏休み> "),
            ("nas", "/", 2, "nas:/> "),
        ] {
            assert_eq!(prompt_text(server, directory, width), prompt);
        }
        for width in 16..60 {
            let prompt = prompt_text("files.example.org", "/photos/2026/a long name of a folder", width);
            assert!(prompt.width() <= width, "{width}: {prompt}");
        }
    }
}
