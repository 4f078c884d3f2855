//! `berth host`: adds, shows and removes named hosts. It opens no connection.

use serde_json::{Value, json};

use crate::base::explanation::Explanation;
use crate::base::text::Escaped;
use crate::client::cli::args::{AddHostArgs, HostArgs, HostCommand, LoginTarget};
use crate::client::cli::hosts::{self, Host, Hosts, address_of};
use crate::client::error::{EXIT_DONE, Failure};
use crate::client::ui::failures::report_fatal;
use crate::client::ui::output::Output;

/// Runs the subcommand and returns the exit code.
pub fn run(args: &HostArgs) -> u8 {
    let mut output = Output::standard(args.json, args.quiet);
    match run_subcommand(args, &mut output).and_then(|()| output.flush()) {
        Ok(()) => EXIT_DONE,
        Err(failure) => report_fatal(&mut output, &failure),
    }
}

fn run_subcommand(args: &HostArgs, output: &mut Output) -> Result<(), Failure> {
    let no_config_directory =
        || Failure::Usage(Explanation::new("there is no configuration directory", "set HOME or XDG_CONFIG_HOME"));
    let file = hosts::file().ok_or_else(no_config_directory)?;
    match &args.command {
        HostCommand::Add(new) => {
            let host = host_from_args(new)?;
            Hosts::update(&file, |hosts| hosts.add(&new.name, host.clone(), new.replace))?;
            output.note(format_args!("{}; 'berth {}' connects to it", format_host(&new.name, &host, 0), new.name));
            output.json(&host_json(&new.name, &host))
        }
        HostCommand::List => {
            let Hosts(hosts) = Hosts::read(&file)?;
            let width = hosts.keys().map(String::len).max().unwrap_or(0);
            hosts.iter().try_for_each(|(name, host)| {
                output.line(format_host(name, host, width))?;
                output.json(&host_json(name, host))
            })
        }
        HostCommand::Remove { names } => {
            let mut removed = Vec::new();
            Hosts::update(&file, |Hosts(hosts)| {
                for name in names {
                    let unknown = || {
                        let problem = format!("no host is called '{}'", Escaped(name.as_bytes()));
                        Failure::Local(Explanation::new(problem, "'berth host list' shows all"))
                    };
                    removed.push((name, hosts.remove(name).ok_or_else(unknown)?));
                }
                Ok(())
            })?;
            removed.iter().try_for_each(|(name, host)| {
                output.note(format_args!("{} is removed", Escaped(name.as_bytes())));
                output.json(&host_json(name, host))
            })
        }
    }
}

fn host_from_args(new: &AddHostArgs) -> Result<Host, Failure> {
    let target = LoginTarget::parse(&new.target).map_err(Failure::Usage)?;
    let local_directory = new
        .local_directory
        .as_ref()
        .map(|directory| std::path::absolute(directory).map_err(|error| Failure::local(directory, &error)));
    Ok(Host {
        address: address_of(&target),
        user: target.user,
        fingerprint: new.fingerprint,
        directory: new.directory.clone(),
        local_directory: local_directory.transpose()?,
        password_command: new.password_command.clone(),
        plaintext: new.plaintext,
    })
}

/// Formats `nas  ann@192.168.1.2:2121  /backup`.
fn format_host(name: &str, host: &Host, width: usize) -> String {
    let user = host.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    let directory = host.directory.as_ref().map(|directory| format!("  {directory}")).unwrap_or_default();
    let plaintext = if host.plaintext { "  not encrypted" } else { "" };
    let text = format!("{name:<width$}  {user}{}{directory}{plaintext}", host.address);
    Escaped(text.as_bytes()).to_string()
}

fn host_json(name: &str, host: &Host) -> Value {
    let Host { address, user, fingerprint, directory, local_directory, password_command, plaintext } = host;
    json!({
        "command": "host", "ok": true, "name": name, "address": address, "user": user, "fingerprint": fingerprint,
        "directory": directory, "local_directory": local_directory, "password_command": password_command,
        "plaintext": plaintext,
    })
}
