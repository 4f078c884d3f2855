//! Writes the man pages and the completions for shells into a directory: `cargo run --example generate -- DIR`. The
//! texts come from the definitions that the programs use, and from the tables in `docs/` for the configuration and the
//! exit codes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use berth::admin::CommandLine;
use berth::client;
use berth::client::cli::args::{Args, HOST, HostArgs};
use berth::client::syntax::command::options::{CommandOption, OptionRole};
use berth::client::syntax::command::{COMMANDS, Operands};

fn main() -> io::Result<()> {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("usage: cargo run --example generate -- DIR"));
    };
    fs::create_dir_all(&directory)?;
    generate(&directory)
}

/// Writes all files into a directory that exists.
pub(crate) fn generate(directory: &Path) -> io::Result<()> {
    for (name, page) in [("berth.1", berth_1()?), ("berthd.8", berthd_8()?), ("berthd.json.5", berthd_json_5())] {
        fs::write(directory.join(name), page)?;
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        complete_berth(directory, shell)?;
        complete_berthd(directory, shell)?;
    }
    Ok(())
}

// ---- Completion ---------------------------------------------------------------------------

/// Completes options from the definitions in clap, and hosts, commands and files with a function of the shell.
fn complete_berth(directory: &Path, shell: Shell) -> io::Result<()> {
    // For the shell, `host` is a subcommand.
    let mut program = Args::command().disable_help_subcommand(true).subcommand(HostArgs::command().name(HOST));
    let more = match shell {
        Shell::Bash => include_str!("completions/berth.bash"),
        Shell::Zsh => include_str!("completions/berth.zsh"),
        _ => include_str!("completions/berth.fish"),
    };
    let names: Vec<&str> = COMMANDS.iter().map(|command| command.name).filter(|name| *name != "!").collect();
    let separator = if matches!(shell, Shell::Bash) { "\\n" } else { " " };
    let commands: String = COMMANDS.iter().filter(|command| command.name != "!").map(|it| case(it, shell)).collect();
    let more = more
        .replace("@NAMES@", &names.join(separator))
        .replace("@COMMANDS@", commands.trim_end())
        .replace("@SWAP@", &options_of_commands(|option| option.role == OptionRole::SwapOperands, shell))
        .replace("@WITH_VALUE@", &options_of_commands(|option| option.value.is_some(), shell))
        .replace("@VALUES@", &with_value(&Args::command(), shell));
    add(directory, shell, &mut program, "berth", &more)
}

fn complete_berthd(directory: &Path, shell: Shell) -> io::Result<()> {
    let more = match shell {
        Shell::Bash => include_str!("completions/berthd.bash"),
        Shell::Zsh => include_str!("completions/berthd.zsh"),
        _ => include_str!("completions/berthd.fish"),
    };
    let options = with_value(&CommandLine::command(), shell);
    add(directory, shell, &mut CommandLine::command(), "berthd", &more.replace("@VALUES@", &options))
}

/// Writes the completion of a program. A zsh file calls one function, and that is the one in `more`.
fn add(directory: &Path, shell: Shell, program: &mut Command, name: &str, more: &str) -> io::Result<()> {
    let file = clap_complete::generate_to(shell, program, name, directory)?;
    let text = fs::read_to_string(&file)?;
    let text = match shell {
        Shell::Zsh => {
            let (own, end) = text.split_once("\nif [ \"$funcstack[1]\"").expect("it ends with a call");
            let own = own.replace(&format!("\n_{name}() {{"), &format!("\n_{name}_options() {{"));
            // In this place, zsh reads a colon as the end of a part.
            let own = own.replace(":SHA256:...:", ":FINGERPRINT:");
            format!("{own}{more}\nif [ \"$funcstack[1]\"{end}")
        }
        _ => text + more,
    };
    fs::write(&file, text)
}

/// Returns the chosen options of all commands, as a pattern of the shell.
fn options_of_commands(is_chosen: fn(&CommandOption) -> bool, shell: Shell) -> String {
    let mut names: Vec<_> =
        COMMANDS.iter().flat_map(|it| it.options).filter(|it| is_chosen(it)).map(|it| it.name).collect();
    names.sort_unstable();
    names.dedup();
    names.join(pattern_separator(shell))
}

fn pattern_separator(shell: Shell) -> &'static str {
    if matches!(shell, Shell::Fish) { " " } else { " | " }
}

/// Returns the options that take a value, as a pattern of the shell.
fn with_value(program: &Command, shell: Shell) -> String {
    let mut options: Vec<String> = Vec::new();
    let mut programs = vec![program];
    while let Some(program) = programs.pop() {
        programs.extend(program.get_subcommands());
        for arg in program.get_opts().filter(|arg| arg.get_action().takes_values()) {
            options.extend(arg.get_short().map(|short| format!("-{short}")));
            options.extend(arg.get_long().filter(|long| *long != "config").map(|long| format!("--{long}")));
        }
    }
    options.sort();
    options.dedup();
    options.join(pattern_separator(shell))
}

