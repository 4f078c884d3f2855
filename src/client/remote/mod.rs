//! Files on the server: listings, trees and patterns.

pub mod listing;
mod patterns;
