//! Checks the layers, import cycles, names of types and modules, error handling, and links of the documents.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What the client may use besides layer 0: it stands beside the server, not upon it.
const CLIENT_USES: [&str; 4] = ["wire", "auth", "tls", "config"];

/// Each module of the library and its layer, as the table in `lib.rs` says. The client has none.
fn layers() -> BTreeMap<String, Option<u32>> {
    let layers = layers_in("src/lib.rs");
    assert!(layers.len() > 10 && layers["store"] == Some(1) && layers["client"].is_none(), "{layers:?}");
    layers
}

/// The modules and their layers in the table at the beginning of a file.
fn layers_in(file: &str) -> BTreeMap<String, Option<u32>> {
    let map = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("there");
    let mut layers = BTreeMap::new();
    for row in map.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let Some((layer, modules)) = row.split_once(" | ") else { continue };
        for module in modules.split("[`").skip(1) {
            let name = module.split('`').next().unwrap_or_default();
            layers.insert(name.to_string(), layer.parse().ok());
        }
    }
    layers
}

fn layer(module: &str) -> u32 {
    let layers = layers();
    let layer = layers.get(module).unwrap_or_else(|| panic!("`{module}` is not in the table of lib.rs"));
    layer.unwrap_or(u32::MAX)
}

struct Source {
    path: PathBuf,
    /// The module of the library it belongs to; `lib` for `lib.rs`.
    module: String,
    text: String,
    /// Without comments and without what is compiled for tests only.
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut directories, mut sources) = (vec![root.clone()], Vec::new());
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("readable") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(&root).expect("below src").to_path_buf();
                let first = relative.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
                let text = std::fs::read_to_string(&path).expect("UTF-8");
                let code = if relative.ends_with("tests.rs") { String::new() } else { code_of(&text) };
                sources.push(Source { module: first.trim_end_matches(".rs").into(), path: relative, text, code });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.len() > 40, "src is not where it was");
    sources
}

/// Without line comments, and cut where the tests of the file begin.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = text.lines().map(|line| match line.find("//") {
        Some(start) if !line[..start].contains('"') => &line[..start],
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules that code names by `crate::…`, also in `use crate::{a, b::c}`.
fn used_modules(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (start, _) in code.match_indices("crate::") {
        let before = code[..start].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[start + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => used.extend(top_names(group)),
            None => used.extend(identifier(rest)),
        }
    }
    used
}

/// The first names in a group of imports: `a, b::{c, d}}` has `a` and `b`.
fn top_names(group: &str) -> Vec<String> {
    let (mut names, mut depth, mut is_first) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => is_first = true,
            c if is_first && !c.is_whitespace() => {
                names.extend(identifier(&group[at..]));
                is_first = false;
            }
            _ => {}
        }
    }
    names
}

