//! The terminal while a view has it, and giving it back however that ends.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Stdout},
    os::fd::{AsFd, BorrowedFd},
    panic,
    sync::{Mutex, Once, PoisonError},
    thread::{self, ThreadId},
};

use anyhow::{Context as _, Result};
use ratatui::{
    Frame, Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor, queue,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};

use super::{Usage, aside::Aside};

/// What has to be undone, while a view has the terminal.
struct Taken {
    by: ThreadId,
    /// Where stderr goes meanwhile, if it would go to the terminal.
    aside: Option<Aside>,
}

static TAKEN: Mutex<Option<Taken>> = Mutex::new(None);
static HOOK: Once = Once::new();

/// The terminal, taken for a view. It is given back when this is dropped, and by a panic of the
/// thread that took it before its message is printed.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    /// Where keys come from, if not from stdin.
    keyboard: Option<File>,
}

impl Screen {
    /// Refuses where there is no terminal to draw on, or none to read keys from.
    ///
    /// # Errors
    ///
    /// A [`Usage`] error that says what to do instead.
    pub fn check() -> Result<()> {
        let refuse = |why: &str| {
            Err(Usage(format!(
                "--live needs a terminal: {why} (leave it out to print the report)"
            ))
            .into())
        };
        if !io::stdout().is_terminal() {
            return refuse("stdout is none");
        }
        if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
            return refuse("this one cannot be drawn on (TERM is dumb)");
        }
        if !io::stdin().is_terminal() && File::open("/dev/tty").is_err() {
            return refuse("there is none to read keys from");
        }
        Ok(())
    }

    /// Takes the terminal: the shell's screen is put aside, keys come as they are pressed.
    ///
    /// # Errors
    ///
    /// The terminal refuses; then it is as it was.
    pub fn take() -> Result<Self> {
        HOOK.call_once(|| {
            let previous = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                let own = |taken: &mut Taken| taken.by == thread::current().id();
                if TAKEN
                    .try_lock()
                    .is_ok_and(|mut taken| taken.as_mut().is_some_and(own))
                {
                    give_back();
                }
                previous(info);
            }));
        });
        let keyboard = if io::stdin().is_terminal() {
            None
        } else {
            Some(File::open("/dev/tty").context("cannot open /dev/tty")?)
        };
        enable_raw_mode().context("cannot set the terminal up")?;
        *lock() = Some(Taken {
            by: thread::current().id(),
            aside: None,
        });
        let result = Self::set_up(keyboard);
        if result.is_err() {
            give_back();
        }
        result
    }

    fn set_up(keyboard: Option<File>) -> Result<Self> {
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()))
            .context("cannot set the terminal up")?;
        let mut codes = Vec::new();
        queue!(codes, EnterAlternateScreen, cursor::Hide).context("cannot set the terminal up")?;
        write_all(io::stdout().as_fd(), &codes).context("cannot write to the terminal")?;
        if io::stderr().is_terminal() {
            let aside = Aside::start()?;
            if let Some(taken) = lock().as_mut() {
                taken.aside = Some(aside);
            }
        }
        let mut screen = Self { terminal, keyboard };
        screen
            .terminal
            .clear()
            .context("cannot write to the terminal")?;
        Ok(screen)
    }

    /// Draws a frame.
    ///
    /// # Errors
    ///
    /// The terminal cannot be written.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Result<()> {
        self.terminal
            .draw(draw)
            .context("cannot write to the terminal")?;
        Ok(())
    }

    /// The bytes that keys have sent, once there are some; none where the terminal is gone.
    ///
    /// Read here and not by crossterm: that waits for edges, and so overlooks a key that is pressed while the
    /// terminal's size changes; and it reads on and on from a terminal that is gone.
    ///
    /// # Errors
    ///
    /// The terminal cannot be read.
    pub fn read_keys(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; 1024];
        let len = match nix::unistd::read(self.as_fd(), &mut bytes) {
            Ok(len) => len,
            // What a terminal says that has been hung up.
            Err(nix::errno::Errno::EIO) => 0,
            Err(errno) => return Err(errno).context("cannot read the terminal"),
        };
        bytes.truncate(len);
        Ok(bytes)
    }

    /// Whether the terminal has another size than when it was drawn last.
    #[must_use]
    pub fn has_other_size(&mut self) -> bool {
        let drawn = self.terminal.get_frame().area().as_size();
        self.terminal.size().is_ok_and(|now| now != drawn)
    }

    /// The last line that was said on stderr since the last call, where that is the terminal too.
    /// It is said there when the terminal is given back.
    pub fn heard(&self) -> Option<String> {
        lock().as_mut()?.aside.as_mut()?.heard()
    }

    /// Gives the terminal back.
    pub fn give_back(self) {
        drop(self);
    }
}

/// The keyboard, to wait for it.
impl AsFd for Screen {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.keyboard {
            Some(keyboard) => keyboard.as_fd(),
            // SAFETY: stdin is not closed as long as the process runs.
            None => unsafe { BorrowedFd::borrow_raw(libc::STDIN_FILENO) },
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<Taken>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Undoes everything, once. A terminal that is gone cannot be restored: errors are of no use.
fn give_back() {
    let Some(taken) = lock().take() else {
        return;
    };
    let mut codes = Vec::new();
    // Past what stdout may have locked: this also runs while the process panics.
    if queue!(codes, LeaveAlternateScreen, cursor::Show).is_ok() {
        drop(write_all(io::stdout().as_fd(), &codes));
    }
    drop(disable_raw_mode());
    if let Some(aside) = taken.aside {
        aside.end();
    }
}

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match nix::unistd::write(fd, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
