//! Times as they are shown: in the time zone of the session, as its offset was at the end of the span.

const DAY: i64 = 86_400;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Shows times, which are seconds since 1970, in a time zone.
#[derive(Clone, Copy, Default)]
pub struct Zone {
    /// Seconds east of UTC.
    pub offset: i64,
}

/// A day of the calendar.
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Zone {
    /// `2026-11-30 15:04:05`.
    pub fn moment(self, at: f64) -> String {
        let (date, second) = self.local(at);
        let Date { year, month, day } = date;
        format!("{year:04}-{month:02}-{day:02} {}:{:02}", clock(second), second % 60)
    }

    /// `2026-11-30 15:04`.
    pub fn minute(self, at: f64) -> String {
        let moment = self.moment(at);
        moment[..moment.len() - 3].to_owned()
    }

    /// The label of a tick: the day at midnight, else the time of day.
    pub fn label(self, at: f64) -> String {
        let (date, second) = self.local(at);
        if second > 0 {
            return clock(second);
        }
        let month = usize::try_from(date.month - 1).unwrap_or_default();
        format!("{} {}", date.day, MONTHS[month % 12])
    }

    /// The offset as it is written behind a time: `+01:00`.
    pub fn name(self) -> String {
        let sign = if self.offset < 0 { '-' } else { '+' };
        format!("UTC{sign}{}", clock(self.offset.abs()))
    }

    fn local(self, at: f64) -> (Date, i64) {
        let local = (at.floor() as i64).saturating_add(self.offset);
        (date(local.div_euclid(DAY)), local.rem_euclid(DAY))
    }
}

fn clock(seconds: i64) -> String {
    format!("{:02}:{:02}", seconds / 3600, seconds % 3600 / 60)
}

/// The date of a day since 1970-01-01, in years that begin in March, so that the leap day is the last.
fn date(days: i64) -> Date {
    // 400 years have 146,097 days; 719,468 days lie between 0000-03-01 and 1970-01-01.
    let days = days.saturating_add(719_468);
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    // Five months, beginning with March and August, have 153 days.
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    Date { year: era * 400 + year + i64::from(month <= 2), month, day }
}
