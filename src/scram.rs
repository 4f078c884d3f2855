//! Stand-in until the real module is merged.
#![allow(missing_docs)]

#[derive(Debug, thiserror::Error)]
#[error("scram")]
pub struct ScramError;
pub enum Binding {
    None,
}
pub struct ClientExchange;
pub struct ClientProved;

impl ClientExchange {
    pub fn new(user: &str, _password: &str, _binding: Binding) -> (Self, String) {
        (Self, format!("n,,n={user},r=nonce"))
    }
    pub fn answer(self, server_first: &str) -> Result<(ClientProved, String), ScramError> {
        if server_first.starts_with("r=") { Ok((ClientProved, "c=biws,p=proof".into())) } else { Err(ScramError) }
    }
}
impl ClientProved {
    pub fn verify(self, server_final: &str) -> Result<(), ScramError> {
        if server_final.starts_with("v=") { Ok(()) } else { Err(ScramError) }
    }
}
