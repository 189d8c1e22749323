//! Names that a slip of the keyboard could have turned into another.

/// Most names that are compared, and most that are told.
const MOST_COMPARED: usize = 5_000;
const MOST_TOLD: usize = 3;
/// Longest name that is compared, in letters.
const MOST_LETTERS: usize = 255;

/// At most three of the names, the nearest first; each is compared by its first half, and told by its
/// second.
pub(super) fn near<'a, T>(name: &str, names: impl Iterator<Item = (&'a str, T)>) -> Vec<T> {
    let most = if name.chars().count() > 3 { 2 } else { 1 };
    let mut close: Vec<(usize, &str, T)> = names
        .take(MOST_COMPARED)
        .map(|(other, told)| (distance(name, other), other, told))
        .filter(|&(distance, ..)| distance <= most)
        .collect();
    close.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    close.truncate(MOST_TOLD);
    close.into_iter().map(|(.., told)| told).collect()
}

/// How many letters have to be added, removed, changed or swapped with their neighbour (optimal
/// string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > 2 || a.len().max(b.len()) > MOST_LETTERS {
        return usize::MAX;
    }
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_keyboard_are_near() {
        let names = ["web", "lab-a", "lab-router"];
        let near = |name: &str| near(name, names.iter().map(|n| (*n, *n))).join(" ");
        assert_eq!(near("web"), "web");
        assert_eq!(near("wbe"), "web");
        assert_eq!(near("lab-b"), "lab-a");
        assert_eq!(near("lab_ruoter"), "lab-router");
        assert_eq!(near("db"), "");
        assert_eq!(near(""), "");
    }

    #[test]
    fn distances_are_those_of_the_textbook() {
        for (a, b, steps) in [
            ("", "", 0),
            ("a", "", 1),
            ("ab", "ba", 1),
            ("web", "wep", 1),
            ("kitten", "mittens", 2),
            ("ä", "a", 1),
            ("abc", "abcdef", usize::MAX),
        ] {
            assert_eq!(distance(a, b), steps, "{a} {b}");
            assert_eq!(distance(b, a), steps, "{b} {a}");
        }
    }

    #[test]
    fn thousands_of_long_names_take_no_time() {
        let long = "x".repeat(10_000);
        let names = (0..100_000).map(|_| (long.as_str(), ()));
        assert!(near(&long, names).is_empty());
    }
}
