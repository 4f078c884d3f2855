//! Gives a staged file its final name and attributes.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;

use super::Staged;
use super::inode::PART_BITS;
use super::link::{link_or_record_refusal, replace_with_temporary, temporary_name};
use super::part::{PartLocation, StagedFile};
use crate::base::attributes::{
    FILE_BITS_MIN, NEW_FILE, NewFile, PERMISSIONS, RequestedMode, UMASK, default_list, mode_of_new, path_of,
};
use crate::base::upload_id::UploadId;
use crate::base::virtual_path::VirtualPath;
use crate::store::StoreError;
use crate::store::home::{CommitTarget, HomeDirectory, open_large_for_deferred_close, replace_check};
use crate::store::meta::{Kind, Meta};
use crate::store::names::part_name;

/// A condition on the file that would be replaced, if there is one.
pub type ReplaceCondition = Box<dyn FnOnce(Option<&Meta>) -> bool + Send>;

/// The final name and attributes of an upload.
pub struct FinalName {
    /// The path of the file.
    pub path: VirtualPath,
    /// Whether an existing file may be replaced.
    pub replace: bool,
    /// The permission bits. Default: those of any new file.
    pub wanted_mode: Option<RequestedMode>,
    /// Whether the upload may get its name.
    pub accepts: ReplaceCondition,
}

/// The result of naming a file.
struct NamedFile {
    /// The directory of the file.
    directory: File,
    /// The file that was replaced.
    replaced: Option<Meta>,
    /// An open descriptor of the replaced file. Its close frees the space.
    held: Option<OwnedFd>,
}

impl Staged {
    /// Gives the upload its final name. Returns the directory of that name, so that it can be synced.
    pub async fn commit(mut self, name: FinalName) -> Result<File, StoreError> {
        let _changing = self.home.file_system().begin_change();
        let shared = UploadId::of_path(&name.path);
        let committed = self.try_commit(name).await;
        if let Err(StoreError::Exists | StoreError::Changed | StoreError::OtherFileSystem) = committed {
            // Another upload got the name first, or a resumed upload would fail in the same way.
            self.forget();
        }
        if committed.is_ok() && self.id != shared {
            self.home.drop_superseded(shared).await;
        }
        committed
    }

    async fn try_commit(&mut self, name: FinalName) -> Result<File, StoreError> {
        self.check_claim()?;
        let file = self.open_file()?;
        let (part, bytes, has_record) = (self.part()?, self.bytes_on_disk(), self.slot.is_some());
        let (location, named) =
            self.home.run(move |home| Ok(part.give_final_name(home, name, bytes, has_record))).await?;
        let is_nameless = matches!(location, PartLocation::Nameless) && named.is_err();
        self.location = location;
        if !is_nameless {
            file.record_named();
        }
        let NamedFile { directory, replaced, held } = named?;
        self.is_committed = true;
        if let Some(replaced) = replaced {
            self.home.credit(&replaced, held);
        }
        Ok(directory)
    }
}

impl StagedFile {
    /// Gives the file its final name, if its size is `bytes`. Also returns its location, which matters if that fails.
    fn give_final_name(
        mut self,
        home: &HomeDirectory,
        name: FinalName,
        bytes: u64,
        has_record: bool,
    ) -> (PartLocation, Result<NamedFile, StoreError>) {
        let named = self.try_give_final_name(home, name, bytes);
        if named.is_ok() && has_record {
            self.remove_record();
        }
        (self.location, named)
    }

    fn try_give_final_name(
        &mut self,
        home: &HomeDirectory,
        name: FinalName,
        bytes: u64,
    ) -> Result<NamedFile, StoreError> {
        if !self.has_size(bytes) {
            return Err(StoreError::Changed);
        }
        let FinalName { path, replace, wanted_mode, accepts } = name;
        let target = home.target(&path)?;
        // If nothing may be replaced, the link or rename itself fails.
        let old = if replace { replace_check(&target.directory, &target.name, replace)? } else { None };
        let replaced = old.map(Meta::from);
        if !accepts(replaced.as_ref()) {
            return Err(StoreError::Changed);
        }
        self.apply_attributes(home, &target, old.as_ref(), wanted_mode)?;
        let held =
            replaced.and_then(|replaced| open_large_for_deferred_close(&target.directory, &target.name, &replaced));
        self.move_to(home, &target, replaced.is_some())?;
        Ok(NamedFile { directory: target.directory, replaced, held })
    }

    /// Sets mode, owner and access control list: those of the file that it replaces, or those of a new file in
    /// its directory.
    fn apply_attributes(
        &self,
        home: &HomeDirectory,
        target: &CommitTarget,
        old: Option<&Stat>,
        wanted: Option<RequestedMode>,
    ) -> Result<(), StoreError> {
        let on_refusal = |operation, device, errno| home.support.warn(operation, device, &home.path, errno);
        let new = NewFile { file: &self.file, on_refusal: &on_refusal };
        match old {
            Some(old) if Meta::from(*old).kind == Kind::File => {
                new.copy_attributes_of(path_of(target.directory.as_fd(), &target.name), old)?;
                match wanted {
                    Some(RequestedMode { bits, applies_to_replaced_file: true }) => {
                        let mode = home.mode_for_change(target.directory.as_fd(), &*self.file, bits | FILE_BITS_MIN)?;
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
            // A resumed upload may have begun with other bits.
            Some(bits) if is_from_elsewhere || bits & PART_BITS != PART_BITS => {
                let default = default_list(&path_of(target.directory.as_fd(), b"."))?;
                Ok(new.set_mode(mode_of_new(bits, UMASK, default))?)
            }
            _ => Ok(()),
        }
    }

    fn move_to(&mut self, home: &HomeDirectory, target: &CommitTarget, replaces: bool) -> Result<(), StoreError> {
        if matches!(self.location, PartLocation::Nameless) && !replaces {
            return Ok(link_or_record_refusal(home, &self.file, &target.directory, &target.name)?);
        }
        if let PartLocation::TemporaryInTarget(directory) = &self.location {
            return self.rename_temporary(home, directory, target, replaces);
        }
        let staging = self.name(home);
        let from = part_name(&self.id);
        let renamed = staging.and_then(|staging| rename(home, staging.as_fd(), &from, target, replaces));
        match renamed {
            Err(StoreError::OtherFileSystem) if matches!(self.location, PartLocation::Nameless) => {
                Ok(replace_with_temporary(&self.file, &self.id, target)?)
            }
            renamed => renamed,
        }
    }

    fn rename_temporary(
        &self,
        home: &HomeDirectory,
        directory: &File,
        target: &CommitTarget,
        replaces: bool,
    ) -> Result<(), StoreError> {
        let name = temporary_name(&self.id);
        let there = rustix::fs::statat(directory, name.as_str(), AtFlags::SYMLINK_NOFOLLOW)?;
        let own = rustix::fs::fstat(&*self.file)?;
        // Another user with write access to the directory can replace the file.
        if (there.st_dev, there.st_ino) != (own.st_dev, own.st_ino) {
            return Err(StoreError::Changed);
        }
        rename(home, directory.as_fd(), &name, target, replaces)
    }
}

fn rename(
    home: &HomeDirectory,
    from: BorrowedFd<'_>,
    name: &str,
    target: &CommitTarget,
    replaces: bool,
) -> Result<(), StoreError> {
    let renamed = home.rename_entry(from, name.as_bytes(), target.directory.as_fd(), &target.name, replaces);
    renamed.map_err(|errno| if errno == Errno::XDEV { StoreError::OtherFileSystem } else { errno.into() })
}
