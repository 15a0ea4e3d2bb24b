//! IMAP's two forms of a date (RFC 3501 section 9: `date`, `date-time`), over Unix seconds.

use mail_parser::DateTime;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `04-Mar-2024 05:06:07 +0000`: always in UTC, as Gmail and Dovecot tell it.
pub(super) fn write_date_time(seconds: i64) -> String {
    // Years of more than four digits have no form.
    let date = DateTime::from_timestamp(seconds.clamp(0, 253_402_300_799));
    let month = MONTHS.get(usize::from(date.month).saturating_sub(1)).unwrap_or(&"Jan");
    format!("{:02}-{month}-{:04} {:02}:{:02}:{:02} +0000", date.day, date.year, date.hour, date.minute, date.second)
}

/// ` 4-Mar-2024 05:06:07 +0100`
pub(super) fn read_date_time(octets: &[u8]) -> Option<i64> {
    let mut words = std::str::from_utf8(octets).ok()?.split_ascii_whitespace();
    let (date, time, zone) = (words.next()?, words.next()?, words.next()?);
    let day = read_day(date.as_bytes())?;
    let mut parts = time.split(':').map(number);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let (sign, digits) = zone.split_at_checked(1)?;
    let zone = number(digits).filter(|_| digits.len() == 4)?;
    let east = (zone / 100) * 3600 + (zone % 100) * 60;
    let east = match sign {
        "+" => east,
        "-" => -east,
        _ => return None,
    };
    let fits = hour < 24 && minute < 60 && second <= 60 && parts.next().is_none() && words.next().is_none();
    fits.then_some(day * 86_400 + hour * 3600 + minute * 60 + second - east)
}

/// `4-Mar-2024`, as days since 1970.
pub(super) fn read_day(octets: &[u8]) -> Option<i64> {
    let mut parts = std::str::from_utf8(octets).ok()?.splitn(3, '-');
    let (day, month, year) = (number(parts.next()?)?, parts.next()?, number(parts.next()?)?);
    let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))?;
    let date = DateTime {
        year: u16::try_from(year).ok().filter(|year| (1900..=9999).contains(year))?,
        month: u8::try_from(month + 1).ok()?,
        day: u8::try_from(day).ok()?,
        hour: 0,
        minute: 0,
        second: 0,
        tz_before_gmt: false,
        tz_hour: 0,
        tz_minute: 0,
    };
    date.is_valid().then(|| date.to_timestamp().div_euclid(86_400))
}

fn number(text: &str) -> Option<i64> {
    let digits = (1..=4).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        assert_eq!(read_date_time(b" 4-Mar-2024 05:06:07 +0100"), Some(1_709_525_167));
        assert_eq!(write_date_time(1_709_525_167), "04-Mar-2024 04:06:07 +0000");
        assert_eq!(read_date_time(b"04-Mar-2024 04:06:07 -0030"), Some(1_709_525_167 + 1800));
        assert_eq!(read_day(b"4-mar-2024"), Some(1_709_525_167 / 86_400));
        for wrong in ["", "4-Mar", "31-Feb-2024", "x-Mar-2024", "4-Mar-2024 1:2:3", "4-Mar-2024 24:00:00 +0000"] {
            assert_eq!(read_date_time(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
