//! Makes, removes and renames entries of a home, and sets their times and modes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, RenameFlags, Stat};
use rustix::io::Errno;

use super::{Home, HomeDirectory, directory_id};
use crate::base::attributes::{
    DIRECTORY_BITS_MIN, FILE_BITS_MIN, NEW_DIRECTORY, PERMISSIONS, UMASK, default_list, has_access_list,
    mode_for_change, mode_of_new, path_of, set_mtime,
};
use crate::base::refusals::{OptionalOperation, is_refusal};
use crate::base::upload_id::UploadId;
use crate::base::virtual_path::VirtualPath;
use crate::store::StoreError;
use crate::store::meta::{Kind, Meta, meta_of};

/// An entry that has lost a name.
pub(super) struct Removed {
    meta: Meta,
    /// An open descriptor of it. Its close frees the space.
    held: Option<OwnedFd>,
}

/// The result of a rename.
struct Renamed {
    /// What was renamed.
    kind: Kind,
    /// The file that was replaced.
    removed: Option<Removed>,
}

impl Home {
    /// Makes a directory with the permission bits `bits`, as far as the umask or the access control list of
    /// its parent allows.
    pub async fn make_directory(&self, path: VirtualPath, bits: Option<u32>) -> Result<(), StoreError> {
        let _changing = self.file_system.begin_change();
        if path.is_root() {
            return Err(StoreError::Exists);
        }
        // A missing parent is reported before an exceeded quota.
        let checked = path.clone();
        self.run(move |directory| directory.parent(&checked).map(drop)).await?;
        let reservation = self.ledger.reserve(0, 1)?;
        self.run(move |directory| directory.make_directory(&path, bits)).await?;
        reservation.take(0, 1);
        Ok(())
    }

    /// Removes an entry that is not a directory.
    pub async fn remove_file(&self, path: VirtualPath) -> Result<(), StoreError> {
        let (_changing, defers) = (self.file_system.begin_change(), self.file_system.has_room());
        let Removed { meta, held } = self.run(move |directory| directory.remove_file(&path, defers)).await?;
        self.credit(&meta, held);
        Ok(())
    }

    /// Removes an empty directory.
    pub async fn remove_directory(&self, path: VirtualPath) -> Result<(), StoreError> {
        let (_changing, defers) = (self.file_system.begin_change(), self.file_system.has_room());
        if let Some((device, held)) = self.run(move |directory| directory.remove_directory(&path, defers)).await? {
            self.close_deferred(device, Some(held));
        }
        self.ledger.credit(0, 1);
        Ok(())
    }

    /// Renames an entry. A file at `to` is replaced only if `replace` is set; a directory never is.
    pub async fn rename(&self, from: VirtualPath, to: VirtualPath, replace: bool) -> Result<(), StoreError> {
        let (_changing, defers) = (self.file_system.begin_change(), self.file_system.has_room());
        let upload = UploadId::of_path(&to);
        let renamed = self.run(move |directory| directory.rename(&from, &to, replace, defers)).await?;
        if let Some(Removed { meta, held }) = renamed.removed {
            self.credit(&meta, held);
        }
        if renamed.kind != Kind::Directory && !self.is_uploading(&upload) {
            let dropped = self.drop_partial(upload).await;
            log_if_not_dropped(dropped);
        }
        Ok(())
    }

    /// Sets the modification time of a file or directory; see [`HomeDirectory::set_mtime`].
    pub async fn set_mtime(&self, path: VirtualPath, mtime_ns: i64) -> Result<(), StoreError> {
        let _changing = self.file_system.begin_change();
        self.run(move |directory| directory.set_mtime(&path, mtime_ns)).await
    }

    /// Sets the permission bits of a file or directory; see [`HomeDirectory::set_mode`].
    pub async fn set_mode(&self, path: VirtualPath, mode: u32) -> Result<(), StoreError> {
        let _changing = self.file_system.begin_change();
        self.run(move |directory| directory.set_mode(&path, mode)).await
    }

    /// Gives a file or directory the permission bits of its source; see
    /// [`HomeDirectory::apply_mode_of_source`].
    pub async fn apply_mode_of_source(&self, path: VirtualPath, bits: u32) -> Result<u32, StoreError> {
        let _changing = self.file_system.begin_change();
        self.run(move |directory| directory.apply_mode_of_source(&path, bits)).await
    }

    /// Drops the partial upload `id`, and ends the session that is writing it. Returns false if there was
    /// none.
    pub async fn drop_partial(&self, id: UploadId) -> Result<bool, StoreError> {
        let (_changing, defers) = (self.file_system.begin_change(), self.file_system.has_room());
        let was_running = self.forget_partial(&id);
        let removed = self.run(move |directory| directory.remove_partial(&id, defers)).await?;
        Ok(self.credit_partial(removed) || was_running)
    }
}

