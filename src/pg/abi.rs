//! Checks whether this library can run in this server. PostgreSQL itself refuses libraries that were built for another
//! major version, but some minor releases, too, have changed structs that extensions share with the server.

use super::guc;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode, pg_sys};

/// The minor releases that changed the ABI, in the format of `server_version_num`.
const CHANGES: [u32; 4] = [15_0020, 16_0016, 17_0012, 18_0007];

/// Raises an error if the library was built for a minor release whose ABI differs from this server's.
pub fn check() {
    let built = pg_sys::PG_VERSION_NUM;
    let Some(running) = guc::value("server_version_num").and_then(|text| text.parse().ok()) else { return };
    if let Some(change) = change_between(built, running) {
        let (built, running, change) = (name(built), name(running), name(change));
        ErrorReport::new(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            format!("pg_errand was built for PostgreSQL {built} and cannot run in PostgreSQL {running}"),
            "",
        )
        .set_detail(format!("PostgreSQL {change} changed the ABI."))
        .set_hint("Rebuild pg_errand with the pg_config of this server and install it again.")
        .report(PgLogLevel::ERROR);
    }
}

/// The release that changed the ABI between two releases of the same major version, if there is one.
fn change_between(built: u32, running: u32) -> Option<u32> {
    let is_same_major = built / 10_000 == running / 10_000;
    let (older, newer) = (built.min(running), built.max(running));
    CHANGES.into_iter().find(|change| is_same_major && older < *change && *change <= newer)
}

/// The name of a release.
fn name(version: u32) -> String {
    format!("{}.{}", version / 10_000, version % 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_runs_on_the_same_side_of_a_change_only() {
        for change in CHANGES {
            let major = change / 10_000 * 10_000;
            assert_eq!(change_between(change - 1, change), Some(change));
            assert_eq!(change_between(change, change - 1), Some(change));
            assert_eq!(change_between(major, change + 3), Some(change));
            assert_eq!(change_between(major, change - 1), None);
            assert_eq!(change_between(change, change + 3), None);
            assert_eq!(change_between(change + 3, change), None);
        }
    }

    #[test]
    fn other_major_versions_are_left_to_postgresql() {
        assert_eq!(change_between(15_0001, 16_0001), None);
        assert_eq!(change_between(14_0001, 14_0099), None);
        assert_eq!(change_between(19_0000, 19_0009), None);
    }

    #[test]
    fn releases_are_named_as_postgresql_names_them() {
        assert_eq!((name(15_0020), name(18_0000)), ("15.20".into(), "18.0".into()));
    }
}
