//! The end of interrupted uploads that nobody came back for, and of what a killed server left of
//! others.

use super::StoreError;
use super::home::{Home, hold_large};
use super::meta::Meta;
use super::staging::{remove, staged_names};
use crate::upload_id::UploadId;
use rustix::fs::AtFlags;

impl Home {
    /// When an interrupted upload with this part expires, in nanoseconds since the epoch.
    pub(super) fn expires_ns(&self, part: &Meta) -> i64 {
        let lifetime_ns = i64::try_from(self.partial_expiry.as_nanos()).unwrap_or(i64::MAX);
        part.identity.ctime_ns.saturating_add(lifetime_ns)
    }

    /// Notes that there is an interrupted upload which expires then.
    pub(super) fn note_expiry(&self, expires_ns: i64) {
        self.next_expiry_ns.set(self.next_expiry_ns.get().min(expires_ns));
    }

    /// Drops the interrupted uploads that have expired.
    pub(super) fn drop_expired(&self) {
        let now_ns = self.clock.now_ns();
        if now_ns < self.next_expiry_ns.get() {
            return;
        }
        // What cannot be read or removed now is swept before the next count.
        self.next_expiry_ns.set(i64::MAX);
        for upload in self.recorded_uploads().unwrap_or_default() {
            match upload.expires_ns {
                // When it is interrupted it expires later than this.
                _ if self.claims.is_running(&upload.id) => {}
                at if at > now_ns => self.note_expiry(at),
                _ => drop(self.drop_kept(&upload.id)),
            }
        }
    }

    /// Removes what no upload will ask for again: expired ones, parts without a record, records
    /// without a part. The count that follows does the bookkeeping.
    pub(super) fn sweep_staging(&self) -> Result<(), StoreError> {
        let Some(staging) = self.staging(false)? else { return Ok(()) };
        let kept = self.kept_uploads()?;
        let idle = kept.iter().filter(|upload| !self.claims.is_running(&upload.id));
        self.next_expiry_ns.set(idle.map(|upload| upload.expires_ns).min().unwrap_or(i64::MAX));
        let live: Vec<UploadId> = kept.iter().map(|upload| upload.id).collect();
        for (id, suffix) in staged_names(&staging)? {
            if !live.contains(&id) && !self.claims.is_running(&id) {
                let name = format!("{id}{suffix}");
                let found = rustix::fs::statat(&*staging, &name, AtFlags::SYMLINK_NOFOLLOW).ok();
                let held = found.and_then(|stat| hold_large(&*staging, name.as_bytes(), &stat.into()));
                remove(&staging, &name);
                self.let_go(held);
            }
        }
        Ok(())
    }
}
