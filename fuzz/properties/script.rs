//! Conversations as text, so that seeds can be read and a mutated byte changes little: one line
//! for each thing that one side does. What stands where is described at [`Line::read`].

use super::number;

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// `C ID JSON`: a request, or a reply under an id of one's own choice.
    Control(u32, &'a [u8]),
    /// `S JSON`: a reply to what was asked first and has no answer yet.
    Answer(&'a [u8]),
    /// `D ID COUNT`: a data frame of so many bytes.
    Data(u32, usize),
    /// `E ID [JSON]`: an end frame; without JSON one that fits the data.
    End(u32, &'a [u8]),
    /// `A ID [JSON]`: an abort frame.
    Abort(u32, &'a [u8]),
    /// `P TEXT`.
    Ping(&'a [u8]),
    /// `H TYPE ID LENGTH`: a header alone.
    Header(u8, u32, u32),
    /// `R BYTES`, as they are.
    Raw(&'a [u8]),
    /// Anything else is for the caller: a letter and a number.
    Act(u8, u32),
}

impl<'a> Line<'a> {
    /// All lines of `script`.
    pub(super) fn all(script: &'a [u8]) -> impl Iterator<Item = Self> {
        script.split(|&byte| byte == b'\n').filter_map(Self::read)
    }

    fn read(line: &'a [u8]) -> Option<Self> {
        let (&letter, rest) = line.split_first()?;
        let text = rest.strip_prefix(b" ").unwrap_or(rest);
        let (first, behind) = number(text);
        Some(match letter {
            b'C' => Self::Control(first, behind),
            b'S' => Self::Answer(text),
            b'D' => Self::Data(first, (number(behind).0 as usize).min(DATA_BYTES_MAX)),
            b'E' => Self::End(first, behind),
            b'A' => Self::Abort(first, behind),
            b'P' => Self::Ping(&text[..text.len().min(64)]),
            b'H' => {
                let (id, length) = number(behind);
                Self::Header(first as u8, id, number(length).0)
            }
            b'R' => Self::Raw(text),
            letter => Self::Act(letter, first),
        })
    }
}

/// The bytes of all data: content from `start` on. No two parts of it are equal.
pub(super) fn content(start: usize, count: usize) -> Vec<u8> {
    (start..start + count).map(|at| (at.wrapping_mul(0x9e37_79b1) >> 13) as u8).collect()
}

/// More than any upload is asked to be in one piece, and little enough to be fast.
const DATA_BYTES_MAX: usize = 300_000;
