//! Digests of content: 32 bytes with the algorithm that computed them, written as `blake3:HEX` or `sha256:HEX`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::Digest as _;

/// The algorithm of a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DigestAlgorithm {
    /// BLAKE3, which verifies transfers: on most processors it is several times as fast as SHA-256.
    Blake3,
    /// SHA-256, computed only on request, for comparison with other programs.
    Sha256,
}

impl DigestAlgorithm {
    /// The algorithm that verifies transfers, and compares what client and server have of a file.
    pub const OF_TRANSFERS: Self = Self::Blake3;
    const ALL: [Self; 2] = [Self::Blake3, Self::Sha256];

    /// Returns its name in a digest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blake3 => "blake3",
            Self::Sha256 => "sha256",
        }
    }
}

impl fmt::Display for DigestAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The digest of a whole file, or of a prefix of one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest {
    algorithm: DigestAlgorithm,
    bytes: [u8; 32],
}

impl Digest {
    /// Returns the digest that verifies a transfer of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::by(DigestAlgorithm::OF_TRANSFERS, bytes)
    }

    /// Returns the digest of `bytes` by `algorithm`.
    pub fn by(algorithm: DigestAlgorithm, bytes: &[u8]) -> Self {
        let mut hash = ContentHash::new(algorithm);
        hash.update(bytes);
        hash.digest()
    }

    /// Returns its algorithm.
    pub fn algorithm(&self) -> DigestAlgorithm {
        self.algorithm
    }

    /// Returns its bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Returns its 64 hexadecimal digits without the algorithm, as programs like `sha256sum` print them.
    pub fn hex(&self) -> String {
        let mut text = [0; 64];
        hex_encode(&self.bytes, &mut text);
        std::str::from_utf8(&text).expect("hexadecimal digits are ASCII").into()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Why a text is not a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The text does not name an algorithm before a colon.
    #[error("a digest names its algorithm: blake3:HEX or sha256:HEX")]
    NoAlgorithm,
    /// This version does not know the algorithm.
    #[error("unknown digest algorithm, expected blake3 or sha256")]
    UnknownAlgorithm,
    /// Not 64 hexadecimal digits.
    #[error("a digest has 64 hexadecimal digits")]
    Digits,
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (name, digits) = text.split_once(':').ok_or(DigestError::NoAlgorithm)?;
        let known = DigestAlgorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name);
        let algorithm = known.ok_or(DigestError::UnknownAlgorithm)?;
        let mut bytes = [0; 32];
        hex_decode(digits.as_bytes(), &mut bytes).ok_or(DigestError::Digits)?;
        Ok(Self { algorithm, bytes })
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// The memory of a running computation of a digest, rounded up.
pub const CONTENT_HASH_BYTES: usize = 2 * 1024;

/// A running computation of a digest.
#[derive(Clone)]
pub enum ContentHash {
    /// BLAKE3. Boxed, because it has [`CONTENT_HASH_BYTES`].
    Blake3(Box<blake3::Hasher>),
    /// SHA-256.
    Sha256(sha2::Sha256),
}

impl ContentHash {
    /// Begins a digest by `algorithm`.
    pub fn new(algorithm: DigestAlgorithm) -> Self {
        match algorithm {
            DigestAlgorithm::Blake3 => Self::Blake3(Box::new(blake3::Hasher::new())),
            DigestAlgorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
        }
    }

    /// Begins the digest of a transfer.
    pub fn of_transfer() -> Self {
        Self::new(DigestAlgorithm::OF_TRANSFERS)
    }

    /// Adds the next bytes of the content.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Blake3(hash) => {
                hash.update(bytes);
            }
            Self::Sha256(hash) => hash.update(bytes),
        }
    }

    /// Returns the digest of all bytes that were added so far.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Blake3(hash) => Digest { algorithm: DigestAlgorithm::Blake3, bytes: hash.finalize().into() },
            Self::Sha256(hash) => Digest { algorithm: DigestAlgorithm::Sha256, bytes: hash.clone().finalize().into() },
        }
    }
}

/// Writes two lower-case digits per byte. `text` is twice as long as `bytes`.
pub fn hex_encode(bytes: &[u8], text: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// Reads two digits per byte. Returns `None` unless `text` has exactly that many digits.
pub fn hex_decode(text: &[u8], bytes: &mut [u8]) -> Option<()> {
    if text.len() != bytes.len() * 2 {
        return None;
    }
    let digit = |c: u8| char::from(c).to_digit(16);
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const _: () = assert!(size_of::<blake3::Hasher>() <= CONTENT_HASH_BYTES);

    const SHA256_OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn digest_names_its_algorithm_and_reads_back() {
        for algorithm in DigestAlgorithm::ALL {
            let digest = Digest::by(algorithm, b"abc");
            let text = digest.to_string();
            assert_eq!(text, format!("{algorithm}:{}", digest.hex()));
            assert_eq!(text.parse(), Ok(digest));
            assert_eq!(text.replace(&digest.hex(), &digest.hex().to_uppercase()).parse(), Ok(digest));
            assert_eq!(serde_json::to_string(&digest).expect("text"), format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Digest>(&format!("\"{text}\"")).expect("text"), digest);
        }
        assert_eq!(Digest::by(DigestAlgorithm::Sha256, b"abc").hex(), SHA256_OF_ABC, "as sha256sum prints it");
    }

    #[test]
    fn a_text_that_is_not_a_digest_is_refused_with_the_reason() {
        let read = |text: &str| text.parse::<Digest>();
        assert_eq!(read(SHA256_OF_ABC), Err(DigestError::NoAlgorithm), "what earlier builds sent");
        assert_eq!(read(""), Err(DigestError::NoAlgorithm));
        for unknown in ["md5", "sha512", "BLAKE3", "blake3 ", "", "blake3-512"] {
            assert_eq!(read(&format!("{unknown}:{SHA256_OF_ABC}")), Err(DigestError::UnknownAlgorithm), "{unknown}");
        }
        for digits in ["", &SHA256_OF_ABC[1..], &SHA256_OF_ABC.replace('b', "g"), &format!("{SHA256_OF_ABC}00")] {
            assert_eq!(read(&format!("blake3:{digits}")), Err(DigestError::Digits), "{digits}");
        }
    }

    #[test]
    fn blake3_has_the_digests_of_its_published_test_vectors() {
        // github.com/BLAKE3-team/BLAKE3, test_vectors/test_vectors.json: the input repeats the bytes 0 to 250.
        let vectors = [
            (0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
            (1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"),
            (1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"),
            (31744, "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47"),
            (102_400, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085"),
        ];
        for (length, digits) in vectors {
            let input: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            assert_eq!(Digest::of(&input).to_string(), format!("blake3:{digits}"), "{length}");
            let mut hash = ContentHash::of_transfer();
            input.chunks(977).for_each(|piece| hash.update(piece));
            assert_eq!(hash.digest(), Digest::of(&input), "{length}, in odd pieces");
        }
    }
}