impl HomeDirectory {
    fn make_directory(&self, path: &VirtualPath, bits: Option<u32>) -> Result<(), StoreError> {
        let (parent, name) = self.parent(path)?;
        make_directory_in(&parent, name, bits)
    }

    /// Removes a file. If `defers` is set, its descriptor may be returned, so that a worker frees its space.
    fn remove_file(&self, path: &VirtualPath, defers: bool) -> Result<Removed, StoreError> {
        let (parent, name) = self.parent(path)?;
        let meta: Meta = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?.into();
        if meta.kind == Kind::Directory {
            return Err(StoreError::NotAFile);
        }
        let held = self.open_for_deferred_close(&parent, name, &meta, defers);
        rustix::fs::unlinkat(&parent, name, AtFlags::empty())?;
        Ok(Removed { meta, held })
    }

    fn remove_directory(&self, path: &VirtualPath, defers: bool) -> Result<Option<(u64, OwnedFd)>, StoreError> {
        let (parent, name) = self.parent(path)?;
        let held = if defers { self.open_directory_for_deferred_close(&parent, name) } else { None };
        rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?;
        Ok(held)
    }

    fn rename(&self, from: &VirtualPath, to: &VirtualPath, replace: bool, defers: bool) -> Result<Renamed, StoreError> {
        if from != to && from.contains(to) {
            return Err(StoreError::IntoItself);
        }
        let (from_parent, from_name) = self.parent(from)?;
        let (to_parent, to_name) = self.parent(to)?;
        let moved: Meta = rustix::fs::statat(&from_parent, from_name, AtFlags::SYMLINK_NOFOLLOW)?.into();
        let replaced = replace_check(&to_parent, to_name, replace && moved.kind != Kind::Directory)?.map(Meta::from);
        let is_same = replaced.is_some_and(|replaced| replaced.identity.inode() == moved.identity.inode());
        let held = replaced.and_then(|replaced| self.open_for_deferred_close(&to_parent, to_name, &replaced, defers));
        self.rename_entry(from_parent.as_fd(), from_name, to_parent.as_fd(), to_name, replaced.is_some()).map_err(
            |errno| match errno {
                Errno::INVAL => StoreError::IntoItself,
                Errno::XDEV => StoreError::OtherFileSystem,
                errno => errno.into(),
            },
        )?;
        let removed = match replaced {
            // The kernel treats a rename between two hard links of one file as done.
            Some(_) if is_same && moved.links > 1 && !may_be_one(from_name, to_name, (&from_parent, &to_parent))? => {
                rustix::fs::unlinkat(&from_parent, from_name, AtFlags::empty())?;
                Some(Removed { meta: moved, held })
            }
            Some(replaced) if !is_same => Some(Removed { meta: replaced, held }),
            _ => None,
        };
        Ok(Renamed { kind: moved.kind, removed })
    }

    /// Renames. Without `replace`, fails if the new name exists.
    pub(in crate::store) fn rename_entry(
        &self,
        from: BorrowedFd<'_>,
        from_name: &[u8],
        to: BorrowedFd<'_>,
        to_name: &[u8],
        replace: bool,
    ) -> Result<(), Errno> {
        if replace {
            return rustix::fs::renameat(from, from_name, to, to_name);
        }
        match rustix::fs::renameat_with(from, from_name, to, to_name, RenameFlags::NOREPLACE) {
            Err(refused) if is_refusal(refused) => {
                rename_without_noreplace(from, from_name, to, to_name)?;
                let device = rustix::fs::fstat(to)?.st_dev;
                self.support.warn(OptionalOperation::RenameWithoutReplacing, device, &self.path, refused);
                Ok(())
            }
            result => result,
        }
    }

    /// Sets the modification time of a file or directory. Symlinks inside the home are followed.
    fn set_mtime(&self, path: &VirtualPath, mtime_ns: i64) -> Result<(), StoreError> {
        Ok(set_mtime(self.open_for_attributes(path)?.0, mtime_ns)?)
    }

    /// Sets the permission bits of a file or directory, exactly as requested (`chmod`). Symlinks inside the
    /// home are followed. The bits that the server needs to read the file and to count the directory stay
    /// set. [`HomeDirectory::apply_mode_of_source`] also applies the umask.
    fn set_mode(&self, path: &VirtualPath, mode: u32) -> Result<(), StoreError> {
        let (entry, kind) = self.open_for_attributes(path)?;
        let (needed, kept) = match kind {
            // The owner of a shared directory chose its setgid and sticky bits.
            Kind::Directory => (DIRECTORY_BITS_MIN, meta_of(&entry)?.mode & 0o7000),
            _ => (FILE_BITS_MIN, 0),
        };
        Ok(rustix::fs::fchmod(entry, Mode::from_raw_mode(mode & PERMISSIONS | needed | kept))?)
    }

