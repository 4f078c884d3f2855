//! POSIX access control lists in the format of the kernel's extended attribute
//! (include/uapi/linux/posix_acl_xattr.h).

/// The attribute with the list of a file.
pub const ACCESS: &str = "system.posix_acl_access";
/// The attribute with the default list, which a directory gives to each entry that is created in it.
pub const DEFAULT: &str = "system.posix_acl_default";

const VERSION: u32 = 2;
const ENTRY_BYTES: usize = 8;

const OWNER: u16 = 0x01;
const GROUP: u16 = 0x04;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

#[derive(Clone, Copy)]
struct AclEntry {
    tag: u16,
    permissions: u16,
    id: u32,
}

/// Whether a new file has the owner and the group of the file that it replaces.
#[derive(Clone, Copy)]
pub struct Preserved {
    /// The owner.
    pub owner: bool,
    /// The group.
    pub group: bool,
}

/// An access control list.
pub struct Acl(Vec<AclEntry>);

impl Acl {
    /// Reads the value of an attribute. Returns `None` if it is not a list of version 2.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (version, entries) = bytes.split_first_chunk::<4>()?;
        if u32::from_le_bytes(*version) != VERSION || entries.is_empty() || entries.len() % ENTRY_BYTES != 0 {
            return None;
        }
        let entry = |bytes: &[u8]| {
            let [t0, t1, p0, p1, i0, i1, i2, i3] = *bytes.first_chunk::<ENTRY_BYTES>()?;
            Some(AclEntry {
                tag: u16::from_le_bytes([t0, t1]),
                permissions: u16::from_le_bytes([p0, p1]),
                id: u32::from_le_bytes([i0, i1, i2, i3]),
            })
        };
        entries.chunks_exact(ENTRY_BYTES).map(entry).collect::<Option<_>>().map(Self)
    }

    /// Returns the value of the attribute.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for AclEntry { tag, permissions, id } in &self.0 {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(permissions.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    fn permissions(&self, tag: u16) -> Option<u16> {
        self.0.iter().find(|entry| entry.tag == tag).map(|entry| entry.permissions)
    }

    /// Changes the permissions of the entry with this tag. Returns whether there is one.
    fn change(&mut self, tag: u16, change: impl Fn(u16) -> u16) -> bool {
        let entry = self.0.iter_mut().find(|entry| entry.tag == tag);
        entry.map(|entry| entry.permissions = change(entry.permissions)).is_some()
    }

    /// Restricts the list of a file that could not keep its owner or group, so that no user gains a
    /// permission.
    pub fn restrict(&mut self, preserved: Preserved) {
        if !preserved.group {
            let mask = self.permissions(MASK).unwrap_or(7);
            let both = self.permissions(GROUP).unwrap_or(0) & mask & self.permissions(OTHER).unwrap_or(0);
            self.change(GROUP, |_| both);
            self.change(OTHER, |_| both);
        }
        if !preserved.owner {
            self.change(OWNER, |permissions| permissions | 6);
        }
    }

    /// Turns a default list into that of a file created with these permission bits, as the kernel does.
    pub fn mask(&mut self, mode: u32) {
        let bits = |shift: u32| (mode >> shift & 7) as u16;
        self.change(OWNER, |permissions| permissions & bits(6));
        self.change(OTHER, |permissions| permissions & bits(0));
        if !self.change(MASK, |permissions| permissions & bits(3)) {
            self.change(GROUP, |permissions| permissions & bits(3));
        }
    }

    /// Returns the permission bits that `stat` shows for a file with this list.
    pub fn mode(&self) -> u32 {
        let bits = |tag| u32::from(self.permissions(tag).unwrap_or(0) & 7);
        let group = if self.permissions(MASK).is_some() { MASK } else { GROUP };
        bits(OWNER) << 6 | bits(group) << 3 | bits(OTHER)
    }

    /// Returns permission bits for a file whose file system refuses the list. The group and others get only
    /// what the list allows to every user except the owner.
    pub fn mode_without(&self) -> u32 {
        let mask = self.permissions(MASK).unwrap_or(7);
        let masked = |entry: &AclEntry| if entry.tag == OTHER { entry.permissions } else { entry.permissions & mask };
        let others = self.0.iter().filter(|entry| entry.tag != OWNER && entry.tag != MASK);
        let least = u32::from(others.map(masked).fold(7, |least, permissions| least & permissions));
        u32::from(self.permissions(OWNER).unwrap_or(6) & 7) << 6 | least << 3 | least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: u16 = 0x02;

    fn acl(entries: &[(u16, u16)]) -> Acl {
        Acl(entries.iter().map(|&(tag, permissions)| AclEntry { tag, permissions, id: u32::MAX }).collect())
    }

    #[test]
    fn a_list_is_read_and_written_as_the_kernel_does() {
        let bytes = [2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0];
        let acl = Acl::parse(&bytes).expect("a list");
        assert_eq!((acl.0[1].tag, acl.0[1].permissions, acl.0[1].id), (USER, 4, 1000));
        assert_eq!(acl.to_bytes(), bytes);
        for damaged in [&bytes[..0], &bytes[..3], &bytes[..4], &bytes[..19], &[3, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0]] {
            assert!(Acl::parse(damaged).is_none(), "{damaged:?}");
        }
    }

    #[test]
    fn without_its_group_or_its_list_a_file_is_open_to_nobody_more() {
        let mut list = acl(&[(OWNER, 6), (USER, 6), (GROUP, 4), (MASK, 6), (OTHER, 0)]);
        assert_eq!(list.mode_without(), 0o600);
        list.restrict(Preserved { owner: true, group: false });
        assert_eq!((list.permissions(GROUP), list.permissions(OTHER)), (Some(0), Some(0)));
        assert_eq!(list.permissions(USER), Some(6));
        // A user without access must not get it as one of the others.
        assert_eq!(acl(&[(OWNER, 6), (USER, 0), (GROUP, 4), (MASK, 4), (OTHER, 4)]).mode_without(), 0o600);
    }

    #[test]
    fn a_default_list_is_masked_by_the_bits_of_the_new_file() {
        let mut list = acl(&[(OWNER, 7), (USER, 7), (GROUP, 7), (MASK, 7), (OTHER, 5)]);
        list.mask(0o666);
        let permissions = [OWNER, USER, GROUP, MASK, OTHER].map(|tag| list.permissions(tag));
        assert_eq!(permissions, [Some(6), Some(7), Some(7), Some(6), Some(4)]);
        assert_eq!(list.mode(), 0o664);
        assert_eq!(acl(&[(OWNER, 7), (GROUP, 5), (OTHER, 0)]).mode(), 0o750);
    }
}
