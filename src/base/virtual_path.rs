//! Virtual paths such as `/photos/a.jpg`. A path is normalized when it is parsed, so that no spelling leads out
//! of the home. This module does not access the file system; symlinks and races are handled by its caller.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::base::text::Escaped;

/// The longest component of a path: NAME_MAX of common file systems.
pub const NAME_BYTES_MAX: usize = 255;
/// The longest virtual path: PATH_MAX without the final NUL.
pub const PATH_BYTES_MAX: usize = 4095;

/// An absolute, normalized path inside a home: `/` or `/a/b`. No empty, `.` or `..` component and no
/// NUL; components and the whole are no longer than the file system allows.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VirtualPath(Vec<u8>);

/// Why text is not a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The text is empty.
    #[error("the path is empty")]
    Empty,
    /// A NUL byte, which no file name can hold.
    #[error("the path holds a NUL byte")]
    Nul,
    /// A component over [`NAME_BYTES_MAX`].
    #[error("a name in the path is longer than {NAME_BYTES_MAX} bytes")]
    NameTooLong,
    /// The whole path is over [`PATH_BYTES_MAX`].
    #[error("the path is longer than {PATH_BYTES_MAX} bytes")]
    TooLong,
}

impl VirtualPath {
    /// Returns the home itself.
    pub fn root() -> Self {
        Self(b"/".to_vec())
    }

    /// Parses a path relative to the home, with or without its first slash.
    pub fn parse(text: &[u8]) -> Result<Self, PathError> {
        Self::root().join(text)
    }

    /// Resolves `text` from here as a shell's `cd` does: absolute text starts at the home, `..` goes up and
    /// stops at the home, repeated slashes count once.
    pub fn join(&self, text: &[u8]) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        let mut path = if text.starts_with(b"/") { Self::root() } else { self.clone() };
        for component in text.split(|&b| b == b'/') {
            match component {
                b"" | b"." => {}
                b".." => path.ascend(),
                name => path.descend(name)?,
            }
        }
        Ok(path)
    }

    /// Returns this path with one more component. `name` is a single name, not a path.
    pub fn child(&self, name: &[u8]) -> Result<Self, PathError> {
        let mut path = self.clone();
        path.descend(name)?;
        Ok(path)
    }

    fn descend(&mut self, name: &[u8]) -> Result<(), PathError> {
        if name.contains(&0) {
            return Err(PathError::Nul);
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(PathError::NameTooLong);
        }
        if !self.is_root() {
            self.0.push(b'/');
        }
        self.0.extend_from_slice(name);
        if self.0.len() > PATH_BYTES_MAX { Err(PathError::TooLong) } else { Ok(()) }
    }

    fn ascend(&mut self) {
        let slash = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        self.0.truncate(slash.max(1));
    }

    /// Returns whether this is the home itself.
    pub fn is_root(&self) -> bool {
        self.0 == b"/"
    }

    /// Returns the parent and the name; `None` for the home itself.
    pub fn split(&self) -> Option<(VirtualPath, &[u8])> {
        let name = self.name()?;
        let mut parent = self.clone();
        parent.ascend();
        Some((parent, name))
    }

    /// Returns the parent; `None` for the home itself.
    pub fn parent(&self) -> Option<VirtualPath> {
        self.split().map(|(parent, _)| parent)
    }

    /// Returns the last component; `None` for the home itself.
    pub fn name(&self) -> Option<&[u8]> {
        if self.is_root() {
            return None;
        }
        self.0.rsplit(|&b| b == b'/').next()
    }

    /// Returns the components from the home downwards.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|name| !name.is_empty())
    }

    /// Returns the number of components, 0 for the home itself.
    pub fn depth(&self) -> usize {
        if self.is_root() { 0 } else { self.0.iter().filter(|&&byte| byte == b'/').count() }
    }

    /// Returns the path of the first `depth` components, or the whole path if it has fewer.
    pub fn first(&self, depth: usize) -> Self {
        let slashes = self.0.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        match slashes.map(|(at, _)| at).nth(depth) {
            _ if depth == 0 => Self::root(),
            Some(end) => Self(self.0[..end].to_vec()),
            None => self.clone(),
        }
    }

    /// Returns whether `other` is this path or lies below it.
    pub fn contains(&self, other: &VirtualPath) -> bool {
        self.is_root() || other.0.strip_prefix(&self.0[..]).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// Returns the path as bytes, starting with a slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the path relative to the home, for system calls that take a directory and a path: `.` or
    /// `a/b`.
    pub fn relative(&self) -> &Path {
        let bytes: &[u8] = if self.is_root() { b"." } else { &self.0[1..] };
        Path::new(OsStr::from_bytes(bytes))
    }
}

impl fmt::Display for VirtualPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.0).fmt(f)
    }
}

impl fmt::Debug for VirtualPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VirtualPath({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> String {
        VirtualPath::parse(text.as_bytes()).map_or_else(|e| format!("{e:?}"), |p| p.to_string())
    }

    #[test]
    fn no_spelling_leads_above_the_home() {
        for (text, path) in [
            ("..", "/"),
            ("/../../etc/passwd", "/etc/passwd"),
            ("a/../../b", "/b"),
            ("//a///b/", "/a/b"),
            (".", "/"),
            ("./a/./b", "/a/b"),
            ("\\..\\x", "/\\\\..\\\\x"),
            ("...", "/..."),
            ("", "Empty"),
            ("a\0b", "Nul"),
        ] {
            assert_eq!(parse(text), path, "{text:?}");
        }
        assert_eq!(parse(&"n".repeat(256)), "NameTooLong");
        assert_eq!(parse(&"n/".repeat(2100)), "TooLong");
        assert_eq!(parse(&"n".repeat(255)), format!("/{}", "n".repeat(255)));
    }

    #[test]
    fn joining_follows_cd() {
        let at = VirtualPath::parse(b"/a/b").expect("valid");
        let join = |text: &[u8]| at.join(text).map(|p| p.to_string());
        assert_eq!(join(b"c"), Ok("/a/b/c".into()));
        assert_eq!(join(b".."), Ok("/a".into()));
        assert_eq!(join(b"../../.."), Ok("/".into()));
        assert_eq!(join(b"/x"), Ok("/x".into()));
    }

    #[test]
    fn containment_respects_component_borders() {
        let path = |text: &str| VirtualPath::parse(text.as_bytes()).expect("valid");
        assert!(path("/bob").contains(&path("/bob/x")));
        assert!(path("/bob").contains(&path("/bob")));
        assert!(!path("/bob").contains(&path("/bob2")));
        assert!(path("/").contains(&path("/bob2")));
    }

    #[test]
    fn splitting_gives_directory_and_name() {
        assert_eq!(VirtualPath::root().parent(), None);
        let path = VirtualPath::parse(b"/a/b").expect("valid");
        assert_eq!(path.split(), Some((VirtualPath::parse(b"/a").expect("valid"), &b"b"[..])));
        assert_eq!(VirtualPath::root().split(), None);
        assert_eq!(path.relative(), Path::new("a/b"));
        assert_eq!(VirtualPath::root().relative(), Path::new("."));
    }
}