fn identifier(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

#[test]
fn imports_are_found_however_they_are_written() {
    let code = "use crate::a::B;\nuse crate::{c, d::{e, f}, g::h};\nlet x = crate::i::j(); $crate::no; mycrate::no";
    assert_eq!(used_modules(code).into_iter().collect::<Vec<_>>(), ["a", "c", "d", "g", "i"]);
    assert_eq!(code_of("a // crate::b\n\"// c\"\n#[cfg(test)]\nmod tests {\nd"), "a \n\"// c\"");
}

/// Returns 0 for an import from the standard library, 1 for one from an external crate, and 2 for one of the library
/// itself. `import` is the text after `use`, and `file` the whole file.
fn import_group(import: &str, file: &str) -> usize {
    let first = identifier(import).unwrap_or_default();
    let is_own = matches!(&first[..], "crate" | "super" | "self")
        || first.starts_with(char::is_uppercase)
        || file.contains(&format!("mod {first};"));
    match &first[..] {
        "std" | "core" | "alloc" => 0,
        _ if is_own => 2,
        _ => 1,
    }
}

#[test]
fn imports_are_in_the_order_of_std_external_crates_and_own() {
    for source in sources() {
        let imports = source.text.lines().filter_map(|line| {
            // Those of inner modules are indented.
            let scope = line.strip_prefix("pub").filter(|rest| rest.starts_with([' ', '(']));
            let import = scope.map_or(line, |scope| scope.split_once(' ').map_or("", |(_, rest)| rest));
            // A line of a text may begin like an import.
            import.strip_prefix("use ").filter(|import| import.ends_with([';', '{']))
        });
        let groups: Vec<usize> = imports.map(|import| import_group(import, &source.text)).collect();
        assert!(groups.is_sorted(), "{}: {groups:?}", source.path.display());
    }
}

#[test]
fn modules_use_only_layers_below_their_own() {
    for source in sources().iter().filter(|source| source.module != "lib") {
        let own = layer(&source.module);
        for used in used_modules(&source.code) {
            let is_allowed = match source.module.as_str() {
                _ if used == source.module => true,
                "client" => layer(&used) == 0 || CLIENT_USES.contains(&used.as_str()),
                _ => layer(&used) <= own,
            };
            assert!(is_allowed, "{}: `{}` must not use `{used}`", source.path.display(), source.module);
        }
    }
}

#[test]
fn the_session_knows_no_protocol_and_only_the_store_touches_users_files() {
    for source in sources() {
        let used = used_modules(&source.code);
        if source.module == "session" {
            assert!(!used.contains("wire"), "{}", source.path.display());
        }
        let is_pure = ["base/buffers", "base/virtual_path.rs"].iter().any(|path| source.path.starts_with(path));
        if is_pure || ["protocol", "net", "wire"].contains(&source.module.as_str()) {
            for forbidden in ["cap_std", "std::fs::remove", "std::fs::rename", "OpenOptions", "unlinkat", "renameat"] {
                assert!(!source.code.contains(forbidden), "{}: {forbidden}", source.path.display());
            }
        }
        // The logs' own clock bounds how often they complain. Calls to a file system are timed by one function.
        let has_clock = ["net", "server", "admin", "client", "logging"].contains(&source.module.as_str());
        let forbidden = if source.path.ends_with("store/monotonic.rs") { &[][..] } else { &["Instant::now()"][..] };
        if !has_clock {
            for forbidden in ["mio::", "TcpStream"].iter().chain(forbidden) {
                assert!(!source.code.contains(forbidden), "{}: {forbidden}", source.path.display());
            }
        }
    }
}

/// Looking up the name of an address would let the name server of an attacker stall the loop and choose
/// what stands in the log.
#[test]
fn the_server_asks_no_name_service() {
    for source in sources().iter().filter(|source| source.module != "client") {
        for forbidden in ["ToSocketAddrs", "to_socket_addrs", "lookup_host", "getnameinfo", "getaddrinfo", "gethostby"]
        {
            assert!(!source.code.contains(forbidden), "{}: {forbidden}", source.path.display());
        }
    }
}

#[test]
fn no_deadline_depends_on_the_clock_on_the_wall() {
    // Names and ages of what is on disk, the ends of certificates, lines of logs.
    let may = [
        "base/calendar.rs",
        "store/clock.rs",
        "account/directory/mod.rs",
        "server/certificate.rs",
        "admin/fingerprint.rs",
        "logging/mod.rs",
        "logging/file/mod.rs",
        "logging/stderr.rs",
    ];
    for source in sources().iter().filter(|source| source.module != "client") {
        let uses = ["SystemTime", "UNIX_EPOCH", "Timestamp::now"].iter().any(|clock| source.code.contains(clock));
        assert!(!uses || may.iter().any(|may| source.path.ends_with(may)), "{}", source.path.display());
    }
}

#[test]
fn modules_do_not_use_each_other_in_a_circle() {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources().iter().filter(|source| source.module != "lib") {
        let used = used_modules(&source.code).into_iter().filter(|used| *used != source.module);
        uses.entry(source.module.clone()).or_default().extend(used);
    }
    while !uses.is_empty() {
        let free: Vec<String> = uses
            .iter()
            .filter(|(_, used)| !used.iter().any(|u| uses.contains_key(u)))
            .map(|(m, _)| m.clone())
            .collect();
        assert!(!free.is_empty(), "these use each other in a circle: {uses:?}");
        free.iter().for_each(|module| drop(uses.remove(module)));
    }
}

/// The names of a module from the library down.
fn names_of(path: &Path) -> Vec<String> {
    let names = path.with_extension("");
    let names = names.components().map(|name| name.as_os_str().to_string_lossy().into_owned());
    names.filter(|name| name != "mod" && name != "lib").collect()
}

/// All paths that begin with `crate`, `super` or a name, in imports and elsewhere; groups are taken apart.
fn paths_in(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find("use ") {
        let (before, import) = rest.split_at(start);
        paths.extend(paths_elsewhere(before));
        let (import, after) = import["use ".len()..].split_once(';').unwrap_or((import, ""));
        take_apart("", import, &mut paths);
        rest = after;
    }
    paths.extend(paths_elsewhere(rest));
    paths
}

fn take_apart(prefix: &str, import: &str, paths: &mut Vec<String>) {
    let import = import.trim();
    let Some((before, group)) = import.split_once('{') else {
        let name = import.split(" as ").next().unwrap_or_default();
        return paths.push(format!("{prefix}{name}"));
    };
    let (mut depth, mut from) = (0, 0);
    let group = &group[..group.rfind('}').unwrap_or(group.len())];
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !group[from..at].trim().is_empty() {
                    take_apart(&format!("{prefix}{}", before.trim()), &group[from..at], paths);
                }
                from = at + 1;
            }
            _ => {}
        }
    }
}

