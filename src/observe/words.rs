//! How numbers are written: about three significant digits and a familiar unit.

use std::time::Duration;

const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// The unit for `count`. 1023.5 of a unit would be rounded to 1024, so the next unit is used.
fn unit(count: f64) -> usize {
    let mut unit = 0;
    while count / 1024_f64.powi(unit) >= 1023.5 && (unit as usize) + 1 < UNITS.len() {
        unit += 1;
    }
    unit as usize
}

fn in_unit(count: f64, unit: usize) -> String {
    let count = count / 1024_f64.powi(unit as i32);
    // 9.95 would be rounded to 10.0.
    let digits = usize::from(unit > 0 && count < 9.95);
    format!("{count:.digits$}")
}

/// `824 MiB`, `1.0 GiB`, `17 B`; `gap` stands between number and unit.
pub fn bytes(count: f64, gap: &str) -> String {
    let count = count.max(0.0);
    format!("{}{gap}{}", in_unit(count, unit(count)), UNITS[unit(count)])
}

/// `2.4/3.2 GiB`: a part and its whole, both in the unit of the whole, separated by `between`.
pub fn of(part: u64, between: &str, whole: u64) -> String {
    let unit = unit(whole as f64);
    format!("{}{between}{} {}", in_unit(part as f64, unit), in_unit(whole as f64, unit), UNITS[unit])
}

/// `18 204`: groups of three digits are separated.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `412`, `0.3`: a rate per second, without its unit.
pub fn rate(rate: f64) -> String {
    if rate > 0.0 && rate < 9.95 { format!("{rate:.1}") } else { format!("{:.0}", rate.max(0.0)) }
}

/// A duration in at most two units: `18ms`, `2.5s`, `44s`, `4m12s`, `7h41m`, `3d4h`.
pub fn span(time: Duration) -> String {
    let millis = time.as_millis();
    let seconds = time.as_secs();
    match seconds {
        0 if millis == 0 && !time.is_zero() => "<1ms".into(),
        0 if millis > 0 => format!("{millis}ms"),
        1..=9 if millis % 1000 >= 100 => format!("{}.{}s", seconds, millis % 1000 / 100),
        0..=59 => format!("{seconds}s"),
        60..=3599 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..=86_399 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A duration in whole seconds and units: `44s`, `49m31s`.
pub fn whole_span(time: Duration) -> String {
    span(Duration::from_secs(time.as_secs_f64().round() as u64))
}

/// `44 s`, `4m12s`: a duration in a sentence.
pub fn about(time: Duration) -> String {
    let seconds = time.as_secs_f64().round();
    if seconds < 120.0 { format!("{seconds} s") } else { whole_span(time) }
}

/// `99 %` of a ratio.
pub fn percent(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        let mib = 1024.0 * 1024.0;
        assert_eq!(bytes(0.0, " "), "0 B");
        assert_eq!(bytes(1023.9, " "), "1.0 KiB");
        assert_eq!(bytes(824.0 * mib, ""), "824MiB");
        assert_eq!(bytes(1024.0 * mib, " "), "1.0 GiB");
        assert_eq!(bytes(9.97 * mib, " "), "10 MiB");
        assert_eq!(of(2_576_980_378, "/", 3_435_973_837), "2.4/3.2 GiB");
        assert_eq!(of(0, " of ", 0), "0 of 0 B");
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_204_118), "1 204 118");
        assert_eq!(rate(0.0), "0");
        assert_eq!(rate(0.34), "0.3");
        assert_eq!(rate(410.4), "410");
        assert_eq!(percent(0.987), "99 %");
    }

    #[test]
    fn times_have_at_most_two_units() {
        for (seconds, text) in [
            (0.0, "0s"),
            (0.0004, "<1ms"),
            (0.018, "18ms"),
            (2.52, "2.5s"),
            (44.0, "44s"),
            (252.0, "4m12s"),
            (27_660.0, "7h41m"),
            (273_600.0, "3d4h"),
        ] {
            assert_eq!(span(Duration::from_secs_f64(seconds)), text);
        }
        assert_eq!(about(Duration::from_secs(90)), "90 s");
        assert_eq!(about(Duration::from_secs(252)), "4m12s");
        assert_eq!(whole_span(Duration::from_secs_f64(1.7)), "2s");
    }
}
