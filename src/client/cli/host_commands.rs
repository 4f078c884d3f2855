//! `berth host`: adds, shows and removes named hosts. It opens no connection.

use serde_json::{Value, json};

use crate::base::text::Escaped;
use crate::client::cli::args::{AddHostArgs, HostArgs, HostCommand, LoginTarget};
use crate::client::cli::hosts::{self, Host, Hosts, address_of};
use crate::client::error::{EXIT_DONE, Failure};
use crate::client::give_up;
use crate::client::ui::output::Output;

/// Runs the subcommand and returns the exit code.
pub fn run(args: &HostArgs) -> u8 {
    let mut output = Output::standard(args.json, args.quiet);
    match carry_out(args, &mut output).and_then(|()| output.flush()) {
        Ok(()) => EXIT_DONE,
        Err(failure) => give_up(&mut output, &failure),
    }
}

fn carry_out(args: &HostArgs, output: &mut Output) -> Result<(), Failure> {
    let none = || Failure::Usage("there is no place to keep hosts in; set HOME or XDG_CONFIG_HOME".into());
    let file = hosts::file().ok_or_else(none)?;
    match &args.command {
        HostCommand::Add(new) => {
            let host = described(new)?;
            Hosts::update(&file, |hosts| hosts.add(&new.name, host.clone(), new.replace))?;
            output.note(format_args!("{}; 'berth {}' connects to it", line(&new.name, &host, 0), new.name));
            output.json(&object(&new.name, &host))
        }
        HostCommand::List => {
            let Hosts(hosts) = Hosts::read(&file)?;
            let width = hosts.keys().map(String::len).max().unwrap_or(0);
            hosts.iter().try_for_each(|(name, host)| {
                output.line(line(name, host, width))?;
                output.json(&object(name, host))
            })
        }
        HostCommand::Remove { names } => {
            let mut removed = Vec::new();
            Hosts::update(&file, |Hosts(hosts)| {
                for name in names {
                    let unknown =
                        || format!("no host is called '{}'; 'berth host list' shows all", Escaped(name.as_bytes()));
                    removed.push((name, hosts.remove(name).ok_or_else(|| Failure::Local(unknown()))?));
                }
                Ok(())
            })?;
            removed.iter().try_for_each(|(name, host)| {
                output.note(format_args!("{} is removed", Escaped(name.as_bytes())));
                output.json(&object(name, host))
            })
        }
    }
}

fn described(new: &AddHostArgs) -> Result<Host, Failure> {
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
fn line(name: &str, host: &Host, width: usize) -> String {
    let user = host.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    let directory = host.directory.as_ref().map(|directory| format!("  {directory}")).unwrap_or_default();
    let plaintext = if host.plaintext { "  not encrypted" } else { "" };
    let text = format!("{name:<width$}  {user}{}{directory}{plaintext}", host.address);
    Escaped(text.as_bytes()).to_string()
}

fn object(name: &str, host: &Host) -> Value {
    let Host { address, user, fingerprint, directory, local_directory, password_command, plaintext } = host;
    json!({
        "command": "host", "ok": true, "name": name, "address": address, "user": user, "fingerprint": fingerprint,
        "directory": directory, "local_directory": local_directory, "password_command": password_command,
        "plaintext": plaintext,
    })
}
