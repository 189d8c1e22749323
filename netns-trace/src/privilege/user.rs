//! Another user than the one who started us.

use std::{env, ffi::CString, io, panic, thread};

use nix::unistd::{Gid, Uid, getgrouplist};

/// Whom to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    name: String,
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    /// Nobody has named it.
    behind_sudo: bool,
}

/// Why that cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserError {
    /// There is none of that name.
    #[error("there is no user {0:?} on this machine (-Z takes a name that `getent passwd` lists)")]
    Unknown(String),
    /// Only root may.
    #[error("only root can become another user: leave -Z {0:?} out, or run as root")]
    NotRoot(String),
    /// The kernel, or what knows the users, fails.
    #[error("cannot become user {name:?}: {source}")]
    Failed {
        /// Its name.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl User {
    /// The user of a name, as far as it can be become.
    ///
    /// # Errors
    ///
    /// There is none, or we are not root.
    pub fn find(name: &str) -> Result<Self, UserError> {
        let failed = |errno: nix::errno::Errno| UserError::Failed {
            name: name.to_owned(),
            source: errno.into(),
        };
        let found = nix::unistd::User::from_name(name).map_err(failed)?;
        let found = found.ok_or_else(|| UserError::Unknown(name.to_owned()))?;
        let own = Uid::effective();
        if !own.is_root() && own != found.uid {
            return Err(UserError::NotRoot(name.to_owned()));
        }
        Self::of(found, false)
    }

    fn of(found: nix::unistd::User, behind_sudo: bool) -> Result<Self, UserError> {
        let failed = |source: io::Error| UserError::Failed {
            name: found.name.clone(),
            source,
        };
        let name = CString::new(found.name.as_str()).map_err(|why| failed(why.into()))?;
        let groups = getgrouplist(&name, found.gid).map_err(|errno| failed(errno.into()))?;
        Ok(Self {
            name: found.name,
            uid: found.uid,
            gid: found.gid,
            groups,
            behind_sudo,
        })
    }

    /// The user who has started us through sudo(8), whose files ours are then; none where we are not root, or where
    /// root has.
    ///
    /// # Errors
    ///
    /// The machine's users cannot be asked for.
    pub fn behind_sudo() -> Result<Option<Self>, UserError> {
        let Some(uid) = env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok()) else {
            return Ok(None);
        };
        let uid = Uid::from_raw(uid);
        if !Uid::effective().is_root() || uid.is_root() {
            return Ok(None);
        }
        let found = nix::unistd::User::from_uid(uid).map_err(|errno| UserError::Failed {
            name: uid.to_string(),
            source: errno.into(),
        })?;
        found.map(|user| Self::of(user, true)).transpose()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As whom files are made, for the head of an error; `otherwise` is how another one can be named, where that can be.
    #[must_use]
    pub fn as_whom(&self, otherwise: Option<&str>) -> String {
        let name = &self.name;
        let otherwise = otherwise.map(|way| format!(" ({way})")).unwrap_or_default();
        if self.behind_sudo {
            format!("as user {name}, who has started it through sudo{otherwise}")
        } else {
            format!("as user {name} (-Z)")
        }
    }

    /// Does some work with the rights of this user, as to files and all else, on a thread of its own.
    ///
    /// # Errors
    ///
    /// The kernel refuses; then the work is not done.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, UserError> {
        thread::scope(|scope| {
            let thread = thread::Builder::new()
                .name("user".to_owned())
                .spawn_scoped(scope, || self.become_it().map(|()| work()));
            let failed = |source| UserError::Failed {
                name: self.name.clone(),
                source,
            };
            match thread.map_err(failed)?.join() {
                Ok(done) => done.map_err(failed),
                Err(cause) => panic::resume_unwind(cause),
            }
        })
    }

    /// The same with the rights of a user, if there is one, else with our own, right here.
    ///
    /// # Errors
    ///
    /// As [`User::run`].
    pub fn run_as<T: Send>(
        user: Option<&Self>,
        work: impl FnOnce() -> T + Send,
    ) -> Result<T, UserError> {
        match user {
            Some(user) => user.run(work),
            None => Ok(work()),
        }
    }

    /// Makes the calling thread this user's. The C library's functions would do it to all threads, and those that
    /// still need their rights would lose them.
    pub(super) fn become_it(&self) -> io::Result<()> {
        if Uid::effective() == self.uid && !self.uid.is_root() {
            return Ok(());
        }
        let groups: Vec<libc::gid_t> = self.groups.iter().map(|group| group.as_raw()).collect();
        let (uid, gid) = (self.uid.as_raw(), self.gid.as_raw());
        let checked = |result: libc::c_long| match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        };
        // SAFETY: the calls take numbers, and a list of the length that is told, which lives over the call.
        unsafe {
            checked(libc::syscall(
                libc::SYS_setgroups,
                groups.len(),
                groups.as_ptr(),
            ))?;
            checked(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
            checked(libc::syscall(libc::SYS_setresuid, uid, uid, uid))
        }
    }
}