/// Returns the branch of a command: the kind of its operands, and its options.
fn case(command: &client::syntax::command::CommandSpec, shell: Shell) -> String {
    let kind = match command.operands {
        Operands::None => "none",
        Operands::Remote | Operands::RemoteDirectories => "remote",
        Operands::RemoteThenLocal => "remote-local",
        Operands::Local => "local",
        Operands::LocalDirectories => "local-directories",
        Operands::LocalThenRemote => "local-remote",
        Operands::Commands => "commands",
    };
    let names: Vec<&str> = [command.name].iter().chain(command.aliases).filter(|name| **name != "?").copied().collect();
    let options = command.options.iter().filter(|option| option.is_offered()).map(|option| option.name);
    let options = options.chain(["--help"]).collect::<Vec<_>>().join(" ");
    match shell {
        Shell::Fish => format!(
            "        case {}\n            set kind {kind}\n            set options {options}\n",
            names.join(" ")
        ),
        Shell::Zsh => format!("        {}) kind={kind} options=({options}) ;;\n", names.join(" | ")),
        _ => format!("        {}) kind={kind} options='{options}' ;;\n", names.join(" | ")),
    }
}

// ---- The pages ----------------------------------------------------------------------------

fn berth_1() -> io::Result<String> {
    let mut page = Page::about(&Args::command(), "1")?;
    page.section("COMMANDS");
    page.paragraph(
        "These commands are used in the shell, in scripts and after HOST. Names may be patterns, and quotes work as in sh.",
    );
    for command in COMMANDS {
        page.term(&format!("{} {}", command.name, command.usage()));
        page.text(&sentence(command.help));
        if !command.aliases.is_empty() {
            page.text(&format!("Also: {}.", command.aliases.join(", ")));
        }
        for option in command.explained_options() {
            page.line(&format!("{}: {}.", option.shown(), option.help));
        }
        page.line(&format!("Example: {}", command.example));
    }
    page.section("NAMED HOSTS");
    page.subcommands(&HostArgs::command().name("berth host"), "berth host");
    page.section("EXIT STATUS");
    page.table(&table_of(SCRIPTING, "| exit | means |"), 1);
    page.section("ENVIRONMENT");
    for (name, text) in [
        ("BERTH_PASSWORD", "The password, if no option says where to read it."),
        ("NO_COLOR, LS_COLORS", "Disable or choose the colours of listings."),
        ("SHELL", "The shell that runs local commands after '!' and '|'."),
        ("XDG_CONFIG_HOME, XDG_STATE_HOME", "Used instead of ~/.config and ~/.local/state for the files below."),
    ] {
        page.term(name);
        page.text(text);
    }
    page.section("FILES");
    for (name, text) in [
        ("~/.config/berth/berth.json", "Named hosts."),
        ("~/.local/state/berth/known_hosts.json", "The keys of the known servers."),
        ("~/.local/state/berth/history", "The history of the shell."),
        (".NAME.berth-part", "A partial download, in the directory of its destination."),
    ] {
        page.term(name);
        page.text(text);
    }
    page.section("SEE ALSO");
    page.text("berthd(8)");
    Ok(page.roff)
}

fn berthd_8() -> io::Result<String> {
    let mut page = Page::about(&CommandLine::command(), "8")?;
    page.section("COMMANDS");
    page.subcommands(&CommandLine::command(), "berthd");
    page.section("SIGNALS");
    for (name, text) in [
        (
            "SIGTERM, SIGINT",
            "Wait for running transfers until the drain deadline, then exit. A second signal exits at once.",
        ),
        ("SIGHUP", "Reopen the log files, and read the configuration and the certificate again."),
    ] {
        page.term(name);
        page.text(text);
    }
    page.section("ENVIRONMENT");
    for (name, text) in [
        ("NOTIFY_SOCKET", "The socket for notices of start, reload and stop: sd_notify(3)."),
        ("RUST_LOG", "The level of messages on standard error: error, warn, info (the default) or debug."),
    ] {
        page.term(name);
        page.text(text);
    }
    page.section("EXIT STATUS");
    page.table(&table_of(SERVER, "| exit | means |"), 1);
    page.section("SEE ALSO");
    page.text("berthd.json(5), berth(1)");
    Ok(page.roff)
}

fn berthd_json_5() -> String {
    let mut page = Page::default();
    page.roff.push_str(".TH berthd.json 5\n");
    page.section("NAME");
    page.text("berthd.json - configuration of the file server berthd");
    page.section("DESCRIPTION");
    // The title and the sentence below it are left out.
    for paragraph in CONFIGURATION.split("\n\n").skip(2).filter(|paragraph| !paragraph.trim().is_empty()) {
        match paragraph.trim() {
            table if table.starts_with('|') => page.table(&rows(table), 2),
            heading if heading.starts_with("## ") => page.section(&heading[3..].to_uppercase()),
            code if code.starts_with("```") => page.example(code),
            list if list.starts_with("- ") => page.list(list),
            text => page.paragraph(&text.replace('\n', " ")),
        }
    }
    page.section("SEE ALSO");
    page.text("berthd(8)");
    page.roff
}

