//! `berthd user …`: adds, shows, changes and removes accounts.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{Value, json};

use super::command_line::{AddArgs, Change, Named, UserCommand};
use super::{AdminError, password, print_json};
use crate::account::{Account, AccountError, AccountName, Accounts};
use crate::auth::scram::Verifier;
use crate::base::text::{Escaped, Size};
use crate::config::Config;

/// Runs one command.
pub(super) fn run(command: UserCommand, config: &Config) -> Result<(), AdminError> {
    let accounts = Accounts::open(config)?;
    match command {
        UserCommand::Add(args) => add(&accounts, config, args),
        UserCommand::List { json } => list(&accounts, json),
        UserCommand::Show { name, json } => show(&find(&accounts, &name)?, json),
        UserCommand::Set(args) => set(&accounts, config, &args.name, &args.change),
        UserCommand::Passwd { name, password_stdin } => passwd(&accounts, config, &name, password_stdin),
        UserCommand::Lock(Named { name }) => {
            accounts.update(&name, |account| account.locked = true)?;
            done(format_args!("{name} is locked; its sessions end within two seconds"))
        }
        UserCommand::Unlock(Named { name }) => {
            accounts.update(&name, |account| account.locked = false)?;
            done(format_args!("{name} may log in"))
        }
        UserCommand::Remove(Named { name }) => remove(&accounts, &name),
    }
}

fn add(accounts: &Accounts, config: &Config, args: AddArgs) -> Result<(), AdminError> {
    // Checked before the password is typed, and again when the account is added.
    if accounts.load(&args.name)?.is_some() {
        return Err(AccountError::Exists(args.name).into());
    }
    let home = match args.home {
        Some(home) => config.resolve(&home),
        None => accounts.default_home(&args.name),
    };
    let password = password::read_new(args.password_stdin)?;
    let account = Account {
        verifier: Verifier::from_password(&password, config.scram_rounds)?,
        name: args.name,
        quota_bytes: args.quota.map_or(config.default_quota, |quota| quota.0),
        quota_files: args.max_files.and_then(|quota| quota.0),
        home,
        read_only: args.read_only,
        locked: false,
    };
    accounts.add(&account)?;
    warn_of_weakness(&password, &account.name);
    let (name, home) = (&account.name, path(&account.home));
    let quota = account.quota_bytes.map_or("no quota".into(), |bytes| format!("a quota of {}", Size(bytes)));
    done(format_args!("{name} is added, with the home {home} and {quota}"))
}

fn list(accounts: &Accounts, as_json: bool) -> Result<(), AdminError> {
    let mut found = Vec::new();
    let mut unreadable = 0;
    for name in accounts.names()? {
        match accounts.load(&name) {
            Ok(account) => found.extend(account),
            Err(error) => {
                unreadable += 1;
                let _ = writeln!(io::stderr(), "berthd: {error}");
            }
        }
    }
    if as_json {
        print_json(&found.iter().map(to_json).collect())?;
    } else {
        print_table(&found)?;
    }
    match unreadable {
        0 => Ok(()),
        1 => Err(AdminError::Failed("1 account cannot be read; nobody can log in to it".into())),
        count => Err(AdminError::Failed(format!("{count} accounts cannot be read; nobody can log in to them"))),
    }
}

fn show(account: &Account, as_json: bool) -> Result<(), AdminError> {
    if as_json {
        return print_json(&to_json(account));
    }
    let mut out = io::stdout().lock();
    writeln!(out, "name:   {}", account.name)?;
    writeln!(out, "home:   {}", path(&account.home))?;
    writeln!(out, "quota:  {}", size(account.quota_bytes))?;
    writeln!(out, "files:  {}", account.quota_files.map_or("no limit".into(), |count| count.to_string()))?;
    writeln!(out, "access: {}", access(account))?;
    writeln!(out, "login:  {}", login(account))?;
    Ok(())
}

fn set(accounts: &Accounts, config: &Config, name: &AccountName, change: &Change) -> Result<(), AdminError> {
    let account = accounts.update(name, |account| {
        if let Some(quota) = change.quota {
            account.quota_bytes = quota.0;
        }
        if let Some(max_files) = change.max_files {
            account.quota_files = max_files.0;
        }
        if let Some(home) = &change.home {
            account.home = config.resolve(home);
        }
        account.read_only = (account.read_only || change.read_only) && !change.read_write;
    })?;
    show(&account, false)
}

fn passwd(accounts: &Accounts, config: &Config, name: &AccountName, from_stdin: bool) -> Result<(), AdminError> {
    find(accounts, name)?;
    let password = password::read_new(from_stdin)?;
    let verifier = Verifier::from_password(&password, config.scram_rounds)?;
    accounts.update(name, |account| account.verifier = verifier)?;
    warn_of_weakness(&password, name);
    done(format_args!("{name} has a new password; it is asked for from the next login"))
}

fn warn_of_weakness(password: &str, name: &AccountName) {
    if let Some(weakness) = password::weakness(password, name.as_str()) {
        let remedy = format!("`berthd user passwd {name}` sets another, of 12 characters or more");
        // If stderr is closed, the warning is lost.
        let _ = writeln!(io::stderr(), "berthd: the password is {weakness}; {remedy}");
    }
}

fn remove(accounts: &Accounts, name: &AccountName) -> Result<(), AdminError> {
    match accounts.remove(name)? {
        Some(account) => done(format_args!("{name} is removed; its files stay in {}", path(&account.home))),
        None => done(format_args!("{name} is removed; its file was not valid, so look for its home in home_roots")),
    }
}

fn find(accounts: &Accounts, name: &AccountName) -> Result<Account, AdminError> {
    Ok(accounts.load(name)?.ok_or_else(|| AccountError::Unknown(name.clone()))?)
}

fn done(message: std::fmt::Arguments<'_>) -> Result<(), AdminError> {
    Ok(writeln!(io::stdout(), "{message}")?)
}

// ---- Printing accounts --------------------------------------------------------------------

fn to_json(account: &Account) -> Value {
    json!({
        "name": account.name.as_str(),
        "home": account.home.to_string_lossy(),
        "quota_bytes": account.quota_bytes,
        "quota_files": account.quota_files,
        "read_only": account.read_only,
        "locked": account.locked,
    })
}

fn print_table(accounts: &[Account]) -> Result<(), AdminError> {
    let width = accounts.iter().map(|account| account.name.as_str().len()).max().unwrap_or(0).max("NAME".len());
    let mut out = io::stdout().lock();
    writeln!(out, "{:width$}  {:>6}  {:>9}  {:10}  {:7}  HOME", "NAME", "QUOTA", "MAX FILES", "ACCESS", "LOGIN")?;
    for account in accounts {
        let (quota, files) = (size(account.quota_bytes), count(account.quota_files));
        let (access, login, home) = (access(account), login(account), path(&account.home));
        writeln!(out, "{:width$}  {quota:>6}  {files:>9}  {access:10}  {login:7}  {home}", account.name)?;
    }
    Ok(())
}

fn size(quota: Option<u64>) -> String {
    quota.map_or("none".into(), |bytes| Size(bytes).to_string())
}

fn count(quota: Option<u64>) -> String {
    quota.map_or("none".into(), |count| count.to_string())
}

fn access(account: &Account) -> &'static str {
    if account.read_only { "read-only" } else { "read-write" }
}

fn login(account: &Account) -> &'static str {
    if account.locked { "locked" } else { "allowed" }
}

fn path(path: &Path) -> Escaped<'_> {
    Escaped(path.as_os_str().as_bytes())
}
