//! aria2: many small files, several at once. It takes what it has received of a reply in one piece.

use std::collections::BTreeMap;
use std::fs;

use super::{Scene, check_tree};
use crate::support::needs::{ARIA2, tests};
use crate::support::{PASSWORD, pattern};

tests! {
    [ARIA2]
        aria2_fetches_many_small_files_over_few_connections;
}

fn aria2_fetches_many_small_files_over_few_connections() {
    let scene = Scene::new();
    let mut files = BTreeMap::new();
    for number in 0..36_usize {
        files.insert(format!("file{number}"), pattern(number as u64, [10_000, 1, 0, 20_000][number % 4]));
    }
    for (name, content) in &files {
        fs::write(scene.home(name), content).expect("writable");
    }
    let url = |name: &String| format!("ftp://ann:{PASSWORD}@{}/{name}\n", scene.ftp);
    fs::write(scene.place.here("list"), files.keys().map(url).collect::<String>()).expect("writable");
    for at_once in ["-j1", "-j3", "-j12"] {
        let mut aria2 = scene.client("aria2c");
        aria2.args(["-q", "--no-conf", "--timeout=60", "--max-tries=1", at_once, "-d", "fetched", "-i", "list"]);
        scene.place.run(aria2).expect_code(0);
        check_tree(&scene.place.here("fetched"), &files);
        fs::remove_dir_all(scene.place.here("fetched")).expect("ours");
    }
    scene.check();
}
