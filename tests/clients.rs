//! Programs of other people, as they are installed, against the real server: aria2, curl, lftp, rclone,
//! ncftp and Python's ftplib, and the completions of bash.

mod support;

mod clients {
    pub(crate) mod aria2;
    pub(crate) mod bash;
    pub(crate) mod curl;
    pub(crate) mod lftp;
    pub(crate) mod names;
    pub(crate) mod python;
    pub(crate) mod rclone;
    mod scene;

    pub(crate) use scene::{Scene, check_tree, grow};
}

use clients::{aria2, bash, curl, lftp, names, python, rclone};

fn main() -> std::process::ExitCode {
    support::needs::run(&[
        aria2::TESTS,
        bash::TESTS,
        curl::TESTS,
        lftp::TESTS,
        names::TESTS,
        python::TESTS,
        rclone::TESTS,
    ])
}
