//! Removes partial uploads that were not resumed in time, and leftovers of a killed server in the
//! staging directory.
//!
//! The age of a part is measured by the wall clock, which may be years off after a boot: the machine
//! may have no clock battery, or no time server may have answered yet. So nothing expires before the
//! wall clock has run without a jump for [`EXPIRY_STEADY_CLOCK`].

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_NOW};

use super::StoreError;
use super::home::{Home, HomeDirectory, open_large_for_deferred_close};
use super::meta::Meta;
use super::names::{FULL_DISK_MTIME_NS, part_name};
use super::staging::remove;
use crate::base::upload_id::UploadId;
use crate::store::EXPIRY_STEADY_CLOCK;
use crate::store::partials::PARTIALS_PER_HOME_MAX;

impl Home {
    /// Returns when a partial upload with this part expires, in nanoseconds since the epoch.
    pub(super) fn expires_ns(&self, part: &Meta) -> i64 {
        let has_met_full_disk = part.mtime_ns == FULL_DISK_MTIME_NS;
        let lifetime_ns = self.lifetime_ns();
        let lifetime_ns = if has_met_full_disk { lifetime_ns.min(FULL_DISK_LIFETIME_NS) } else { lifetime_ns };
        part.identity.ctime_ns.saturating_add(lifetime_ns)
    }

    fn lifetime_ns(&self) -> i64 {
        i64::try_from(self.partial_expiry.as_nanos()).unwrap_or(i64::MAX)
    }

    /// Returns whether the clock is reliable enough to expire uploads.
    fn can_expire(&self) -> bool {
        self.clock.has_run_steadily_for(EXPIRY_STEADY_CLOCK.min(self.partial_expiry))
    }

    pub(super) fn has_expired(&self, expires_ns: i64, now_ns: i64) -> bool {
        self.can_expire() && expires_ns <= now_ns
    }

    /// Records that a partial upload expires at `expires_ns`, in nanoseconds since the epoch.
    pub(super) fn record_expiry(&self, expires_ns: i64) {
        self.next_expiry_ns.set(self.next_expiry_ns.get().min(expires_ns));
    }

    /// Returns whether [`Home::drop_expired`] has work. The clock is checked on every call, so that a jump is
    /// detected soon.
    pub(super) fn is_expiry_due(&self) -> bool {
        let now_ns = self.clock.now_ns();
        self.can_expire() && now_ns >= self.next_expiry_ns.get()
    }

    /// Drops the partial uploads that have expired.
    pub(super) async fn drop_expired(&self) {
        let now_ns = self.clock.now_ns();
        // The sweep before the next count retries what cannot be read or removed now.
        self.next_expiry_ns.set(i64::MAX);
        let staged = match self.run(HomeDirectory::staged).await {
            // The sweep before a count tries again.
            Err(StoreError::NoAnswer) => return self.has_leftovers.set(true),
            staged => staged.unwrap_or_default(),
        };
        for upload in self.with_expiry(staged.uploads) {
            match upload.expires_ns {
                // Once it is interrupted, it expires later than this.
                _ if self.claims.is_running(&upload.id) => {}
                at if at > now_ns => {
                    let at = self.restart_lifetime_if_in_future(upload.id, at, now_ns).await;
                    self.record_expiry(at);
                }
                _ => drop(self.drop_partial(upload.id).await),
            }
        }
    }

    /// Returns when a part expires, in nanoseconds since the epoch. If its time lies in the future, it was
    /// written while the clock was ahead, and would be kept too long: its lifetime then starts again now.
    async fn restart_lifetime_if_in_future(&self, id: UploadId, expires_ns: i64, now_ns: i64) -> i64 {
        let latest_ns = now_ns.saturating_add(self.lifetime_ns());
        if expires_ns <= latest_ns.saturating_add(AHEAD_NS) {
            return expires_ns;
        }
        // If the file system refuses, the part keeps its time.
        let stamped = self.run(move |directory| directory.touch_part(&id)).await;
        if stamped.is_ok() { latest_ns } else { expires_ns }
    }

    /// Removes staged files that cannot be resumed: expired ones, parts without a record, records without a
    /// part. The ledger is not changed, because a count follows.
    pub(super) async fn sweep_staging(&self) -> Result<(), StoreError> {
        let staged = self.run(HomeDirectory::staged).await?;
        let mut kept = self.with_expiry(staged.uploads);
        kept.retain(|upload| self.is_listed(upload));
        // The next call of `drop_expired` examines each upload again.
        self.next_expiry_ns.set(i64::MIN);
        let (running, idle): (Vec<_>, Vec<_>) = kept.iter().partition(|upload| self.claims.is_running(&upload.id));
        // A killed server may have left more than the maximum.
        let surplus = idle.len().saturating_sub(PARTIALS_PER_HOME_MAX);
        let live: Vec<UploadId> = running.iter().chain(&idle[surplus..]).map(|upload| upload.id).collect();
        self.partials.forget_all();
        let is_left = |id: &UploadId| !live.contains(id) && !self.claims.is_running(id);
        let names = staged.names.into_iter().filter(|(id, _)| is_left(id)).map(|(id, suffix)| format!("{id}{suffix}"));
        let names: Vec<String> = names.collect();
        if names.is_empty() {
            return Ok(());
        }
        for (device, held) in self.run(move |directory| directory.remove_staged(names)).await? {
            self.close_deferred(device, Some(held));
        }
        Ok(())
    }
}

impl HomeDirectory {
    /// Sets the time of a part to now.
    fn touch_part(&self, id: &UploadId) -> Result<(), StoreError> {
        let Some(staging) = self.staging(false)? else { return Err(StoreError::NotFound) };
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        Ok(rustix::fs::utimensat(&*staging, part_name(id), &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Removes files from the staging directory. Returns the large ones, which are freed when they are closed, with
    /// their devices.
    fn remove_staged(&self, names: Vec<String>) -> Result<Vec<(u64, OwnedFd)>, StoreError> {
        let Some(staging) = self.staging(false)? else { return Ok(Vec::new()) };
        let remove_one = |name: String| {
            let found = rustix::fs::statat(&*staging, &name, AtFlags::SYMLINK_NOFOLLOW).ok();
            let held = found.and_then(|stat| open_large_for_deferred_close(&*staging, name.as_bytes(), &stat.into()));
            remove(&staging, &name);
            Some((found?.st_dev, held?))
        };
        Ok(names.into_iter().filter_map(remove_one).collect())
    }
}

/// A part that met a full disk is kept for a shorter time, because it takes space that all users need.
const FULL_DISK_LIFETIME_NS: i64 = 60 * 60 * 1_000_000_000;
/// The clock of a network file system may be ahead of this machine's by this much.
const AHEAD_NS: i64 = 60 * 60 * 1_000_000_000;
