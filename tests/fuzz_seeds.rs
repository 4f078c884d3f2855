//! The fuzz targets of `fuzz/`, without a fuzzer: each has seeds, and each seed keeps its
//! target's promises. So the targets compile and hold whenever the tests do.

// The fuzzer is a package of its own, which has them, too.
#[path = "../fuzz/properties/mod.rs"]
mod properties;
#[allow(dead_code)] // A part of it is enough here.
mod support {
    pub(crate) mod protocol_document;
}

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use properties::TARGETS;
use support::protocol_document::{Sender, Shown, examples};

fn directory_of(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target)
}

/// The seeds of a target by their names.
fn seeds_of(target: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory_of(target)).unwrap_or_else(|error| panic!("seeds of {target}: {error}"));
    let seed = |path: PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, fs::read(&path).expect("readable"))
    };
    entries.map(|entry| seed(entry.expect("an entry").path())).collect()
}

#[test]
fn every_target_has_seeds_that_keep_its_promises() {
    let mut broken = Vec::new();
    for target in TARGETS {
        let seeds = seeds_of(target.name);
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        for (name, input) in seeds {
            assert!(input.len() <= SEED_BYTES_MAX, "{}/{name} is no small seed", target.name);
            if std::panic::catch_unwind(|| (target.check)(&input)).is_err() {
                broken.push(format!("{}/{name}", target.name));
            }
        }
    }
    assert!(broken.is_empty(), "promises are broken by {broken:?}");
}

#[test]
fn no_seeds_belong_to_a_target_that_is_gone() {
    for entry in fs::read_dir(directory_of("")).expect("readable") {
        let name = entry.expect("an entry").file_name();
        assert!(TARGETS.iter().any(|target| name == target.name), "{name:?}");
    }
}

/// Where seeds are examples of the protocol's document they are those: after a change of the
/// document `BERTH_WRITE_SEEDS=1 cargo test --test fuzz_seeds` writes them anew.
#[test]
fn seeds_of_the_wire_are_the_examples_of_the_document() {
    for (target, seeds) in examples_as_seeds() {
        if std::env::var_os("BERTH_WRITE_SEEDS").is_some() {
            fs::create_dir_all(directory_of(target)).expect("writable");
            seeds.iter().for_each(|(name, seed)| fs::write(directory_of(target).join(name), seed).expect("writable"));
        }
        let written = seeds_of(target);
        for (name, seed) in &seeds {
            assert!(written.get(name) == Some(seed), "{target}/{name} is not what the document says");
        }
        let gone = written.keys().find(|name| name.starts_with(EXAMPLE) && !seeds.contains_key(*name));
        assert!(gone.is_none(), "{target}/{gone:?} is not in the document");
    }
}

/// Whole conversations, what the client says in them, and each message on its own.
fn examples_as_seeds() -> BTreeMap<&'static str, BTreeMap<String, Vec<u8>>> {
    let mut seeds: BTreeMap<&str, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    for (title, frames) in examples() {
        let name = format!("{EXAMPLE}{}", title.to_lowercase().replace(' ', "-"));
        let bytes_of = |wanted: &dyn Fn(&Shown) -> bool| -> Vec<u8> {
            frames.iter().filter(|shown| wanted(shown)).flat_map(|shown| shown.bytes.clone()).collect()
        };
        let is_clients = |shown: &Shown| shown.sender != Sender::Server;
        for (target, bytes) in
            [("frames", bytes_of(&|_| true)), ("stream", bytes_of(&is_clients)), ("stranger", bytes_of(&is_clients))]
        {
            if bytes.len() <= SEED_BYTES_MAX {
                seeds.entry(target).or_default().insert(name.clone(), bytes);
            }
        }
        for (at, shown) in frames.iter().enumerate().filter(|(_, shown)| shown.body().starts_with(b"{")) {
            let target = if is_clients(shown) { "request" } else { "reply" };
            seeds.entry(target).or_default().insert(format!("{name}-{at}"), shown.body().to_vec());
        }
    }
    seeds
}

/// Names of seeds that are examples begin so.
const EXAMPLE: &str = "example-";
/// The fuzzer grows what it needs from little.
const SEED_BYTES_MAX: usize = 4096;