// ---- Formatting of pages ----------------------------------------------------------------

#[derive(Default)]
struct Page {
    roff: String,
}

impl Page {
    /// Creates the page of a program from its definition in clap: name, synopsis, description and options.
    fn about(command: &Command, section: &str) -> io::Result<Self> {
        let name = command.get_name().to_string();
        let mut command = command.clone().disable_help_subcommand(true);
        if command.has_subcommands() {
            command = command.override_usage(format!("{name} COMMAND [OPTIONS]"));
        }
        let man = Man::new(command).title(name).section(section);
        let mut roff = Vec::new();
        man.render_title(&mut roff)?;
        man.render_name_section(&mut roff)?;
        man.render_synopsis_section(&mut roff)?;
        man.render_description_section(&mut roff)?;
        man.render_options_section(&mut roff)?;
        Ok(Self { roff: String::from_utf8(roff).map_err(io::Error::other)? })
    }

    fn section(&mut self, title: &str) {
        self.roff.push_str(&format!(".SH \"{title}\"\n"));
    }

    fn paragraph(&mut self, text: &str) {
        self.roff.push_str(".PP\n");
        self.text(text);
    }

    fn text(&mut self, text: &str) {
        self.roff.push_str(&escaped(text));
        self.roff.push('\n');
    }

    /// Adds text on a line of its own.
    fn line(&mut self, text: &str) {
        self.roff.push_str(".br\n");
        self.text(text);
    }

    /// Adds a block of code, line by line.
    fn example(&mut self, code: &str) {
        self.roff.push_str(".PP\n.nf\n");
        code.lines().filter(|line| !line.starts_with("```")).for_each(|line| self.text(line));
        self.roff.push_str(".fi\n");
    }

    /// Adds a list; an item may have several lines.
    fn list(&mut self, list: &str) {
        for item in list[2..].split("\n- ") {
            self.roff.push_str(".IP \\(bu 2\n");
            self.text(&item.split_whitespace().collect::<Vec<_>>().join(" ").replace("**", ""));
        }
    }

    /// Adds a term; the text that follows explains it.
    fn term(&mut self, term: &str) {
        self.roff.push_str(&format!(".TP\n\\fB{}\\fR\n", escaped(term.trim_end())));
    }

    /// Adds the rows of a table: the first cell as a term, then its text, which is the second cell if `cells` is 1. A
    /// row of the configuration has a default, the moment when a change takes effect, and a text.
    fn table(&mut self, rows: &[Vec<String>], cells: usize) {
        for row in rows {
            self.term(&row[0]);
            match cells {
                1 => self.text(&row[1]),
                _ => {
                    self.text(&format!("Default: {}. A new value takes effect on {}.", row[1], row[2]));
                    self.line(&row[3]);
                }
            }
        }
    }

    /// Adds all commands that have no subcommands.
    fn subcommands(&mut self, command: &Command, path: &str) {
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            let path = format!("{path} {}", below.get_name());
            if below.has_subcommands() {
                self.subcommands(below, &path);
                continue;
            }
            let mut named = below.clone().bin_name(path.clone());
            let usage = named.render_usage().to_string();
            self.term(usage.trim_start_matches("Usage: "));
            self.text(&sentence(&named.get_about().map(ToString::to_string).unwrap_or_default()));
            for arg in named.get_arguments().filter(|arg| !arg.is_global_set() && arg.get_id() != "help") {
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                self.line(&format!("{arg}: {}", sentence(&help)));
            }
        }
    }
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let end = if text.ends_with(['.', ']']) { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}

/// Escapes text for roff. Code in Markdown becomes bold.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let mut roff: String = text
        .split('`')
        .enumerate()
        .map(|(at, part)| match at % 2 {
            0 => part.to_string(),
            _ => format!("\\fB{part}\\fR"),
        })
        .collect();
    if roff.starts_with(['.', '\'']) {
        roff.insert_str(0, "\\&");
    }
    roff
}

// ---- The documents ------------------------------------------------------------------------

const CONFIGURATION: &str = include_str!("../../docs/configuration.md");
const SCRIPTING: &str = include_str!("../../docs/scripting.md");
const SERVER: &str = include_str!("../../docs/server.md");

/// Returns the rows of the table in `document` that begins with `head`.
fn table_of(document: &str, head: &str) -> Vec<Vec<String>> {
    let (_, below) = document.split_once(head).expect("the document has this table");
    rows(&format!("{head}{}", below.split("\n\n").next().unwrap_or_default()))
}

/// Returns the cells of a Markdown table, without its head.
fn rows(table: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_string()).collect();
    table.trim_start().lines().skip(2).map(cells).collect()
}
