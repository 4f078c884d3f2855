//! Paths, text for people, and the values that people write.

use std::fmt::{Debug, Display};
use std::path::Component;
use std::str::FromStr;

use super::{assert_is_one_plain_line, halves};
use berth::account::{ACCOUNT_NAME_BYTES_MAX, AccountName};
use berth::base::calendar::{timestamp, unix_ns_of_utc, utc};
use berth::base::digest::Digest;
use berth::base::text::{Escaped, Quoted, Size};
use berth::base::upload_id::UploadId;
use berth::base::virtual_path::{NAME_BYTES_MAX, PATH_BYTES_MAX, VirtualPath};
use berth::client::cli::args::LoginTarget;
use berth::client::ui::listing::mode_text;
use berth::client::ui::local_time;
use berth::tls::Fingerprint;
use berth::wire::message::EntryKind;

/// No spelling leads out of the home, from wherever it starts.
pub(super) fn vpath(input: &[u8]) {
    let (directory, text) = halves(input);
    let directory = VirtualPath::parse(directory).unwrap_or_else(|_| VirtualPath::root());
    assert_stays_inside(&directory);
    let Ok(path) = directory.join(text) else { return };
    assert_stays_inside(&path);
    let spelled = if text.starts_with(b"/") { text.to_vec() } else { [directory.as_bytes(), b"/", text].concat() };
    assert_eq!(VirtualPath::parse(&spelled), Ok(path), "joining is parsing the two together");
}

fn assert_stays_inside(path: &VirtualPath) {
    let bytes = path.as_bytes();
    assert!(bytes.starts_with(b"/") && bytes.len() <= PATH_BYTES_MAX);
    for name in path.components() {
        assert!(!name.is_empty() && name.len() <= NAME_BYTES_MAX && name != b"." && name != b"..");
        assert!(!name.contains(&0) && !name.contains(&b'/'));
    }
    let is_below = |component| matches!(component, Component::Normal(_) | Component::CurDir);
    assert!(path.relative().components().all(is_below), "{path} leads out");
    assert_eq!(VirtualPath::parse(bytes).as_ref(), Ok(path));
    assert_is_one_plain_line(&path.to_string());
    assert_eq!(path.is_root(), path.split().is_none());
    if let Some((parent, name)) = path.split() {
        assert_eq!(parent.child(name).as_ref(), Ok(path));
        assert!(parent.contains(path) && !path.contains(&parent));
    }
}

/// What is shown of foreign bytes is one plain line, from which they could be read again.
pub(super) fn escaped(input: &[u8]) {
    let shown = Escaped(input).to_string();
    assert_is_one_plain_line(&shown);
    assert_eq!(unescape(&shown, false), input);
    let quoted = Quoted(input).to_string();
    assert_is_one_plain_line(&quoted);
    match quoted.strip_prefix('"') {
        Some(rest) => assert_eq!(unescape(rest.strip_suffix('"').expect("it is closed"), true), input),
        None => {
            assert!(!quoted.is_empty() && !quoted.contains([' ', '"', '=']));
            assert_eq!(unescape(&quoted, false), input);
        }
    }
}

/// The bytes that are shown as `text`; within quotes a bare quotation mark would be their end.
fn unescape(text: &str, is_quoted: bool) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, tail @ ..] = rest {
        rest = tail;
        let byte = match (first, tail) {
            (b'\\', [b'x', high, low, ..]) => {
                let digits = [*high, *low];
                rest = &tail[3..];
                u8::from_str_radix(std::str::from_utf8(&digits).expect("digits"), 16).expect("two digits")
            }
            (b'\\', [letter, ..]) => {
                rest = &tail[1..];
                match letter {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'\\' | b'"' => *letter,
                    other => panic!("\\{} means nothing", char::from(*other)),
                }
            }
            (b'"', _) if is_quoted => panic!("a quotation mark ends {text} early"),
            (first, _) => *first,
        };
        bytes.push(byte);
    }
    bytes
}

/// Sizes, names, digests, fingerprints, addresses, times: what is read is written the same.
pub(super) fn values(input: &[u8]) {
    if let Some(bytes) = input.first_chunk() {
        check_number(u64::from_le_bytes(*bytes));
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    check_text::<UploadId>(text);
    check_text::<Digest>(text);
    check_text::<Fingerprint>(text);
    check_text::<AccountName>(text);
    if let Ok(name) = text.parse::<AccountName>() {
        let path = std::path::Path::new(name.as_str());
        assert!(path.components().count() == 1 && !text.starts_with('.') && text.len() <= ACCOUNT_NAME_BYTES_MAX);
    }
    match text.parse::<Size>() {
        Ok(size) => check_size(size),
        Err(error) => assert_is_one_plain_line(&error.to_string()),
    }
    if let Ok(LoginTarget { user, host, port }) = LoginTarget::parse(text) {
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        let again = LoginTarget::parse(&format!("{user}[{host}]:{port}"));
        assert!(host.contains(']') || again.is_ok_and(|again| again.host == host && again.port == port), "{text}");
    }
}

fn check_text<T: FromStr<Err: Debug> + Display + PartialEq + Debug>(text: &str) {
    let Ok(value) = text.parse::<T>() else { return };
    let written = value.to_string();
    assert_eq!(written.to_lowercase(), text.to_lowercase());
    assert_eq!(written.parse::<T>().expect("it was written here"), value);
}

fn check_number(number: u64) {
    check_size(Size(number));
    let ns = number.cast_signed();
    let time = utc(ns);
    let seconds = days_since_1970(time.year().into(), time.month(), time.day()) * 86_400
        + i64::from(time.hour()) * 3600
        + i64::from(time.minute()) * 60
        + i64::from(time.second());
    assert_eq!(i128::from(seconds) * 1_000_000_000 + i128::from(time.subsec_nanosecond()), i128::from(ns));
    assert_eq!(unix_ns_of_utc(time), Some(ns));
    assert_eq!(format!("{:.3}", timestamp(ns)).len(), 24);
    assert!((12..=13).contains(&local_time::short(ns, ns.rotate_left(17)).len()));
    assert_eq!(mode_text(EntryKind::File, number as u32).len(), 10);
}

/// Year by year and month by month: slow, and so plain that it is right.
fn days_since_1970(year: i64, month: i8, day: i8) -> i64 {
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of = |year: i64| if is_leap(year) { 366 } else { 365 };
    let years: i64 = match year {
        year if year >= 1970 => (1970..year).map(days_of).sum(),
        year => -(year..1970).map(days_of).sum::<i64>(),
    };
    let february = if is_leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before: i64 = months.iter().zip(1..month).map(|(days, _)| days).sum();
    years + before + i64::from(day) - 1
}

/// What is shown is short, and read again within the rounding.
fn check_size(size: Size) {
    let text = size.to_string();
    assert!(text.len() <= 5, "{text} is long");
    match text.parse::<Size>() {
        Ok(read) => assert!(read.0.abs_diff(size.0) <= size.0 / 18, "{} is shown as {text}", size.0),
        // Rounded up it is more than there is.
        Err(_) => assert_eq!(text, "16E"),
    }
}
