//! Times and counts for people.

/// A time with the unit that suits it and three digits: `840 ns`, `1.24 µs`, `35.1 ms`.
#[must_use]
pub fn time(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "µs"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    let digits = match value {
        _ if unit == "ns" => 0,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// A round time, without digits that say nothing: `10 ms`.
pub(super) fn round_time(ns: f64) -> String {
    let text = time(ns);
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            let number = number.trim_end_matches('0').trim_end_matches('.');
            format!("{number} {unit}")
        }
        _ => text,
    }
}

/// A count with thin gaps between thousands: `1 234 567`.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        let texts = [
            (0.0, "0 ns"),
            (64.0, "64 ns"),
            (999.0, "999 ns"),
            (1_000.0, "1.00 µs"),
            (9_996.0, "10.0 µs"),
            (81_230.0, "81.2 µs"),
            (123_456.0, "123 µs"),
            (35_100_000.0, "35.1 ms"),
            (2_500_000_000.0, "2.50 s"),
        ];
        for (ns, text) in texts {
            assert_eq!(time(ns), text, "{ns}");
        }
    }

    #[test]
    fn round_times_are_short() {
        for (ns, text) in [
            (10e6, "10 ms"),
            (1.5e3, "1.5 µs"),
            (100.0, "100 ns"),
            (20e9, "20 s"),
        ] {
            assert_eq!(round_time(ns), text);
        }
    }

    #[test]
    fn counts_have_gaps() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1 000"),
            (1_234_567, "1 234 567"),
        ] {
            assert_eq!(count(number), text);
        }
    }
}
