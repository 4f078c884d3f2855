//! `berthd kick`: ends sessions of the running server.

use std::io::{self, Write};

use serde_json::json;

use super::command_line::KickArgs;
use super::server_connection::{self, ServerConnection};
use super::{AdminError, print_json};
use crate::account::AccountName;
use crate::base::text::Escaped;
use crate::config::Config;
use crate::wire::control::{ControlReply, ControlRequest, KickTarget};

pub(super) fn run(args: &KickArgs, config: &Config) -> Result<(), AdminError> {
    let target = target(args)?;
    let mut kicked = 0;
    ServerConnection::connect_required(config)?.request(&ControlRequest::Kick { target: target.clone() }, |reply| {
        match reply {
            ControlReply::Kicked { sessions } => {
                kicked = sessions;
                Ok(())
            }
            other => Err(server_connection::unexpected(&other)),
        }
    })?;
    let nobody = match &target {
        KickTarget::Session(number) => format!("there is no session {number}"),
        KickTarget::User(name) => format!("nobody is logged in as {name}"),
    };
    match kicked {
        0 => Err(AdminError::Failed(format!("{nobody}; `berthd status` shows all sessions"))),
        _ if args.json => print_json(&json!({ "kicked": kicked })),
        1 => Ok(writeln!(io::stdout(), "1 session was ended")?),
        _ => Ok(writeln!(io::stdout(), "{kicked} sessions were ended")?),
    }
}

fn target(args: &KickArgs) -> Result<KickTarget, AdminError> {
    if let (false, Ok(number)) = (args.user, args.target.parse()) {
        return Ok(KickTarget::Session(number));
    }
    match args.target.parse::<AccountName>() {
        Ok(name) => Ok(KickTarget::User(name.to_string())),
        Err(error) => {
            let target = Escaped(args.target.as_bytes());
            Err(AdminError::Usage(format!("{target} is neither the number of a session nor a user: {error}")))
        }
    }
}
