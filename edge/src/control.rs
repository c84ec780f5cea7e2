//! `control.sock`: the API for who may open the data folder, with the owner's rights and without a key. Who opens it holds a lock
//! on its name, so whatever lies there from before is stale.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::site::Site;

/// The socket's name in the data folder.
pub const NAME: &str = "control.sock";

/// A mark on requests that came over the socket or from this process. Requests from a network can never carry it: it is no
/// header, but something that only the code which accepted the connection can attach.
#[derive(Clone, Copy, Debug)]
pub struct Local;

/// A socket's address holds 108 bytes, the last of them zero.
const PATH_MAX: usize = 107;

/// The owner has few hands.
const CONNECTIONS_MAX: usize = 64;

/// After an error of accepting, such as too many open files.
const BREATH: Duration = Duration::from_millis(100);

/// Speaks to whoever listens on the socket of this name in the folder.
pub async fn connect(folder: &Path, name: &str) -> io::Result<UnixStream> {
    let (path, _folder) = short(folder, Path::new(name))?;
    UnixStream::connect(path).await
}

/// A path to `name` in `folder` that fits into a socket's address, and what keeps it good.
fn short(folder: &Path, name: &Path) -> io::Result<(PathBuf, Option<File>)> {
    let path = folder.join(name);
    if path.as_os_str().len() <= PATH_MAX {
        return Ok((path, None));
    }
    // Linux has a short name for every open folder.
    let opened = File::open(folder)?;
    let short = Path::new("/proc/self/fd").join(opened.as_raw_fd().to_string());
    if !short.is_dir() {
        let length = path.as_os_str().len();
        let why = format!(
            "the path {} has {length} bytes, a socket's at most {PATH_MAX}; use a data folder with a shorter path",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok((short.join(name), Some(opened)))
}

/// The open socket; its file goes with it.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Opens a socket of this name, in place of a stale one. The caller has the sole right to the name. Nobody else can connect at any moment: it
    /// is made in a folder that only its owner enters, and moved once its own mode is right.
    pub fn open(folder: &Path, name: &str) -> io::Result<Self> {
        let path = folder.join(name);
        refuse_other_file(&path)?;
        let room = folder.join(format!("{name}.new"));
        let _ = fs::remove_dir_all(&room);
        DirBuilder::new().mode(0o700).create(&room)?;
        let opened = open_in(&room, &path);
        let _ = fs::remove_dir_all(&room);
        Ok(Self {
            listener: opened?,
            path,
        })
    }

    /// Answers until the program stops.
    pub async fn serve(self, site: Arc<Site>, tasks: TaskTracker, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    debug!(%error, "cannot accept on the control socket");
                    tokio::time::sleep(BREATH).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                warn!("too many connections to the control socket");
                continue;
            };
            let site = Arc::clone(&site);
            tasks.spawn(async move {
                if let Err(error) = site.serve(stream, Vec::new(), Local).await {
                    debug!(%error, "a connection to the control socket broke off");
                }
                drop(place);
            });
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Something that is no socket was put there by someone, who may miss it.
fn refuse_other_file(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            let why = format!("{} is in the way and is no socket; move it away", path.display());
            Err(io::Error::new(io::ErrorKind::AlreadyExists, why))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn open_in(room: &Path, path: &Path) -> io::Result<UnixListener> {
    let (short, _room) = short(room, Path::new("s"))?;
    let listener = UnixListener::bind(&short)?;
    fs::set_permissions(&short, Permissions::from_mode(0o600))?;
    fs::rename(room.join("s"), path)?;
    Ok(listener)
}

/// The names of all sockets in the folder, ours and those of programs that came later; some may be stale.
pub fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("control") && name.strip_suffix(".sock").is_some())
        .collect();
    names.sort_by_key(|name| (name != NAME, name.clone()));
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[tokio::test]
    async fn the_socket_is_its_owners_alone_and_goes_with_the_program() {
        let folder = folder();
        let control = Control::open(folder.path(), NAME).unwrap();
        let path = folder.path().join(NAME);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        connect(folder.path(), NAME).await.unwrap();
        drop(control);
        assert!(!path.exists());
        let error = connect(folder.path(), NAME).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn several_programs_in_one_folder_have_a_socket_each() {
        let folder = folder();
        let _later = Control::open(folder.path(), "control-12.sock").unwrap();
        let _first = Control::open(folder.path(), NAME).unwrap();
        fs::write(folder.path().join("other.sock"), "").unwrap();
        assert_eq!(names(folder.path()).unwrap(), [NAME, "control-12.sock"]);
        assert_eq!(names(&folder.path().join("none")).unwrap(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_socket_that_a_killed_program_left_is_replaced() {
        let folder = folder();
        let stale = std::os::unix::net::UnixListener::bind(folder.path().join(NAME)).unwrap();
        drop(stale);
        let error = connect(folder.path(), NAME).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let _control = Control::open(folder.path(), NAME).unwrap();
        connect(folder.path(), NAME).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let folder = folder();
        fs::write(folder.path().join(NAME), "mine").unwrap();
        let error = Control::open(folder.path(), NAME).unwrap_err();
        assert!(error.to_string().contains("is no socket"), "{error}");
        assert_eq!(fs::read_to_string(folder.path().join(NAME)).unwrap(), "mine");
    }

    #[tokio::test]
    async fn a_folder_deeper_than_a_sockets_address_works_too() {
        let folder = folder();
        let deep = folder.path().join("d".repeat(120)).join("e".repeat(120));
        fs::create_dir_all(&deep).unwrap();
        let _control = Control::open(&deep, NAME).unwrap();
        connect(&deep, NAME).await.unwrap();
    }
}
