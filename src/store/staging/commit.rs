//! Gives a staged file its final name and attributes.

use super::Staged;
use super::inode::InodeLocation;
use super::inode::{PART_BITS, beside_name, link_or_note, replace_from_beside};
use crate::base::attributes::{
    FILE_BITS_MIN, NEW_FILE, NewFile, PERMISSIONS, UMASK, WantedMode, default_list, mode_of_new, path_of,
};
use crate::base::upload_id::UploadId;
use crate::base::virtual_path::VPath;
use crate::store::StoreError;
use crate::store::home::{CommitTarget, hold_large, replace_check};
use crate::store::meta::{Kind, Meta};
use crate::store::names::part_name;
use crate::store::open_file::OpenFile;
use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

impl Staged {
    /// Makes the upload appear at `path`, instead of a file there if `accepts` says so, with the permission
    /// bits that are `wanted`. Returns the folder that now holds it, which can be synced.
    pub fn commit(
        mut self,
        path: &VPath,
        replace: bool,
        wanted: Option<WantedMode>,
        accepts: impl FnOnce(Option<&Meta>) -> bool,
    ) -> Result<File, StoreError> {
        let committed = self.try_commit(path, replace, wanted, accepts);
        if let Err(StoreError::Exists | StoreError::Changed | StoreError::OtherFileSystem) = committed {
            // Another upload was faster, or a resume would only meet the same again.
            self.forget();
        }
        committed
    }

    fn try_commit(
        &mut self,
        path: &VPath,
        replace: bool,
        wanted: Option<WantedMode>,
        accepts: impl FnOnce(Option<&Meta>) -> bool,
    ) -> Result<File, StoreError> {
        self.check_claim()?;
        let file = self.open_file()?;
        if !self.is_as_written() {
            return Err(StoreError::Changed);
        }
        let target = self.home.target(path)?;
        // If nothing may be replaced, the link or rename itself fails.
        let old = if replace { replace_check(&target.folder, &target.name, replace)? } else { None };
        let replaced = old.map(Meta::from);
        if !accepts(replaced.as_ref()) {
            return Err(StoreError::Changed);
        }
        self.take_attributes(&file, &target, old.as_ref(), wanted)?;
        let held = replaced.and_then(|replaced| hold_large(&target.folder, &target.name, &replaced));
        self.appear(&file, &target, replaced.is_some())?;
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
        Ok(target.folder)
    }

    /// Gives the file what the one that it replaces has, or what its folder gives to new ones.
    fn take_attributes(
        &self,
        file: &File,
        target: &CommitTarget,
        old: Option<&Stat>,
        wanted: Option<WantedMode>,
    ) -> Result<(), StoreError> {
        let on_refusal = |operation, device, errno| self.home.systems.warn(operation, device, &self.home.path, errno);
        let new = NewFile { file, on_refusal: &on_refusal };
        match old {
            Some(old) if Meta::from(*old).kind == Kind::File => {
                new.take_over(path_of(target.folder.as_fd(), &target.name), old)?;
                match wanted {
                    Some(WantedMode { bits, also_of_replaced: true }) => {
                        let mode = self.home.mode_for_change(target.folder.as_fd(), file, bits | FILE_BITS_MIN)?;
                        Ok(new.set_mode(mode)?)
                    }
                    _ => Ok(()),
                }
            }
            _ => self.take_attributes_of_new(&new, target, wanted),
        }
    }

    fn take_attributes_of_new(
        &self,
        new: &NewFile<'_>,
        target: &CommitTarget,
        wanted: Option<WantedMode>,
    ) -> Result<(), StoreError> {
        let is_from_elsewhere = matches!(self.place, InodeLocation::Staging { was_nameless: false, .. });
        let bits = wanted.map(|wanted| wanted.bits & PERMISSIONS | FILE_BITS_MIN);
        if is_from_elsewhere {
            new.inherit(target.folder.as_fd(), bits.unwrap_or(NEW_FILE))?;
        }
        match bits {
            // One that was resumed may have been begun with other bits.
            Some(bits) if is_from_elsewhere || bits & PART_BITS != PART_BITS => {
                let default = default_list(&path_of(target.folder.as_fd(), b"."))?;
                Ok(new.set_mode(mode_of_new(bits, UMASK, default))?)
            }
            _ => Ok(()),
        }
    }

    /// Gives the file its name.
    fn appear(&mut self, file: &OpenFile, target: &CommitTarget, replaces: bool) -> Result<(), StoreError> {
        if file.is_nameless() && !replaces {
            link_or_note(&self.home, file, &target.folder, &target.name)?;
            file.note_named();
            return Ok(());
        }
        if let InodeLocation::Beside(folder) = &self.place {
            return self.appear_from_beside(file, folder, target, replaces);
        }
        let staging = self.name_part();
        let result = staging.and_then(|staging| self.rename(staging.as_fd(), &part_name(&self.id), target, replaces));
        match result {
            Err(StoreError::OtherFileSystem) if file.is_nameless() => {
                replace_from_beside(file, &self.id, target)?;
                file.note_named();
                Ok(())
            }
            result => result,
        }
    }

    fn appear_from_beside(
        &self,
        file: &OpenFile,
        folder: &File,
        target: &CommitTarget,
        replaces: bool,
    ) -> Result<(), StoreError> {
        let name = beside_name(&self.id);
        let there = rustix::fs::statat(folder, name.as_str(), AtFlags::SYMLINK_NOFOLLOW)?;
        // Another user with write access to the folder can replace the file.
        if Meta::from(there).identity.inode() != file.id() {
            return Err(StoreError::Changed);
        }
        self.rename(folder.as_fd(), &name, target, replaces)
    }

    fn rename(
        &self,
        from: BorrowedFd<'_>,
        name: &str,
        target: &CommitTarget,
        replaces: bool,
    ) -> Result<(), StoreError> {
        let renamed = self.home.rename_entry(from, name.as_bytes(), target.folder.as_fd(), &target.name, replaces);
        renamed.map_err(|errno| if errno == Errno::XDEV { StoreError::OtherFileSystem } else { errno.into() })
    }
}
