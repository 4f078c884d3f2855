//! The ID of the running boot of the machine. Bytes that were written in another boot may be lost.

use std::io;

use crate::base::upload_id::UploadId;

/// Returns an ID that changes at each boot: the kernel's or, where a sandbox hides that, the service
/// manager's in the environment. Without either, a random one of this process: then only synced bytes
/// are trusted after a restart.
pub(super) fn boot_id() -> io::Result<String> {
    let of_kernel = || std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let of_environment = || std::env::var(BOOT_ID_VARIABLE).ok();
    if let Some(id) = of_kernel().as_deref().and_then(read_boot_id) {
        return Ok(id);
    }
    match of_environment().as_deref().and_then(read_boot_id) {
        Some(id) => Ok(id),
        None => Ok(format!("unknown to process {}", UploadId::random()?)),
    }
}

/// Set by a service manager: `Environment=BERTH_BOOT_ID=%b` in a unit of systemd.
const BOOT_ID_VARIABLE: &str = "BERTH_BOOT_ID";

/// Returns the kernel's form, 8-4-4-4-12 hexadecimal digits, for both forms of `text`.
fn read_boot_id(text: &str) -> Option<String> {
    let digits: String = text.trim().chars().filter(|&letter| letter != '-').collect();
    let is_id = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_id.then(|| [0..8, 8..12, 12..16, 16..20, 20..32].map(|group| digits[group].to_ascii_lowercase()).join("-"))
}

#[cfg(test)]
mod tests {
    use super::read_boot_id;

    #[test]
    fn a_boot_id_is_the_same_in_both_forms_and_nothing_else_is_one() {
        let id = Some("0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9".to_string());
        assert_eq!(read_boot_id("0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9\n"), id);
        assert_eq!(read_boot_id("0A1B2C3D4E5F60718293A4B5C6D7E8F9"), id);
        for text in ["", "%b", "0", "-", "0a1b2c3d4e5f60718293a4b5c6d7e8f", "xa1b2c3d4e5f60718293a4b5c6d7e8f9"] {
            assert_eq!(read_boot_id(text), None, "{text:?}");
        }
    }
}
