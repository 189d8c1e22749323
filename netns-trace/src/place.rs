//! Where results go that are written in one piece: whether they can be written is known before
//! anything is measured, and a reader finds the old file or the whole new one.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, access};

/// Why something cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to {path}: {why}")]
pub struct PlaceError {
    /// Its path, escaped.
    path: String,
    /// Why, in words.
    why: String,
}

impl PlaceError {
    fn new(path: &Path, why: &io::Error) -> Self {
        Self::because(path, &reason(path, why))
    }

    fn because(path: &Path, why: &str) -> Self {
        Self {
            path: format!("{path:?}"),
            why: why.to_owned(),
        }
    }
}

/// Why a path cannot be written to, with a way out, in words.
pub(crate) fn reason(path: &Path, why: &io::Error) -> String {
    if path.is_dir() {
        return "it is a directory; name a file in it".to_owned();
    }
    match why.kind() {
        io::ErrorKind::NotFound => "its directory does not exist; make it first".to_owned(),
        io::ErrorKind::NotADirectory => {
            "what is above it is a file and no directory; name another place".to_owned()
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "its file system is mounted read-only; name another place".to_owned()
        }
        _ => why.to_string(),
    }
}

/// Opens a file for writing, but no link in a folder where everybody may put one: what it leads to was not asked for,
/// and `fs.protected_symlinks` may be off.
pub(crate) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    if is_planted(path) {
        return Err(planted());
    }
    if !is_everybodys(path) {
        return options.open(path);
    }
    // One may have been put there since.
    let opened = options.custom_flags(libc::O_NOFOLLOW).open(path);
    opened.map_err(|why| match why.raw_os_error() {
        Some(libc::ELOOP) => planted(),
        _ => why,
    })
}

fn planted() -> io::Error {
    let why = "it is a link in a directory where everybody may put one; name the file itself";
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

fn is_planted(path: &Path) -> bool {
    is_everybodys(path) && path.is_symlink()
}

/// Whether everybody may make files beside this one.
fn is_everybodys(path: &Path) -> bool {
    fs::metadata(folder_of(path)).is_ok_and(|folder| folder.mode() & 0o002 != 0)
}

/// The directory that a file is in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A file that will be written as a whole.
#[derive(Clone, Debug)]
pub struct Place {
    path: PathBuf,
    /// The directory and the name of a file; none for a device or a pipe, which is written as it is.
    file: Option<(PathBuf, OsString)>,
}

impl Place {
    /// Makes sure that the file can be written, and leaves it as it is.
    ///
    /// # Errors
    ///
    /// It is a directory, its directory is missing, or writing is not allowed.
    pub fn check(path: &Path) -> Result<Self, PlaceError> {
        if path.as_os_str() == "-" {
            let why = "results are written to files; /dev/stdout is one too";
            return Err(PlaceError::because(path, why));
        }
        let file = Self::find(path).map_err(|why| PlaceError::new(path, &why))?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    fn find(path: &Path) -> io::Result<Option<(PathBuf, OsString)>> {
        if is_planted(path) {
            return Err(planted());
        }
        // A link stays one: what it leads to is replaced.
        let path = match fs::canonicalize(path) {
            Ok(real) => real,
            Err(why) if why.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(why) => return Err(why),
        };
        match fs::metadata(&path) {
            // What else goes there would be lost.
            Ok(found) if is_stdout(&found) => return Ok(None),
            Ok(found) if found.is_file() => drop(OpenOptions::new().write(true).open(&path)?),
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(_) => return Ok(access(&path, AccessFlags::W_OK).map(|()| None)?),
            Err(_) if path.as_os_str().as_bytes().ends_with(b"/") => {
                return Err(io::ErrorKind::NotFound.into());
            }
            Err(_) => {}
        }
        let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        let folder = folder_of(&path);
        probe(folder)?;
        Ok(Some((folder.to_owned(), name.to_owned())))
    }

    /// Writes it: a new file takes the place of an old one once it is complete.
    ///
    /// # Errors
    ///
    /// It cannot be written any more, or there is no room; the old file stays.
    pub fn write(&self, text: &str) -> Result<(), PlaceError> {
        let written = match &self.file {
            Some((folder, name)) => replace(folder, &folder.join(name), text),
            // By our own descriptor, which knows how far it has written.
            None if fs::metadata(&self.path).is_ok_and(|found| is_stdout(&found)) => {
                io::stdout().write_all(text.as_bytes())
            }
            None => OpenOptions::new()
                .append(true)
                .open(&self.path)
                .and_then(|mut file| file.write_all(text.as_bytes())),
        };
        written.map_err(|why| PlaceError::new(&self.path, &why))
    }
}

/// A directory in which files will be written, each as a whole. It need not be there yet.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes sure that files can be written there, and makes nothing.
    ///
    /// # Errors
    ///
    /// It is a file, or neither it nor what is above it can be written to.
    pub fn check(path: &Path) -> Result<Self, PlaceError> {
        let above = path.ancestors().find(|above| above.exists());
        let above = above.unwrap_or(Path::new("."));
        if !above.is_dir() {
            let why = if above == path {
                "it is a file and no directory; name another place"
            } else {
                "what is above it is a file and no directory; name another place"
            };
            return Err(PlaceError::because(path, why));
        }
        match probe(above) {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
            }),
            // A directory is what it should be.
            Err(why) => Err(PlaceError::because(path, &reason(Path::new(""), &why))),
        }
    }

    /// Writes files, by name. Others that are there stay.
    ///
    /// # Errors
    ///
    /// One cannot be written; those before it are.
    pub fn write(&self, files: &[(String, String)]) -> Result<(), PlaceError> {
        fs::create_dir_all(&self.path).map_err(|why| PlaceError::new(&self.path, &why))?;
        for (name, text) in files {
            let path = self.path.join(name);
            replace(&self.path, &path, text).map_err(|why| PlaceError::new(&path, &why))?;
        }
        Ok(())
    }
}

