//! One program for all targets: `BERTH_FUZZ_TARGET` names the property that libFuzzer tries to
//! break. `fuzz/run` builds and runs it.

#![no_main]

#[path = "../properties/mod.rs"]
mod properties;

use std::sync::OnceLock;

use properties::{TARGETS, Target};

fn target() -> &'static Target {
    static TARGET: OnceLock<&Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let wanted = std::env::var("BERTH_FUZZ_TARGET").unwrap_or_default();
        TARGETS.iter().find(|target| target.name == wanted).unwrap_or_else(|| panic!("no target called '{wanted}'"))
    })
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| (target().check)(input));