fn paths_elsewhere(code: &str) -> Vec<String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = code.split(|c: char| !is_name(c)).filter(|word| word.contains("::"));
    words.map(|word| word.trim_matches(':').to_string()).collect()
}

/// The module that `path` leads to from the module `own`, if it is one of these.
fn resolve(path: &str, own: &[String], modules: &BTreeSet<Vec<String>>) -> Option<Vec<String>> {
    let mut names: Vec<String> = path.split("::").map(|name| name.trim().to_string()).collect();
    let above = names.iter().take_while(|name| *name == "super").count();
    let from: Vec<String> = match names[0].as_str() {
        "crate" => Vec::new(),
        "super" => own[..own.len().checked_sub(above)?].to_vec(),
        _ => own.to_vec(),
    };
    names.drain(..if names[0] == "crate" { 1 } else { above });
    let is_relative = !path.starts_with("crate") && above == 0;
    let all: Vec<String> = from.iter().chain(&names).cloned().collect();
    let least = if is_relative { own.len() + 1 } else { 1 };
    (least..=all.len()).rev().map(|length| all[..length].to_vec()).find(|module| modules.contains(module))
}

/// The modules that each file uses by imports or paths. Excepted are those that it stands in or contains.
fn uses_of_files() -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let sources: Vec<_> = sources().into_iter().filter(|source| !source.code.is_empty()).collect();
    let modules: BTreeSet<Vec<String>> = sources.iter().map(|source| names_of(&source.path)).collect();
    let mut uses = BTreeMap::new();
    for source in &sources {
        let own = names_of(&source.path);
        let used = paths_in(&source.code).into_iter().filter_map(|path| resolve(&path, &own, &modules));
        let used = used.filter(|used| !used.starts_with(&own) && !own.starts_with(used)).collect();
        uses.insert(own, used);
    }
    uses
}

/// Except that a module uses those within it, and these use what stands in it.
#[test]
fn no_files_use_each_other_in_a_circle() {
    let mut uses = uses_of_files();
    let arrows: usize = uses.values().map(BTreeSet::len).sum();
    assert!(arrows > 1000, "imports are no longer found: {arrows}");
    while !uses.is_empty() {
        let free = |used: &BTreeSet<Vec<String>>| !used.iter().any(|used| uses.contains_key(used));
        let free: Vec<_> = uses.iter().filter(|(_, used)| free(used)).map(|(module, _)| module.clone()).collect();
        assert!(!free.is_empty(), "these files use each other in a circle, or use some that do: {uses:#?}");
        free.iter().for_each(|module| drop(uses.remove(module)));
    }
}

/// The folders and files of each module, and the others in it that the files of each use.
fn uses_of_folders() -> BTreeMap<Vec<String>, BTreeMap<String, BTreeSet<String>>> {
    let mut folders: BTreeMap<Vec<String>, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (own, all_used) in uses_of_files() {
        for used in all_used {
            let common = own.iter().zip(&used).take_while(|(a, b)| a == b).count();
            let of_own = folders.entry(own[..common].to_vec()).or_default().entry(own[common].clone()).or_default();
            of_own.insert(used[common].clone());
        }
    }
    folders
}

