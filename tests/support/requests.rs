//! Requests of the native protocol with defaults for the fields that a test does not set.

use berth::base::upload_id::UploadId;
use berth::wire::Request;
use berth::wire::message::{Name, PutMode};

/// An upload, by default of unknown size and only of a new file.
pub struct Put {
    pub path: Name,
    pub size: Option<u64>,
    pub mtime_ns: Option<i64>,
    pub mode: PutMode,
    pub if_etag: Option<String>,
    pub upload_id: Option<UploadId>,
    pub resume: bool,
    pub permissions: Option<u32>,
    pub set_permissions: bool,
}

impl Default for Put {
    fn default() -> Self {
        Self {
            path: "/".into(),
            size: None,
            mtime_ns: None,
            mode: PutMode::Create,
            if_etag: None,
            upload_id: None,
            resume: false,
            permissions: None,
            set_permissions: false,
        }
    }
}

impl Put {
    pub fn request(self) -> Request {
        let Self { path, size, mtime_ns, mode, if_etag, upload_id, resume, permissions, set_permissions } = self;
        Request::Put { path, size, mtime_ns, mode, if_etag, upload_id, resume, permissions, set_permissions }
    }
}
