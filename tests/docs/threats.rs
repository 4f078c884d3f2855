//! Checks `docs/threats.md`: every threat has a row, and every test that it names exists.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The last threat in the table.
const LAST: u32 = 63;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// Each number, with the file and name of its tests.
fn rows() -> BTreeMap<u32, Vec<(String, String)>> {
    let text = fs::read_to_string(root().join("docs/threats.md")).expect("there");
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let mut cells = line.split('|').skip(1).map(str::trim);
        let Some(number) = cells.next().and_then(|number| number.parse().ok()) else { continue };
        let tests = cells.nth(1).unwrap_or_else(|| panic!("threat {number} has no tests"));
        let mut file = None;
        let mut named = Vec::new();
        for code in tests.split('`').skip(1).step_by(2) {
            match (code.ends_with(".rs"), &file) {
                (true, _) => file = Some(code.to_string()),
                (false, Some(file)) => named.push((file.clone(), code.to_string())),
                (false, None) => panic!("threat {number} names {code} and no file"),
            }
        }
        assert!(!named.is_empty(), "threat {number} has no tests");
        assert!(rows.insert(number, named).is_none(), "threat {number} stands twice");
    }
    rows
}

/// The names of the tests in a file: functions behind `#[test]`, or those that `tests!` lists.
fn tests_in(file: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let name = |text: &str| text.split_once("fn ").and_then(|(_, rest)| rest.split('(').next()).map(str::to_string);
    let behind = text.split("#[test]").skip(1).filter_map(name);
    let (_, listed) = text.split_once("\ntests! {\n").unwrap_or_default();
    let (listed, _) = listed.split_once("\n}\n").unwrap_or_default();
    let words = listed.split([',', ';', '\n']).map(|word| word.trim().to_string());
    behind.chain(words).collect()
}

#[test]
fn every_threat_has_a_row() {
    assert_eq!(rows().into_keys().collect::<Vec<_>>(), (1..=LAST).collect::<Vec<_>>());
}

#[test]
fn every_test_that_the_table_of_threats_names_is_there() {
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (number, tests) in rows() {
        for (file, name) in tests {
            let found = known.entry(file.clone()).or_insert_with(|| tests_in(&file));
            assert!(found.contains(&name), "threat {number}: there is no test {name} in {file}");
        }
    }
}

#[test]
fn every_test_that_the_table_of_limits_names_is_there() {
    let text = fs::read_to_string(root().join("docs/threats.md")).expect("there");
    let (_, table) = text.split_once("## Tests of limits\n").expect("the table of limits");
    let tests: Vec<Vec<&str>> = table
        .lines()
        .filter_map(|line| line.rsplit('|').nth(1))
        .map(|cell| cell.split('`').skip(1).step_by(2).collect())
        .filter(|words: &Vec<&str>| !words.is_empty())
        .collect();
    assert!(tests.len() > 10, "{tests:?}");
    for words in tests {
        let [file, name] = words[..] else { panic!("not a file and a test: {words:?}") };
        let known = tests_in(file);
        let is_known = match name.strip_suffix('…') {
            Some(beginning) => known.iter().any(|test| test.starts_with(beginning)),
            None => known.iter().any(|test| test == name),
        };
        assert!(is_known, "there is no test {name} in {file}");
    }
}
