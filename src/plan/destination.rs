//! Where a destination is: a directory, or a folder of a bucket.
//!
//! ```text
//! output                         a directory
//! s3://exports/tracker           a folder of a bucket; also gs://, az://, abfss://
//! s3://                          refused: no bucket
//! https://example.com/x          refused: nothing is written there
//! ```

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

/// Where a destination is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DestinationPath {
    /// A directory of the host.
    Directory(PathBuf),
    /// A bucket of an object store, or a folder of one.
    Bucket(BucketUrl),
}

/// A bucket, and the folder in it that is the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketUrl {
    /// Whose bucket it is.
    pub service: Service,
    /// The URL of the bucket itself, such as `s3://exports`.
    pub bucket: String,
    /// The folder, without `/` at its ends; empty for the whole bucket.
    pub folder: String,
}

/// A kind of object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Amazon S3, and what speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
    /// One in the memory of a test.
    #[cfg(test)]
    Memory,
}

/// How a run holds a pipeline's part of a bucket. A directory has a lock of the system instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeasePlan {
    /// How long a process that died holds it at most.
    pub length: Duration,
    /// Whether a person promises that no two runs write at once, so that a store that ignores conditions
    /// will do.
    pub single_writer: bool,
}

impl LeasePlan {
    /// How long a lease is where nothing else is said, in seconds.
    pub const DEFAULT_SECS: u32 = 60;
}

impl Default for LeasePlan {
    fn default() -> Self {
        let length = Duration::from_secs(Self::DEFAULT_SECS.into());
        Self { length, single_writer: false }
    }
}

impl DestinationPath {
    /// How something in it is called in messages: the path of a file, or the URL of an object.
    #[must_use]
    pub fn join(&self, path: &str) -> PathBuf {
        match self {
            Self::Directory(directory) => directory.join(path),
            Self::Bucket(url) => PathBuf::from(format!("{url}/{path}")),
        }
    }
}

impl fmt::Display for DestinationPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => directory.display().fmt(f),
            Self::Bucket(url) => url.fmt(f),
        }
    }
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.bucket)?;
        if self.folder.is_empty() { Ok(()) } else { write!(f, "/{}", self.folder) }
    }
}

impl From<PathBuf> for DestinationPath {
    fn from(directory: PathBuf) -> Self {
        Self::Directory(directory)
    }
}

impl From<&Path> for DestinationPath {
    fn from(directory: &Path) -> Self {
        Self::Directory(directory.to_owned())
    }
}

impl FromStr for DestinationPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the path is empty".to_owned());
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::Directory(text.into()));
        };
        let service = match scheme {
            "s3" | "s3a" => Service::S3,
            "gs" => Service::Google,
            "az" | "azure" | "abfs" | "abfss" => Service::Azure,
            #[cfg(test)]
            "memory" => Service::Memory,
            "file" => return Err("name the directory without `file://`".to_owned()),
            other => {
                return Err(format!(
                    "nothing can be written to `{other}://`: name a directory, or a bucket as `s3://`, `gs://` or `az://`"
                ));
            }
        };
        let (bucket, folder) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(format!("it names no bucket: write `{scheme}://BUCKET/FOLDER`"));
        }
        // Azure's longer form is `abfss://container@account.dfs.core.windows.net`.
        let is_bare = !bucket.contains(':') && (service == Service::Azure || !bucket.contains('@'));
        if !is_bare || bucket.contains(char::is_whitespace) {
            // Not repeated: it may be a secret.
            return Err(format!(
                "what follows `{scheme}://` is no bucket: credentials and the endpoint come from environment variables"
            ));
        }
        let folder = folder.strip_suffix('/').unwrap_or(folder);
        let is_name =
            |it: &str| !matches!(it, "" | "." | "..") && !it.contains(['\\', '?', '#', '%']);
        let is_folder = folder.is_empty() || folder.split('/').all(is_name);
        if !is_folder || folder.contains(char::is_control) {
            return Err(format!("`{folder}` is no folder of a bucket"));
        }
        let bucket = format!("{scheme}://{bucket}");
        Ok(Self::Bucket(BucketUrl { service, bucket, folder: folder.to_owned() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_a_directory_or_a_folder_of_a_bucket() {
        for (text, shown, folder) in [
            ("s3://b", "s3://b", ""),
            ("s3://b/", "s3://b", ""),
            ("s3://b/x/y/", "s3://b/x/y", "x/y"),
            ("gs://b/x", "gs://b/x", "x"),
            ("az://c/x", "az://c/x", "x"),
            (
                "abfss://c@account.dfs.core.windows.net/x",
                "abfss://c@account.dfs.core.windows.net/x",
                "x",
            ),
        ] {
            let path: DestinationPath = text.parse().unwrap();
            assert_eq!(path.to_string(), shown);
            assert_eq!(path.join("a/b").display().to_string(), format!("{shown}/a/b"));
            assert!(matches!(&path, DestinationPath::Bucket(it) if it.folder == folder), "{text}");
        }
        let path: DestinationPath = "out/put".parse().unwrap();
        assert_eq!(path, DestinationPath::Directory("out/put".into()));
    }

    #[test]
    fn what_is_neither_is_refused_with_what_to_write_instead() {
        for (text, expected) in [
            ("", "the path is empty"),
            ("ftp://host/x", "nothing can be written to `ftp://`"),
            ("https://host/x", "nothing can be written to `https://`"),
            ("file:///x", "without `file://`"),
            ("s3://", "write `s3://BUCKET/FOLDER`"),
            ("s3:///x", "write `s3://BUCKET/FOLDER`"),
            ("s3://key:hunter2@b/x", "come from environment variables"),
            ("s3://b:9000/x", "come from environment variables"),
            ("s3://b/a//b", "is no folder"),
            ("s3://b/../c", "is no folder"),
            ("s3://b/x?y=z", "is no folder"),
        ] {
            let err = text.parse::<DestinationPath>().unwrap_err();
            assert!(err.contains(expected), "{text}: {err}");
            assert!(!err.contains("hunter2"), "{err}");
        }
    }
}