/// Makes sure that paths of several results are not one and the same.
///
/// # Errors
///
/// Two are: the later result would take the place of the earlier one.
pub fn differ(paths: &[Option<&Path>]) -> Result<(), PlaceError> {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let paths: Vec<&Path> = paths.iter().copied().flatten().collect();
    for (n, path) in paths.iter().enumerate() {
        if paths[..n].iter().any(|other| real(other) == real(path)) && !is_special(path) {
            let why = "another result goes there too; name another place for one of them";
            return Err(PlaceError::because(path, why));
        }
    }
    Ok(())
}

fn is_stdout(found: &fs::Metadata) -> bool {
    let stdout = fs::metadata("/dev/stdout");
    stdout.is_ok_and(|stdout| (stdout.dev(), stdout.ino()) == (found.dev(), found.ino()))
}

fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// A new file in a directory, under a name that no reader looks for.
fn temporary(folder: &Path) -> io::Result<(PathBuf, File)> {
    let pid = std::process::id();
    for n in 0..1000 {
        let path = folder.join(format!(".netns-trace-{pid}-{n}"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
            Err(why) => return Err(why),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Whether a file can be made in a directory. None is left.
fn probe(folder: &Path) -> io::Result<()> {
    let (path, _) = temporary(folder)?;
    fs::remove_file(path)
}

fn replace(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    let (temporary, mut file) = temporary(folder)?;
    let written = (|| {
        if let Ok(old) = fs::metadata(path) {
            std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
            file.set_permissions(old.permissions())?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err()
        && let Err(why) = fs::remove_file(&temporary)
    {
        log::warn!("{temporary:?} stays behind: {why}");
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn left(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).expect("a folder").map(|entry| {
            let name = entry.expect("an entry").file_name();
            name.to_string_lossy().into_owned()
        });
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("page");
        fs::write(&path, "old").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("set");
        let link = folder.path().join("link");
        symlink("page", &link).expect("linked");
        let place = Place::check(&link).expect("writable");
        assert_eq!(fs::read_to_string(&path).expect("read"), "old");
        assert_eq!(left(folder.path()), ["link", "page"]);
        place.write("new").expect("written");
        assert_eq!(fs::read_to_string(&path).expect("read"), "new");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert_eq!(left(folder.path()), ["link", "page"]);
    }

    #[test]
    fn a_device_stays_one() {
        Place::check(Path::new("/dev/null"))
            .and_then(|place| place.write("text"))
            .expect("written");
        assert!(is_special(Path::new("/dev/null")));
    }

    #[test]
    fn what_cannot_be_written_is_told_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "").expect("written");
        for (name, why) in [
            ("", "it is a directory; name a file in it"),
            ("absent/page", "its directory does not exist; make it first"),
            ("absent/", "its directory does not exist; make it first"),
            (
                "file/page",
                "what is above it is a file and no directory; name another place",
            ),
        ] {
            let error = Place::check(&path(name)).expect_err(name).to_string();
            assert_eq!(error, format!("cannot write to {:?}: {why}", path(name)));
        }
        let error = Folder::check(&path("file"))
            .expect_err("a file")
            .to_string();
        assert!(
            error.ends_with("it is a file and no directory; name another place"),
            "{error}"
        );
        let error = Folder::check(&path("file/x"))
            .expect_err("a file")
            .to_string();
        assert!(error.contains("above it is a file"), "{error}");
        assert_eq!(left(folder.path()), ["file"]);
    }

    #[test]
    fn a_folder_is_made_when_it_is_needed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/b");
        let checked = Folder::check(&path).expect("writable");
        assert!(left(folder.path()).is_empty());
        let files = [
            ("x".to_owned(), "1".to_owned()),
            ("y".to_owned(), "2".to_owned()),
        ];
        checked.write(&files).expect("written");
        checked.write(&files[..1]).expect("written again");
        assert_eq!(left(&path), ["x", "y"]);
    }

    #[test]
    fn two_results_need_two_places() {
        let (a, b) = (Path::new("/tmp/a"), Path::new("/tmp/b"));
        assert!(differ(&[Some(a), Some(b), None]).is_ok());
        assert!(differ(&[Some(a), None, Some(a)]).is_err());
        let null = Path::new("/dev/null");
        assert!(differ(&[Some(null), Some(null)]).is_ok());
    }
}
