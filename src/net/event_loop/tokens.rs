//! The tokens of the poll, and the numbers that route the result of a sync to its session.

use mio::Token;

/// The waker of the workers.
pub const WAKER: Token = Token(0);
/// Signals.
pub const SIGNALS: Token = Token(1);
/// The first listener; the others have the next numbers.
pub(super) const FIRST_LISTENER: usize = 2;
/// The first connection. The numbers below it suffice for any configuration of listeners. From it on
/// each slot has two tokens: an even one for its connection, the next for its data connection.
pub(super) const FIRST_CONNECTION: usize = 1024;

/// Returns the tokens of a slot's connection and data connection.
pub(super) fn tokens(key: usize) -> (Token, Token) {
    (Token(FIRST_CONNECTION + 2 * key), Token(FIRST_CONNECTION + 2 * key + 1))
}

/// Returns the slot of a token, and whether it is the data connection's.
pub(super) fn slot_of_token(token: usize) -> (usize, bool) {
    ((token - FIRST_CONNECTION) / 2, (token - FIRST_CONNECTION) % 2 == 1)
}

/// Returns slot and session number in one number, which routes a sync result to its session.
pub(super) fn caller(key: usize, number: u64) -> u64 {
    (key as u64) << 32 | (number & u64::from(u32::MAX))
}

pub(super) fn slot_of(caller: u64) -> (usize, u64) {
    ((caller >> 32) as usize, caller & u64::from(u32::MAX))
}
