//! Optional operations that the file systems of homes refuse. The first refusal on a file system is
//! logged, and the server leaves the operation out. It knows no files, and homes only as paths for
//! messages.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::StoreError;
use crate::base::refusals::{OptionalOperation, is_refusal};
use crate::base::text::Escaped;
use crate::base::{file_system_type, refusals};

/// The number of file systems that are remembered. Beyond it all are forgotten and tried again.
const FILE_SYSTEMS_MAX: usize = 256;

/// The interval of warnings about a full disk.
const FULL_LOGGED_AGAIN_NS: u64 = 60 * 60 * 1_000_000_000;

/// The known limits of one file system.
#[derive(Default)]
struct FileSystemLimits {
    /// Whether a file can be created without a name and linked later; `None` before the first try.
    takes_nameless: Option<bool>,
    frees_slowly: Option<bool>,
    warned: Vec<OptionalOperation>,
    /// When a full disk was last logged, nanoseconds since the epoch.
    full_logged_ns: Option<i64>,
}

/// The remembered file systems, by device number.
#[derive(Default)]
pub(super) struct FileSystemSupport(Mutex<HashMap<u64, FileSystemLimits>>);

impl FileSystemSupport {
    /// Returns whether files without a name can be created on `device`; `None` before the first try.
    pub(super) fn takes_nameless(&self, device: u64) -> Option<bool> {
        self.lock().get(&device).and_then(|known| known.takes_nameless)
    }

    /// Returns whether any file system is known to refuse files without a name.
    pub(super) fn any_refuses_nameless(&self) -> bool {
        self.lock().values().any(|known| known.takes_nameless == Some(false))
    }

    /// Returns whether freeing a file on `device` writes to the disk, by the type of the file system; `on`
    /// is a descriptor there. False for network file systems: there an open file that loses its name gets
    /// another one, and its directory cannot be removed.
    pub(super) fn frees_slowly(&self, device: u64, on: impl AsFd) -> bool {
        if let Some(known) = self.lock().get(&device).and_then(|known| known.frees_slowly) {
            return known;
        }
        let frees_slowly = file_system_type::frees_slowly(on);
        self.with(device, |known| known.frees_slowly = Some(frees_slowly));
        frees_slowly
    }

    /// Remembers whether files without a name can be created on `device`.
    pub(super) fn record_nameless_support(&self, device: u64, takes: bool) {
        self.with(device, |known| known.takes_nameless = Some(takes));
    }

    /// Accepts a refusal, and logs the first of its kind on this file system. Returns other errors.
    pub(super) fn tolerate(
        &self,
        operation: OptionalOperation,
        device: u64,
        home: &Path,
        result: Result<(), Errno>,
    ) -> Result<(), StoreError> {
        match result {
            Err(errno) if is_refusal(errno) => {
                self.warn(operation, device, home, errno);
                Ok(())
            }
            result => Ok(result?),
        }
    }

    /// Logs once for this file system that it refuses `operation`.
    pub(super) fn warn(&self, operation: OptionalOperation, device: u64, home: &Path, errno: Errno) {
        let is_new = self.with(device, |known| {
            let is_new = !known.warned.contains(&operation);
            if is_new {
                known.warned.push(operation);
            }
            is_new
        });
        if is_new {
            refusals::report_on(device, operation.noun(), home, &errno.into());
        }
    }

    /// Logs that the file system of `home` is full, at most once an hour.
    pub(super) fn warn_full(&self, device: u64, home: &Path, now_ns: i64) {
        let is_new = self.with(device, |known| {
            let is_new = known.full_logged_ns.is_none_or(|at| now_ns.abs_diff(at) >= FULL_LOGGED_AGAIN_NS);
            if is_new {
                known.full_logged_ns = Some(now_ns);
            }
            is_new
        });
        if is_new {
            let path = Escaped(home.as_os_str().as_bytes());
            log::error!("{path}: the disk is full, or its own quota is; uploads are refused until there is room");
        }
    }

    /// The lock is held for a moment only, never during a call to a file system.
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, FileSystemLimits>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, device: u64, act: impl FnOnce(&mut FileSystemLimits) -> T) -> T {
        let mut known = self.lock();
        if known.len() >= FILE_SYSTEMS_MAX && !known.contains_key(&device) {
            known.clear();
        }
        act(known.entry(device).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_tolerated_and_a_failure_is_not() {
        let (support, home) = (FileSystemSupport::default(), Path::new("/homes/ann"));
        for refused in [Errno::PERM, Errno::NOSYS, Errno::OPNOTSUPP, Errno::INVAL, Errno::NOTTY] {
            assert!(support.tolerate(OptionalOperation::SetTimes, 1, home, Err(refused)).is_ok(), "{refused:?}");
        }
        for failed in [Errno::IO, Errno::NOSPC, Errno::STALE, Errno::DQUOT] {
            assert!(support.tolerate(OptionalOperation::SetTimes, 1, home, Err(failed)).is_err(), "{failed:?}");
        }
        assert_eq!(support.lock()[&1].warned, [OptionalOperation::SetTimes]);
    }

    #[test]
    fn file_systems_that_come_and_go_take_bounded_memory() {
        let support = FileSystemSupport::default();
        (0..FILE_SYSTEMS_MAX as u64 * 3).for_each(|device| support.record_nameless_support(device, false));
        assert!(support.lock().len() <= FILE_SYSTEMS_MAX);
    }
}