#[test]
fn no_folders_use_each_other_in_a_circle() {
    let folders = uses_of_folders();
    let arrows = |module: &str| folders[&vec![module.to_string()]].values().map(BTreeSet::len).sum::<usize>();
    assert!(arrows("client") >= 40 && arrows("store") >= 40, "imports are no longer found: {folders:#?}");
    for (within, mut uses) in folders {
        while !uses.is_empty() {
            let free = |used: &BTreeSet<String>| !used.iter().any(|used| uses.contains_key(used));
            let free: Vec<_> = uses.iter().filter(|(_, used)| free(used)).map(|(folder, _)| folder.clone()).collect();
            assert!(
                !free.is_empty(),
                "in {within:?}, these use each other in a circle, or use some that do: {uses:#?}"
            );
            free.iter().for_each(|folder| drop(uses.remove(folder)));
        }
    }
}

#[test]
fn the_folders_of_the_client_use_only_layers_below_their_own() {
    let layers = layers_in("src/client/mod.rs");
    let client = vec!["client".to_string()];
    let folders = uses_of_folders().remove(&client).expect("the client");
    for (folder, used) in &folders {
        for used in used {
            let is_below = layers[used] <= layers[folder];
            assert!(is_below, "client/{folder} must not use client/{used}");
        }
    }
    let all: BTreeSet<String> = sources()
        .iter()
        .map(|source| names_of(&source.path))
        .filter(|names| names.len() > 1 && names[0] == "client")
        .map(|mut names| names.remove(1))
        .collect();
    assert_eq!(all, layers.into_keys().collect(), "the table in client/mod.rs has every folder and no other");
}

/// What starts the client stands above all its folders.
#[test]
fn no_folder_of_the_client_uses_what_starts_it() {
    let modules: BTreeSet<Vec<String>> = sources().iter().map(|source| names_of(&source.path)).collect();
    for source in sources().iter().filter(|source| source.module == "client") {
        let own = names_of(&source.path);
        // `pub(in crate::client)` uses nothing.
        let paths = paths_in(&source.code).into_iter().filter(|path| path != "crate::client");
        let mut used = paths.filter_map(|path| resolve(&path, &own, &modules));
        assert!(own.len() == 1 || !used.any(|used| used == ["client"]), "{}", source.path.display());
    }
}

#[test]
fn paths_are_split_and_resolved() {
    let code = "use super::a::{b, c::{D, e}};\nuse crate::f;\nfn g() { h::i(crate::j::k()) }";
    let paths = ["super::a::b", "super::a::c::D", "super::a::c::e", "crate::f", "h::i", "crate::j::k"];
    assert_eq!(paths_in(code), paths);
    let module = |path: &str| path.split("::").map(String::from).collect::<Vec<_>>();
    let modules = BTreeSet::from(["m", "m::a", "m::a::c", "m::n", "m::n::h", "f"].map(module));
    let own = module("m::n");
    let found = paths.map(|path| resolve(path, &own, &modules).map(|names| names.join("::")));
    assert_eq!(
        found.each_ref().map(Option::as_deref),
        [Some("m::a"), Some("m::a::c"), Some("m::a::c"), Some("f"), Some("m::n::h"), None]
    );
}

/// The types that code defines outside of functions and `impl` blocks: structs, enums, traits and aliases.
fn defined_types(code: &str) -> Vec<String> {
    let lines = code.lines().map(|line| match line.strip_prefix("pub") {
        Some(scoped) if scoped.starts_with('(') => scoped.split_once(") ").map_or(scoped, |(_, rest)| rest),
        Some(rest) => rest.trim_start(),
        None => line,
    });
    let kinds = ["struct ", "enum ", "trait ", "type ", "union "];
    lines.filter_map(|line| identifier(kinds.iter().find_map(|kind| line.strip_prefix(kind))?)).collect()
}

#[test]
fn types_are_found_however_visible_they_are() {
    let code =
        "struct A;\npub enum B {\npub(in crate::x) trait C {\npub(super) type D<T> = T;\n    type Err = E;\nfn f()";
    assert_eq!(defined_types(code), ["A", "B", "C", "D"]);
}

/// Types that both programs have under one name, because both mean the same: bytes that wait to be sent, and what one
/// client does after its login.
const TYPES_OF_BOTH_PROGRAMS: [&str; 2] = ["SendBuffer", "Session"];

#[test]
fn no_two_types_share_a_name_except_those_that_both_programs_have() {
    let mut files: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for source in sources() {
        for name in defined_types(&source.code) {
            files.entry(name).or_default().push(source.path.clone());
        }
    }
    let of_client = files.values().flatten().filter(|file| file.starts_with("client")).count();
    assert!(of_client > 90 && files.len() - of_client > 200, "types are no longer found: {of_client}, {}", files.len());
    files.retain(|_, files| files.len() > 1);
    for name in TYPES_OF_BOTH_PROGRAMS {
        let of_name = files.remove(name).unwrap_or_default();
        let of_client = of_name.iter().filter(|file| file.starts_with("client")).count();
        assert_eq!((of_name.len(), of_client), (2, 1), "{name} is no type of both programs: {of_name:?}");
    }
    assert!(files.is_empty(), "one name has one meaning: {files:#?}");
}

