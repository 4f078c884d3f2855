//! Gives a staged file its final name and attributes.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;

use super::Staged;
use super::inode::PartLocation;
use super::inode::{PART_BITS, link_or_record_refusal, replace_with_temporary, temporary_name};
use crate::base::attributes::{
    FILE_BITS_MIN, NEW_FILE, NewFile, PERMISSIONS, RequestedMode, UMASK, default_list, mode_of_new, path_of,
};
use crate::base::upload_id::UploadId;
use crate::base::virtual_path::VirtualPath;
use crate::store::StoreError;
use crate::store::home::{CommitTarget, open_large_for_deferred_close, replace_check};
use crate::store::meta::{Kind, Meta};
use crate::store::names::part_name;
use crate::store::open_file::OpenFile;

impl Staged {
    /// Gives the upload the name `path` and the permission bits that are `wanted`. Replaces an existing file
    /// only if `replace` is set and `accepts` returns true for it. Returns the directory of `path`, so that it
    /// can be synced.
    pub fn commit(
        mut self,
        path: &VirtualPath,
        replace: bool,
        wanted: Option<RequestedMode>,
        accepts: impl FnOnce(Option<&Meta>) -> bool,
    ) -> Result<File, StoreError> {
        let committed = self.try_commit(path, replace, wanted, accepts);
        if let Err(StoreError::Exists | StoreError::Changed | StoreError::OtherFileSystem) = committed {
            // Another upload got the name first, or a resumed upload would fail in the same way.
            self.forget();
        }
        committed
    }

    fn try_commit(
        &mut self,
        path: &VirtualPath,
        replace: bool,
        wanted: Option<RequestedMode>,
        accepts: impl FnOnce(Option<&Meta>) -> bool,
    ) -> Result<File, StoreError> {
        self.check_claim()?;
        let file = self.open_file()?;
        if !self.is_as_written() {
            return Err(StoreError::Changed);
        }
        let target = self.home.target(path)?;
        // If nothing may be replaced, the link or rename itself fails.
        let old = if replace { replace_check(&target.directory, &target.name, replace)? } else { None };
        let replaced = old.map(Meta::from);
        if !accepts(replaced.as_ref()) {
            return Err(StoreError::Changed);
        }
        self.apply_attributes(&file, &target, old.as_ref(), wanted)?;
        let held =
            replaced.and_then(|replaced| open_large_for_deferred_close(&target.directory, &target.name, &replaced));
        self.give_name(&file, &target, replaced.is_some())?;
        self.is_committed = true;
        if let Some(replaced) = replaced {
            self.home.credit(&replaced, held);
        }
        if self.slot.is_some() {
            self.remove_record();
        }
        let shared = UploadId::of_path(path);
        if self.id != shared {
            self.home.drop_superseded(&shared);
        }
        Ok(target.directory)
    }

    /// Sets mode, owner and access control list: those of the file that it replaces, or those of a new file in
    /// its directory.
    fn apply_attributes(
        &self,
        file: &File,
        target: &CommitTarget,
        old: Option<&Stat>,
        wanted: Option<RequestedMode>,
    ) -> Result<(), StoreError> {
        let on_refusal = |operation, device, errno| self.home.systems.warn(operation, device, &self.home.path, errno);
        let new = NewFile { file, on_refusal: &on_refusal };
        match old {
            Some(old) if Meta::from(*old).kind == Kind::File => {
                new.copy_attributes_of(path_of(target.directory.as_fd(), &target.name), old)?;
                match wanted {
                    Some(RequestedMode { bits, applies_to_replaced_file: true }) => {
                        let mode = self.home.mode_for_change(target.directory.as_fd(), file, bits | FILE_BITS_MIN)?;
                        Ok(new.set_mode(mode)?)
                    }
                    _ => Ok(()),
                }
            }
            _ => self.apply_attributes_of_new(&new, target, wanted),
        }
    }

    fn apply_attributes_of_new(
        &self,
        new: &NewFile<'_>,
        target: &CommitTarget,
        wanted: Option<RequestedMode>,
    ) -> Result<(), StoreError> {
        let is_from_elsewhere = matches!(self.location, PartLocation::Staging { was_nameless: false, .. });
        let bits = wanted.map(|wanted| wanted.bits & PERMISSIONS | FILE_BITS_MIN);
        if is_from_elsewhere {
            new.inherit(target.directory.as_fd(), bits.unwrap_or(NEW_FILE))?;
        }
        match bits {
            // One that was resumed may have been begun with other bits.
            Some(bits) if is_from_elsewhere || bits & PART_BITS != PART_BITS => {
                let default = default_list(&path_of(target.directory.as_fd(), b"."))?;
                Ok(new.set_mode(mode_of_new(bits, UMASK, default))?)
            }
            _ => Ok(()),
        }
    }

    /// Gives the file its name.
    fn give_name(&mut self, file: &OpenFile, target: &CommitTarget, replaces: bool) -> Result<(), StoreError> {
        if file.is_nameless() && !replaces {
            link_or_record_refusal(&self.home, file, &target.directory, &target.name)?;
            file.record_named();
            return Ok(());
        }
        if let PartLocation::TemporaryInTarget(directory) = &self.location {
            return self.rename_temporary(file, directory, target, replaces);
        }
        let staging = self.name_part();
        let result = staging.and_then(|staging| self.rename(staging.as_fd(), &part_name(&self.id), target, replaces));
        match result {
            Err(StoreError::OtherFileSystem) if file.is_nameless() => {
                replace_with_temporary(file, &self.id, target)?;
                file.record_named();
                Ok(())
            }
            result => result,
        }
    }

    fn rename_temporary(
        &self,
        file: &OpenFile,
        directory: &File,
        target: &CommitTarget,
        replaces: bool,
    ) -> Result<(), StoreError> {
        let name = temporary_name(&self.id);
        let there = rustix::fs::statat(directory, name.as_str(), AtFlags::SYMLINK_NOFOLLOW)?;
        // Another user with write access to the directory can replace the file.
        if Meta::from(there).identity.inode() != file.id() {
            return Err(StoreError::Changed);
        }
        self.rename(directory.as_fd(), &name, target, replaces)
    }

    fn rename(
        &self,
        from: BorrowedFd<'_>,
        name: &str,
        target: &CommitTarget,
        replaces: bool,
    ) -> Result<(), StoreError> {
        let renamed = self.home.rename_entry(from, name.as_bytes(), target.directory.as_fd(), &target.name, replaces);
        renamed.map_err(|errno| if errno == Errno::XDEV { StoreError::OtherFileSystem } else { errno.into() })
    }
}
