//! Lines that are commands, lines that are none, and the table.

use super::super::argument::LiteralOrParsed;
use super::super::parse_error::ParseError;
use super::super::table::{COMMANDS, parse};
use super::*;
use crate::auth::scram::PASSWORD_BYTES_MAX;

fn path(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn read(line: &str) -> Result<Command, ParseError> {
    parse_bytes(line.as_bytes())
}

fn parse_bytes(line: &[u8]) -> Result<Command, ParseError> {
    parse(line).map(|(_, command)| command)
}

fn code(line: &str) -> u16 {
    read(line).expect_err(line).reply().0
}

#[test]
fn paths_are_taken_as_they_are() {
    for (line, command) in [
        ("RETR a  b ", Command::Retr(path("a  b "))),
        ("retr  a", Command::Retr(path(" a"))),
        ("StOr gr\u{fc}\u{df}e", Command::Stor(path("gr\u{fc}\u{df}e"))),
        ("XCWD ..", Command::Cwd(path(".."))),
        ("XMKD a", Command::Mkd(path("a"))),
        ("XRMD a", Command::Rmd(path("a"))),
        ("XCUP", Command::Cdup),
        ("XPWD", Command::Pwd),
        ("MLST", Command::Mlst(None)),
        ("MLSD a", Command::Mlsd(Some(path("a")))),
        ("STAT", Command::Stat(None)),
        ("STAT -la a b ", Command::Stat(Some(path("-la a b ")))),
        ("LIST -la", Command::List(path("-la"))),
        ("NLST *.txt", Command::Nlst(path("*.txt"))),
        ("CWD ", Command::Cwd(path(""))),
        ("HASH \"a\"", Command::Hash(path("\"a\""))),
    ] {
        assert_eq!(read(line), Ok(command), "{line}");
    }
    let quoted = LiteralOrParsed { literal: path("\"a b\""), parsed: Ok(path("a b")) };
    assert_eq!(read("XSHA256 \"a b\""), Ok(Command::Xsha256(quoted)));
    let range = Err(ParseError::BadParameter("the digest is that of the whole file; name no range"));
    let with_range = LiteralOrParsed { literal: path("\"a\" 0 5"), parsed: range };
    assert_eq!(read("XSHA256 \"a\" 0 5"), Ok(Command::Xsha256(with_range)));
    assert_eq!(parse_bytes(b"DELE \xff\xfe"), Ok(Command::Dele(b"\xff\xfe".to_vec())));
}

#[test]
fn arguments_are_read_in_every_form_they_have() {
    let address = |text: &str| text.parse().expect("an address");
    for (line, command) in [
        ("USER ann", Command::User("ann".into())),
        ("PASS  a b", Command::Pass(Password(Zeroizing::new(" a b".into())))),
        ("PASS", Command::Pass(Password(Zeroizing::new(String::new())))),
        ("AUTH tls", Command::Auth),
        ("AUTH SSL", Command::Auth),
        ("PBSZ 0", Command::Pbsz),
        ("PROT p", Command::Prot(Protection::Private)),
        ("PROT C", Command::Prot(Protection::Clear)),
        ("TYPE A N", Command::Type(Type::Ascii)),
        ("TYPE i", Command::Type(Type::Image)),
        ("TYPE L 8", Command::Type(Type::Local8)),
        ("STRU F", Command::Stru),
        ("MODE S", Command::Mode),
        ("PORT 127,0,0,1,4,0", Command::Port("127.0.0.1:1024".parse().expect("an address"))),
        ("EPRT |2|::1|1024|", Command::Eprt(address("[::1]:1024"))),
        ("EPSV", Command::Epsv(Epsv::Any)),
        ("EPSV 1", Command::Epsv(Epsv::V4)),
        ("EPSV 2", Command::Epsv(Epsv::V6)),
        ("EPSV all", Command::Epsv(Epsv::All)),
        ("REST 0", Command::Rest(0)),
        ("REST 9223372036854775807", Command::Rest(i64::MAX as u64)),
        ("ALLO 5 R 10", Command::Allo(5)),
        ("OPTS utf8 on", Command::Opts(Opts::Utf8)),
        ("OPTS MLST", Command::Opts(Opts::Mlst(Facts::NONE))),
        ("OPTS MLST type;size;", Command::Opts(Opts::Mlst(Facts::parse("type;size;")))),
        ("OPTS HASH SHA-256", Command::Opts(Opts::Hash)),
        ("HELP retr", Command::Help(Some("RETR".into()))),
        ("HELP site chmod", Command::Help(Some("SITE CHMOD".into()))),
        ("MFMT 19700101000001 a b", Command::Mfmt { mtime_ns: 1_000_000_000, path: path("a b") }),
        ("NOOP x", Command::Noop),
        ("PWD x", Command::Pwd),
        ("QUIT x", Command::Quit),
    ] {
        assert_eq!(read(line), Ok(command), "{line}");
    }
    for (line, sets) in [
        ("19700101000001 a b", Some((1_000_000_000, path("a b")))),
        ("19700101000001", None),
        ("19701301000001 a", None),
    ] {
        let Ok(Command::Mdtm(LiteralOrParsed { literal, parsed })) = read(&format!("MDTM {line}")) else {
            panic!("{line}")
        };
        assert_eq!((literal, parsed.ok()), (path(line), sets));
    }
}

#[test]
fn what_is_wrong_has_the_code_of_the_rfcs() {
    for (expected, line) in [
        (500, "GET / HTTP/1.1"),
        (500, "RETRX a"),
        (500, " RETR a"),
        (500, "RETR\ta"),
        (501, "RETR"),
        (501, "USER"),
        (501, "USER "),
        (501, "REST -1"),
        (501, "REST 9223372036854775808"),
        (501, "REST 18446744073709551616"),
        (501, "ALLO"),
        (501, "ALLO -5"),
        (501, "ALLO 5 6"),
        (501, "ALLO 5 R"),
        (501, "ALLO 5 R x"),
        (501, "ALLO 5 R 6 7"),
        (501, "CWD"),
        (501, "RETR a\0b"),
        (501, "PASS a\0b"),
        (501, "LIST \0"),
        (501, "PORT 127,0,0,1,4"),
        (501, "EPRT |1|127.0.0.1|"),
        (501, "MFMT a"),
        (501, "OPTS COLOUR"),
        (501, "PBSZ x"),
        (501, "TYPE"),
        (501, "AUTH"),
        (501, "SITE"),
        (502, "REIN"),
        (502, "smnt /"),
        (502, "HOST example.org"),
        (504, "AUTH KERBEROS_V4"),
        (504, "PROT X"),
        (504, "TYPE E"),
        (504, "TYPE A C"),
        (504, "TYPE L 36"),
        (504, "STRU R"),
        (504, "MODE Z"),
        (504, "OPTS UTF8 OFF"),
        (504, "OPTS HASH MD5"),
        (504, "SITE EXEC rm"),
        (522, "EPRT |3|x|1|"),
        (522, "EPSV 3"),
        (536, "PROT S"),
        (536, "PROT E"),
    ] {
        assert_eq!(code(line), expected, "{line}");
    }
}

#[test]
fn replies_to_wrong_lines_are_plain_and_short() {
    let mut lines = vec![b"\x1b[2J\r\xff".to_vec(), vec![b'a'; 4096], vec![0xff; 4096], "\u{202e}\u{fc}".into()];
    lines.extend(["RETR", "REIN", "PROT S", "EPSV 3", "TYPE E"].map(|line| line.as_bytes().to_vec()));
    for line in lines {
        let (_, text) = parse_bytes(&line).expect_err("wrong").reply();
        assert!(text.len() < 240 && !text.contains(char::is_control), "{text}");
    }
    assert_eq!(parse_bytes(&[0xff; 64]), Err(ParseError::Unknown(format!("{}\\\u{2026}", "\\xff".repeat(7)))));
}

#[test]
fn a_password_is_utf_8_within_its_bound_and_never_shown() {
    assert_eq!(parse_bytes(b"PASS \xff").expect_err("no UTF-8").reply().0, 501);
    let longest = format!("PASS {}", "p".repeat(PASSWORD_BYTES_MAX));
    assert!(read(&longest).is_ok());
    assert_eq!(code(&format!("{longest}p")), 501);
    assert_eq!(format!("{:?}", read("PASS secret")), "Ok(Pass(Password))");
}

#[test]
fn every_row_of_the_table_reads_into_the_command_it_names() {
    let examples = [
        ("USER", "ann"),
        ("AUTH", "TLS"),
        ("PBSZ", "0"),
        ("PROT", "P"),
        ("OPTS", "UTF8 ON"),
        ("TYPE", "I"),
        ("STRU", "F"),
        ("MODE", "S"),
        ("PORT", "127,0,0,1,4,0"),
        ("EPRT", "|1|127.0.0.1|1024|"),
        ("EPSV", ""),
        ("ALLO", "1"),
        ("REST", "1"),
        ("MFMT", "19700101000000 a"),
        ("SITE CHMOD", "644 a"),
        ("SITE UTIME", "19700101000000 a"),
    ];
    for row in COMMANDS.iter().filter(|row| row.names != ["SITE"]) {
        let argument = examples.iter().find(|(name, _)| *name == row.names[0]).map_or("a", |(_, argument)| argument);
        for name in row.names {
            let (found, command) = parse(format!("{name} {argument}").as_bytes()).expect(name);
            assert!(std::ptr::eq(found, row), "{name}");
            // The variant has the name of the row.
            let shown = format!("{command:?}");
            let variant: String = shown.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
            assert_eq!(variant.to_ascii_uppercase(), row.names[0].replace(' ', ""), "{name}");
        }
    }
    let mut names: Vec<&str> = COMMANDS.iter().flat_map(|row| row.names).copied().collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a name stands there twice");
}

#[test]
fn a_site_command_is_found_by_both_of_its_words() {
    assert_eq!(read("site quota"), Ok(Command::SiteQuota));
    assert_eq!(read("SITE HELP"), Ok(Command::SiteHelp(None)));
    assert_eq!(read("SITE HELP chmod"), Ok(Command::SiteHelp(Some("CHMOD".into()))));
    assert_eq!(read("SITE"), Err(ParseError::Syntax("SITE <command>")));
    assert_eq!(read("SITE "), Err(ParseError::Syntax("SITE <command>")));
    assert_eq!(read("SITE CHMOD"), Err(ParseError::Syntax("SITE CHMOD <mode> <path>")));
    for line in ["SITE EXEC rm", "SITE  QUOTA", "SITE QUOTAS"] {
        assert!(matches!(read(line), Err(ParseError::BadParameter(_))), "{line}");
    }
}
