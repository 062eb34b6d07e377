//! Moments as people type them.

use jiff::civil::{DateTime, Time};
use jiff::{Span, Timestamp, Zoned};

/// The moment that a text means, as journalctl(1) reads it: `2026-11-21 20:15`, `20:15`, `yesterday`, `10min ago`, `-1h30m`,
/// `@1700000000`, or the time as a log has it. Where no time zone is given it is that of `now`.
pub(in crate::cmd) fn moment(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let text = text.trim();
    let zone = now.time_zone();
    let at = |time: DateTime| time.to_zoned(zone.clone()).map(|zoned| zoned.timestamp());
    let day = |days: i64| now.date().checked_add(Span::new().days(days)).and_then(|date| at(date.into()));
    let meant = match text {
        "now" => return Ok(now.timestamp()),
        "today" => day(0),
        "yesterday" => day(-1),
        "tomorrow" => day(1),
        _ if text.starts_with('@') => return seconds(&text[1..]).ok_or_else(|| unknown(text)),
        _ if let Ok(moment) = text.parse::<Timestamp>() => return Ok(moment),
        // Without a time it is midnight.
        _ if let Ok(time) = text.parse::<DateTime>() => at(time),
        _ if let Ok(time) = text.parse::<Time>() => at(now.date().to_datetime(time)),
        _ if let Some(span) = span(text) => now.checked_add(span).map(|zoned| zoned.timestamp()),
        _ => return Err(unknown(text)),
    };
    meant.map_err(|error| format!("{text:?}: {error}"))
}

/// How far from now: `10min ago`, `-10min`, `+1h`.
fn span(text: &str) -> Option<Span> {
    let is_signed = text.starts_with(['-', '+']) || text.ends_with("ago");
    // Without either it would be a moment to come, which nobody means.
    text.parse().ok().filter(|_| is_signed)
}

fn seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = fraction.len() <= 9 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let nanoseconds: i32 = is_number.then(|| format!("{fraction:0<9}").parse().ok()).flatten()?;
    Timestamp::new(whole.parse().ok()?, nanoseconds).ok()
}

fn unknown(text: &str) -> String {
    format!(
        "{text:?} is no moment; there are `2026-11-21 20:15`, `20:15`, `yesterday`, `10min ago`, `@SECONDS`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Zoned {
        "2026-11-21T20:15:30.5+02:00[+02:00]".parse().unwrap()
    }

    fn means(text: &str, moment: &str) {
        let found = super::moment(text, &now()).map(|moment| moment.to_string());
        assert_eq!(found.as_deref(), Ok(moment), "{text}");
    }

    #[test]
    fn moments_are_read_as_journalctl_reads_them() {
        means("now", "2026-11-21T18:15:30.5Z");
        means("today", "2026-11-20T22:00:00Z");
        means("yesterday", "2026-11-19T22:00:00Z");
        means("2026-11-21", "2026-11-20T22:00:00Z");
        means("2026-11-21 20:15", "2026-11-21T18:15:00Z");
        means(" 2026-11-21 20:15:01.25 ", "2026-11-21T18:15:01.25Z");
        means("20:15", "2026-11-21T18:15:00Z");
        means("20:15:10", "2026-11-21T18:15:10Z");
        means("2026-11-21T20:15:00.123456Z", "2026-11-21T20:15:00.123456Z");
        means("2026-11-21T20:15:00+01:00", "2026-11-21T19:15:00Z");
        for ago in ["10min ago", "10 min ago", "10 minutes ago", "-10min", "-10m"] {
            means(ago, "2026-11-21T18:05:30.5Z");
        }
        means("1h 30min ago", "2026-11-21T16:45:30.5Z");
        means("-1d", "2026-11-20T18:15:30.5Z");
        means("2 weeks ago", "2026-11-07T18:15:30.5Z");
        means("@1700000000", "2023-11-14T22:13:20Z");
        means("@1700000000.25", "2023-11-14T22:13:20.25Z");
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        let texts = [
            "",
            "soon",
            "10min",
            "-",
            "@",
            "@x",
            "@1.x",
            "25:00",
            "2026-13-01",
            "-99999999999999 years",
            "ago",
        ];
        for text in texts {
            let error = super::moment(text, &now()).unwrap_err();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