#[test]
fn the_map_in_lib_names_every_module_and_no_other() {
    let modules: BTreeSet<String> =
        sources().into_iter().map(|source| source.module).filter(|module| module != "lib").collect();
    assert_eq!(modules, layers().into_keys().collect());
}

#[test]
fn every_source_file_belongs_to_the_program() {
    let sources = sources();
    for source in sources.iter().filter(|source| source.path != Path::new("lib.rs")) {
        let stem = source.path.file_stem().expect("a name").to_string_lossy().into_owned();
        let directory = source.path.parent().expect("a parent");
        let (name, above) = if stem == "mod" {
            (
                directory.file_name().expect("a name").to_string_lossy().into_owned(),
                directory.parent().expect("a parent"),
            )
        } else {
            (stem, directory)
        };
        // The parent of `a/b.rs` is `a.rs` or `a/mod.rs`; that of `a.rs` is `lib.rs`.
        let parents = match above.file_name() {
            None => vec![PathBuf::from("lib.rs")],
            Some(_) => vec![above.with_extension("rs"), above.join("mod.rs")],
        };
        let declared = sources
            .iter()
            .filter(|parent| parents.contains(&parent.path))
            .any(|parent| parent.text.lines().any(|line| line.trim_start().ends_with(&format!("mod {name};"))));
        assert!(declared, "{} is declared nowhere", source.path.display());
    }
}

#[test]
fn every_source_file_says_first_what_it_is() {
    for source in sources().iter().filter(|source| !source.path.ends_with("tests.rs")) {
        let first = source.text.lines().next().unwrap_or_default();
        let is_said = first.starts_with("//! ") || first.starts_with("#![doc = include_str!");
        assert!(is_said, "{} begins with: {first}", source.path.display());
    }
}

#[test]
fn nothing_outside_of_tests_unwraps_or_leaves_work_undone() {
    for source in sources() {
        for forbidden in [".unwrap()", "todo!(", "unimplemented!(", "dbg!(", "TODO", "FIXME", "XXX"] {
            assert!(!source.code.contains(forbidden), "{}: {forbidden}", source.path.display());
        }
    }
}

#[test]
fn every_expect_says_something() {
    for source in sources() {
        for (start, _) in source.code.match_indices(".expect(") {
            let argument = source.code[start + ".expect(".len()..].trim_start();
            let message: String = argument.trim_start_matches('"').chars().take_while(|c| *c != '"').collect();
            assert!(message.split(' ').count() >= 3, "{}: expect({message:?})", source.path.display());
        }
    }
}

// ---- The tests themselves -----------------------------------------------------------------

/// The files of a test binary, which is one file or a directory.
fn files_of_test(name: &str) -> Vec<PathBuf> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let (mut directories, mut files) = (vec![tests.join(name)], vec![tests.join(name).with_extension("rs")]);
    files.retain(|file| file.exists());
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten() {
            let path = entry.expect("entry").path();
            if path.is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    assert!(!files.is_empty(), "{name}");
    files
}

/// The compiler drops functions behind `#[test]` where Rust's own harness is not used.
#[test]
fn a_test_that_the_harness_of_its_binary_would_never_run_is_found() {
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).expect("there");
    let tables =
        manifest.split("\n[").filter(|table| table.starts_with("[test]]") && table.contains("harness = false"));
    let names: Vec<_> = tables.filter_map(|table| table.split("name = \"").nth(1)?.split('"').next()).collect();
    assert_eq!(names, ["clients", "load", "privileged"]);
    for file in names.iter().flat_map(|name| files_of_test(name)) {
        let text = std::fs::read_to_string(&file).expect("UTF-8");
        assert!(!text.lines().any(|line| line.trim() == "#[test]"), "{}: list it in `tests!` instead", file.display());
    }
}

