//! A browser without a screen as a witness of pages: what it paints.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Whether the system prefers light or dark pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

/// What a browser painted.
#[derive(Clone, Debug)]
pub struct Shot {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Red, green and blue of each pixel.
    pub pixels: Vec<[u8; 3]>,
}

impl Shot {
    /// How many different colours there are.
    #[must_use]
    pub fn colours(&self) -> usize {
        let mut colours = self.pixels.clone();
        colours.sort_unstable();
        colours.dedup();
        colours.len()
    }

    /// The share of the pixels that have a colour much like this one.
    #[must_use]
    pub fn share_of(&self, colour: [u8; 3]) -> f64 {
        let is_near = |pixel: &&[u8; 3]| {
            let mut both = pixel.iter().zip(&colour);
            both.all(|(a, b)| a.abs_diff(*b) < 12)
        };
        self.pixels.iter().filter(is_near).count() as f64 / self.pixels.len() as f64
    }

    /// How bright it is on average, from 0 to 255.
    #[must_use]
    pub fn brightness(&self) -> f64 {
        let sum: u64 = self.pixels.iter().flatten().map(|n| u64::from(*n)).sum();
        sum as f64 / (self.pixels.len() * 3) as f64
    }
}

/// The browser, if the test may run without it: then it says that it is skipped.
///
/// # Panics
///
/// Under CI (`CI=true`) when it is missing: a skipped test proves nothing.
#[must_use]
pub fn find(test: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("chromium"))
        .find(|file| file.is_file());
    if found.is_none() {
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!ci, "{test}: chromium is missing, and CI skips nothing");
        eprintln!("skipped {test}: chromium is missing");
    }
    found
}

/// Paints a file in a window of this size.
///
/// # Panics
///
/// If the browser fails, or leaves no picture that can be read.
#[must_use]
pub fn shoot(browser: &Path, page: &Path, size: (u32, u32), scheme: Scheme) -> Shot {
    let folder = tempfile::tempdir().expect("a folder");
    let picture = folder.path().join("shot.png");
    let preferred = match scheme {
        Scheme::Dark => 0,
        Scheme::Light => 1,
    };
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ])
        .arg(format!("--user-data-dir={}", folder.path().display()))
        .arg(format!("--window-size={},{}", size.0, size.1))
        .arg(format!("--blink-settings=preferredColorScheme={preferred}"))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .output()
        .expect("the browser starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    let file = File::open(&picture).unwrap_or_else(|why| panic!("no picture: {why}: {said}"));
    let mut decoder = png::Decoder::new(BufReader::new(file));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().expect("a PNG");
    let mut bytes = vec![0; reader.output_buffer_size().expect("a size")];
    let info = reader.next_frame(&mut bytes).expect("a whole PNG");
    let samples = info.color_type.samples();
    assert!(samples >= 3, "it has colours");
    bytes.truncate(info.buffer_size());
    let pixels = bytes.chunks_exact(samples);
    Shot {
        width: info.width,
        height: info.height,
        pixels: pixels.map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
    }
}
