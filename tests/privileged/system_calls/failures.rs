//! Every system call about files fails once, or for good, in every operation: no content is lost,
//! nothing is called done that is not, quota and disk agree, everybody else goes on, and what
//! failed can be done again.
//!
//! An operation is first watched, to learn its calls; then it runs again for each of them and each
//! error. One slice of all cases is tried by default, another one each day. All of them, those of
//! a certain day since 1970, or those whose name begins so:
//!
//! ```text
//! BERTH_INJECT=all cargo test --test privileged system_calls::failures
//! BERTH_INJECT=20423 cargo test --test privileged system_calls::failures
//! BERTH_INJECT=stor-new/fdatasync/1/EIO cargo test --test privileged system_calls::failures
//! ```

mod cases;
mod expectations;
mod ftp;
mod judgement;
mod operations;
mod scene;
mod stage;

use std::io::{self, Write};
use std::sync::Mutex;
use std::thread;
use std::time::SystemTime;

use crate::support::needs::{STRACE, TRACING, tests};
use cases::{Case, cases};
use operations::{AT_THE_CLIENT, AT_THE_SERVER, Operation};
use scene::Scene;
use stage::{Stage, Try, attempt, settled_descriptors};

tests! {
    [STRACE, TRACING]
        a_failing_system_call_never_loses_content_or_reports_success;
}

/// Days until every operation had its turn.
const SLICES: usize = 16;
/// Cases of an operation in a slice.
const CASES_PER_SLICE: usize = 25;
const AT_ONCE: usize = 2;

/// Which cases are tried.
enum Choice {
    All,
    Slice(usize),
    Named(String),
}

impl Choice {
    fn read() -> Self {
        let today = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() as usize / 86_400);
        match std::env::var("BERTH_INJECT") {
            Err(_) => Self::Slice(today),
            Ok(text) if text == "all" => Self::All,
            Ok(text) => text.parse().map_or(Self::Named(text), Self::Slice),
        }
    }

    fn has_operation(&self, at: usize, operation: &Operation) -> bool {
        match self {
            Self::All => true,
            Self::Slice(day) => at % SLICES == day % SLICES,
            Self::Named(name) => name.split('/').next() == Some(operation.name),
        }
    }

    fn select(&self, cases: Vec<Case>) -> Vec<Case> {
        match self {
            Self::All => cases,
            Self::Slice(day) => {
                let step = cases.len().div_ceil(CASES_PER_SLICE).max(1);
                cases.into_iter().skip(day / SLICES % step).step_by(step).collect()
            }
            Self::Named(name) => cases.into_iter().filter(|case| case.name.starts_with(name.as_str())).collect(),
        }
    }
}

/// How many cases were tried and how many calls did not come, and what is wrong.
#[derive(Default)]
struct Report {
    tried: usize,
    missed: Vec<String>,
    wrong: Vec<String>,
}

fn try_operation(scene: &Scene, operation: &Operation, is_at_client: bool, choice: &Choice, report: &Mutex<Report>) {
    let stage = Stage { scene, operation, is_at_client };
    let (mut server, _) = stage.begin();
    let right = stage.watch(&mut server, Some(&["-e", "trace=all"]));
    let is_good = right.outcome.is_done && right.server.is_ok() && right.leftovers.is_empty();
    assert!(is_good, "{}: {}, {:?}, {:?}", operation.name, right.outcome.words, right.server, right.leftovers);
    let descriptors = settled_descriptors(&server);
    drop(server);
    for case in choice.select(cases(&scene.place, operation, &right.calls)) {
        let mut tries = (0..3).map(|_| attempt(&stage, &case, &right, descriptors));
        let result = tries.find(|result| !matches!(result, Try::Missed));
        let mut report = report.lock().expect("no panic");
        report.tried += 1;
        match result {
            Some(Try::ParseError(told)) => {
                let _ = writeln!(io::stderr(), "{told}");
                report.wrong.push(format!(
                    "{told}\n    again: BERTH_INJECT='{}' cargo test --test privileged system_calls::failures",
                    case.name
                ));
            }
            Some(_) => {}
            None => report.missed.push(case.name),
        }
    }
}

fn a_failing_system_call_never_loses_content_or_reports_success() {
    let choice = Choice::read();
    let at_server = AT_THE_SERVER.iter().map(|operation| (operation, false));
    let all = at_server.chain(AT_THE_CLIENT.iter().map(|operation| (operation, true))).enumerate();
    let chosen = Mutex::new(all.filter(|(at, (operation, _))| choice.has_operation(*at, operation)));
    let report = Mutex::new(Report::default());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let scene = Scene::new();
                loop {
                    let next = chosen.lock().expect("no panic").next();
                    let Some((_, (operation, is_at_client))) = next else { break };
                    try_operation(&scene, operation, is_at_client, &choice, &report);
                }
            });
        }
    });
    let report = report.into_inner().expect("no panic");
    println!("{} cases; {} calls did not occur: {:?}", report.tried, report.missed.len(), report.missed);
    assert!(report.wrong.is_empty(), "{} of {} cases:\n{}", report.wrong.len(), report.tried, report.wrong.join("\n"));
    assert!(
        report.tried > 0 && report.missed.len() * 4 < report.tried.max(4),
        "too few calls came: {:?}",
        report.missed
    );
}