    /// Gives a file or directory the permission bits of its source, as far as the umask or the access control
    /// list of its directory would allow them for a new one. Returns the resulting bits. Symlinks inside the
    /// home are followed. Fails with `Denied` if the file system does not support modes.
    fn apply_mode_of_source(&self, path: &VirtualPath, bits: u32) -> Result<u32, StoreError> {
        let (entry, kind) = self.open_for_attributes(path)?;
        let needed = if kind == Kind::Directory { DIRECTORY_BITS_MIN } else { FILE_BITS_MIN };
        let mode = self.mode_for_change(self.parent(path)?.0.as_fd(), &entry, bits | needed)?;
        let special = meta_of(&entry)?.mode & 0o7000;
        let kept = if kind == Kind::Directory { special } else { 0 };
        let changed = rustix::fs::fchmod(&entry, Mode::from_raw_mode(mode | kept));
        changed.map_err(|errno| if is_refusal(errno) { StoreError::Denied } else { errno.into() })?;
        Ok(meta_of(&entry)?.mode & PERMISSIONS)
    }

    /// Calls [`mode_for_change`] for `entry`, which is in `directory` or will be renamed into it.
    pub(in crate::store) fn mode_for_change(
        &self,
        directory: BorrowedFd<'_>,
        entry: impl AsFd,
        bits: u32,
    ) -> Result<u32, StoreError> {
        let of_new = mode_of_new(bits, UMASK, default_list(&path_of(directory, b"."))?);
        let has_list = has_access_list(&entry);
        Ok(mode_for_change(bits, meta_of(&entry)?.mode, of_new, has_list))
    }

    /// Opens a file or directory, so that it cannot be replaced before it is changed.
    fn open_for_attributes(&self, path: &VirtualPath) -> Result<(OwnedFd, Kind), StoreError> {
        if path.is_root() {
            return Err(StoreError::BadName);
        }
        match self.open_for_listing(path) {
            Err(StoreError::NotADirectory) => Ok((self.open_regular(path)?.0.into(), Kind::File)),
            directory => Ok((directory?, Kind::Directory)),
        }
    }
}

/// Makes the directory `name` in `parent`, with these permission bits.
pub(in crate::store) fn make_directory_in(parent: impl AsFd, name: &[u8], bits: Option<u32>) -> Result<(), StoreError> {
    let bits = bits.map_or(NEW_DIRECTORY, |bits| bits & PERMISSIONS | DIRECTORY_BITS_MIN);
    Ok(rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(bits))?)
}

/// Logs that a partial upload could not be dropped. The file that supersedes it is stored all the same.
pub(in crate::store) fn log_if_not_dropped(dropped: Result<bool, StoreError>) {
    if let Err(error) = dropped {
        log::error!("a partial upload that a newer file supersedes cannot be dropped: {error}");
    }
}

/// Returns whether two names in these directories may name one entry, on a file system that treats some names
/// as equal.
fn may_be_one(one: &[u8], other: &[u8], directories: (impl AsFd, impl AsFd)) -> Result<bool, StoreError> {
    let is_alike = one.eq_ignore_ascii_case(other) || !one.is_ascii() || !other.is_ascii();
    Ok(is_alike && directory_id(directories.0)? == directory_id(directories.1)?)
}

/// Returns the entry that a rename to `name` would replace, or refuses.
pub(in crate::store) fn replace_check(
    parent: impl AsFd,
    name: &[u8],
    replace: bool,
) -> Result<Option<Stat>, StoreError> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if replace && Meta::from(stat).kind != Kind::Directory => Ok(Some(stat)),
        Ok(_) => Err(StoreError::Exists),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Renames without replacing, on a file system without `RENAME_NOREPLACE`. A file is linked to its new
/// name, which fails if that name exists, and then loses the old name. For entries that cannot be linked,
/// the new name is looked up first; another program may take it before the rename.
fn rename_without_noreplace(
    from: BorrowedFd<'_>,
    from_name: &[u8],
    to: BorrowedFd<'_>,
    to_name: &[u8],
) -> Result<(), Errno> {
    let moved = rustix::fs::statat(from, from_name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(moved.st_mode).is_file() {
        match rustix::fs::linkat(from, from_name, to, to_name, AtFlags::empty()) {
            Ok(()) => {
                let removed = rustix::fs::unlinkat(from, from_name, AtFlags::empty());
                if removed.is_err() {
                    let _ = rustix::fs::unlinkat(to, to_name, AtFlags::empty());
                }
                return removed;
            }
            Err(errno) if !is_refusal(errno) => return Err(errno),
            Err(_) => {}
        }
    }
    match rustix::fs::statat(to, to_name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(Errno::EXIST),
        Err(_) => rustix::fs::renameat(from, from_name, to, to_name),
    }
}