/// Cargo looks only for the test programs that its manifest names, because `tests/support.rs` is none, and
/// rustc only for the modules that are declared.
#[test]
fn every_file_of_tests_belongs_to_a_test_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| std::fs::read_to_string(path).expect("UTF-8");
    let manifest = read(&root.join("Cargo.toml"));
    for file in files_of_test("") {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let directory = file.parent().expect("a parent");
        let is_declared = if directory == root.join("tests") {
            name == "support" || manifest.contains(&format!("path = \"tests/{name}.rs\""))
        } else {
            let parent = read(&directory.with_extension("rs"));
            parent.lines().any(|line| line.trim_start().ends_with(&format!("mod {name};")))
        };
        assert!(is_declared, "{} is declared nowhere", file.display());
    }
}

// ---- Documents ----------------------------------------------------------------------------

/// Every document of the repository, with its path.
fn documents() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for directory in [root.to_path_buf(), root.join("docs")] {
        let entries = std::fs::read_dir(directory).expect("readable");
        paths.extend(entries.map(|entry| entry.expect("entry").path()));
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    assert!(paths.len() > 5, "the documents are not where they were");
    paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).expect("UTF-8"))).collect()
}

/// The anchor of each heading: lower case, words joined by dashes.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    let is_kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let anchor =
        |heading: &str| heading.trim_start_matches('#').trim().to_lowercase().chars().filter(is_kept).collect();
    let mut anchors = BTreeSet::new();
    for anchor in headings.map(anchor).map(|text: String| text.replace(' ', "-")) {
        let numbered = (1..).map(|number| format!("{anchor}-{number}"));
        let free = std::iter::once(anchor.clone()).chain(numbered).find(|anchor| !anchors.contains(anchor));
        anchors.extend(free);
    }
    anchors
}

#[test]
fn documents_link_to_what_is_there() {
    for (path, text) in documents() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { path.clone() } else { path.with_file_name("").join(file) };
            assert!(target.exists(), "{}: {link} is not there", path.display());
            if let Some(anchor) = anchor {
                let text = std::fs::read_to_string(&target).expect("UTF-8");
                assert!(anchors(&text).contains(anchor), "{}: {link} is no heading", path.display());
            }
        }
    }
}

/// The code blocks of a document, without the comments in them.
fn code_blocks(text: &str) -> Vec<String> {
    let code = |line: &str| line.split(" # ").next().unwrap_or_default().trim_end().to_string();
    let blocks = text.split("```").skip(1).step_by(2);
    blocks.map(|block| block.lines().map(code).collect::<Vec<_>>().join("\n")).collect()
}

#[test]
fn the_readme_shows_the_same_in_both_languages() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect("UTF-8");
    let (english, chinese) = (code_blocks(&read("README.md")), code_blocks(&read("docs/README.zh-CN.md")));
    assert!(english.len() > 5);
    assert_eq!(english, chinese);
}

#[test]
fn configurations_in_the_documents_are_valid() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let file = directory.path().join("berthd.json");
    let mut count = 0;
    for (path, text) in documents() {
        for block in text.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            std::fs::write(&file, block).expect("writable");
            if let Err(error) = berth::config::Config::load(&file) {
                panic!("{}: {error}\n{block}", path.display());
            }
            count += 1;
        }
    }
    assert!(count >= 5, "{count} configurations");
}

#[test]
fn a_word_of_the_glossary_is_the_name_of_one_type() {
    let (_, text) = documents().into_iter().find(|(path, _)| path.ends_with("docs/architecture.md")).expect("there");
    let (_, glossary) = text.split_once("## Glossary").expect("it has one");
    let rows = glossary.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | `"));
    let mut count = 0;
    for (word, row) in rows {
        let mut cells = row.split('`');
        let (name, file) = (cells.next().expect("a type"), cells.nth(1).expect("a file"));
        let defines = |source: &Source| {
            ["struct", "enum", "trait"].iter().any(|kind| {
                let definition = format!("{kind} {name}");
                let after = source.code.split(definition.as_str()).skip(1);
                after.filter_map(|rest| rest.chars().next()).any(|next| !next.is_alphanumeric() && next != '_')
            })
        };
        let is_of_one_program = !TYPES_OF_BOTH_PROGRAMS.contains(&name);
        let is_meant =
            |source: &Source| is_of_one_program || file.starts_with("client/") == (source.module == "client");
        let files: Vec<_> = sources().into_iter().filter(is_meant).filter(defines).map(|source| source.path).collect();
        assert_eq!(files, [Path::new(file)], "{word}: {name}");
        count += 1;
    }
    assert!(count > 40, "{count} words");
}
