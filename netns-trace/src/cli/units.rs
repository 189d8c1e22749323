//! Sizes and times, as users write them.

use std::time::Duration;

/// Bytes: a number with an optional `K`, `M` or `G` (powers of 1024; `KiB`, `kB` and the like are
/// the same).
///
/// # Errors
///
/// Says what is wrong with the text.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(format!("{text:?} is not a size such as 512K, 16M or 1G")),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| format!("{text:?} is not a size such as 512K, 16M or 1G"))
}

/// One of so many: `1/N`.
///
/// # Errors
///
/// Says what is wrong with the text.
pub(super) fn one_of(text: &str) -> Result<u32, String> {
    let number = text
        .strip_prefix("1/")
        .and_then(|number| number.parse().ok());
    number
        .filter(|number| *number > 0)
        .ok_or_else(|| format!("{text:?} is not one of many packets, such as 1/100"))
}

/// The size of a file, as tcpdump takes it: in millions of bytes where no unit is given.
///
/// # Errors
///
/// Says what is wrong with the text.
pub(super) fn file_size(text: &str) -> Result<u64, String> {
    let size = match text.parse::<u64>() {
        Ok(millions) => millions.checked_mul(1_000_000),
        Err(_) => bytes(text).ok(),
    };
    size.filter(|size| *size > 0).ok_or_else(|| {
        format!(
            "{text:?} is no size of a file: a number of millions of bytes, or one with K, M or G"
        )
    })
}

/// Smallest and largest ring: a page, and what fits the 32 bits of a map's size.
const RING: std::ops::RangeInclusive<u64> = 4 << 10..=2 << 30;

/// The size of a ring, as [`bytes`]: a power of two, as the kernel wants it.
///
/// # Errors
///
/// Says what is wrong with the text.
pub(super) fn ring(text: &str) -> Result<u32, String> {
    power_of_two(bytes(text)?)
}

/// The size of a ring in KiB, as tcpdump takes it.
///
/// # Errors
///
/// Says what is wrong with the text.
pub(super) fn ring_kib(text: &str) -> Result<u32, String> {
    let number: u64 = text
        .parse()
        .map_err(|_| format!("{text:?} is not a number of KiB"))?;
    power_of_two(number.saturating_mul(1024))
}

fn power_of_two(bytes: u64) -> Result<u32, String> {
    if RING.contains(&bytes) {
        Ok(bytes.next_power_of_two() as u32)
    } else {
        Err("a buffer has 4K to 2G bytes".to_owned())
    }
}

/// A time: a number with `ms`, `s`, `m` or `h`; seconds where no unit is given.
///
/// # Errors
///
/// Says what is wrong with the text.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is not a time such as 500ms, 5s, 2m or 1h");
    let unit = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let seconds = match unit.trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(bad()),
    };
    let number: f64 = number.parse().map_err(|_| bad())?;
    let duration = Duration::try_from_secs_f64(number * seconds).map_err(|_| bad())?;
    if duration.is_zero() {
        return Err(format!("{text:?} is no time at all"));
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("512K"), Ok(512 << 10));
        assert_eq!(bytes("16MiB"), Ok(16 << 20));
        assert_eq!(bytes("1g"), Ok(1 << 30));
        for bad in [
            "",
            "M",
            "-1",
            "1T",
            "99999999999999999999",
            "18446744073709551615K",
        ] {
            assert!(bytes(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_of_files() {
        assert_eq!(file_size("1"), Ok(1_000_000));
        assert_eq!(file_size("64K"), Ok(64 << 10));
        assert_eq!(file_size("2GiB"), Ok(2 << 30));
        for bad in [
            "",
            "0",
            "0K",
            "-1",
            "1T",
            "99999999999999999999",
            "9999999999999999",
        ] {
            assert!(file_size(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rings() {
        assert_eq!(ring("4096"), Ok(4096));
        assert_eq!(ring("5K"), Ok(8192));
        assert_eq!(ring("2G"), Ok(1 << 31));
        assert_eq!(ring_kib("4"), Ok(4096));
        assert_eq!(ring_kib("3000"), Ok(4 << 20));
        for bad in ["0", "4095", "2147483649", "8G", "abc", "-1"] {
            assert!(ring(bad).is_err(), "{bad:?}");
        }
        for bad in ["0", "3", "1M", "-1", "2097153", "18446744073709551615"] {
            assert!(ring_kib(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        for bad in ["", "s", "0s", "-1s", "1d", "1.2.3s", "1e400h"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }
}
